"""A run written by hand: every state a trial can end in, with numbers a reader can check."""

from __future__ import annotations

import json
import math
from pathlib import Path

from msgspec import structs
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.ledger.events import KINDS, Event, RunEvent
from hpo.study import Budget, Family, Objective, Study
from search_spaces.space import Space

STUDY = Study(
    name="sample",
    description="A study for the tests.",
    data="wiener_hammerstein",
    objectives=(Objective(metric="rmse", unit="V"),),
    budget=Budget(trials=11, epochs=8),
    families=(
        Family(
            name="rnn",
            space=Space(
                {
                    "model.cell": CategoricalDistribution(["gru", "lstm"]),
                    "model.hidden_size": IntDistribution(8, 64),
                    "optimizer.learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
                    "data.window": IntDistribution(50, 400),
                    "loss.n_skip": 50,
                }
            ),
        ),
        Family(
            name="linear",
            trials=1,
            epochs=1,
            space=Space({"model.order": IntDistribution(1, 20)}),
        ),
    ),
    seed=7,
)


def events() -> list[Event]:
    """Eleven trials: two families, every ending, a retry and a repeated epoch."""
    out = [RunEvent(action="launch")]

    def add(kind, trial, elapsed, attempt=1, **data):
        out.append(KINDS[kind](trial=trial, attempt=attempt, elapsed=elapsed, **data))

    def propose(trial, family, params, *, elapsed):
        index = sum(e.event == "proposed" and e.family == family for e in out)
        seed = 1000 + trial
        add(
            "proposed",
            trial,
            elapsed,
            None,
            family=family,
            number=index,
            params=params,
            seed=seed,
        )

    def start(trial, family, params, *, elapsed):
        propose(trial, family, params, elapsed=elapsed)
        add("started", trial, elapsed, attempt_of="first", epoch=0)

    def epochs(trial, values, *, elapsed, first=1, attempt=1, parameters=6689):
        for i, value in enumerate(values):
            add(
                "epoch",
                trial,
                elapsed + i,
                attempt,
                epoch=first + i,
                train={"loss": value * 2},
                valid={"rmse": value, "fit": 90.0},
                seconds=0.5,
                compile_seconds=1.0 if i == 0 else 0.0,
                parameters=parameters,
            )

    rnn = {
        "model.cell": "gru",
        "model.hidden_size": 32,
        "optimizer.learning_rate": 0.0031234,
        "data.window": 250,
    }
    curve = [0.05, 0.03, 0.01, 0.004, 0.002, 0.0012, 0.00099, 0.00097]
    start(1, "rnn", rnn, elapsed=0)
    epochs(1, curve, elapsed=1)
    add("completed", 1, 9, epoch=8)
    start(2, "linear", {"model.order": 12}, elapsed=9)
    epochs(2, [0.0434], elapsed=10, parameters=13)
    add("completed", 2, 10, epoch=1)
    start(
        3,
        "rnn",
        {**rnn, "model.cell": "lstm", "optimizer.learning_rate": 1.25e-5},
        elapsed=11,
    )
    epochs(3, [0.09, 0.08], elapsed=12)
    add("stopped", 3, 14, rule="asha", epoch=2)
    start(4, "rnn", {**rnn, "optimizer.learning_rate": 0.099}, elapsed=15)
    epochs(4, [math.nan], elapsed=16)
    add("diverged", 4, 16, rule="divergence", epoch=1)
    start(5, "rnn", rnn, elapsed=17)
    add(
        "failed",
        5,
        18,
        reason="ValueError: the window (250) is longer than every file",
        epoch=0,
    )
    start(6, "rnn", {**rnn, "model.hidden_size": 48}, elapsed=19)
    epochs(6, [0.04, 0.02, 0.0011, 0.0012, 0.0013], elapsed=20)
    add("converged", 6, 25, rule="patience", epoch=5)
    start(7, "rnn", {**rnn, "model.hidden_size": 64}, elapsed=26)
    epochs(7, curve[:3], elapsed=27)
    add(
        "interrupted", 7, 30, reason="the worker process was killed by SIGKILL", epoch=3
    )
    add("started", 7, 31, 2, attempt_of="retry", epoch=3)
    add(
        "nondeterminism",
        7,
        32,
        2,
        epoch=3,
        metric="valid.rmse",
        first=0.01,
        second=0.02,
    )
    epochs(7, [0.006, 0.005, 0.0042, 0.0038, 0.00371], elapsed=33, first=4, attempt=2)
    add("completed", 7, 38, 2, epoch=8)
    start(8, "rnn", {**rnn, "model.hidden_size": 20}, elapsed=39)
    epochs(8, [0.06], elapsed=40)
    add("cancelled", 8, 41, reason="time", epoch=1)
    start(9, "rnn", {**rnn, "model.hidden_size": 10}, elapsed=42)
    epochs(9, [0.07, 0.05], elapsed=43)
    start(10, "rnn", {**rnn, "model.hidden_size": 12}, elapsed=44)
    epochs(10, [0.08], elapsed=45)
    add("interrupted", 10, 46, reason="stopped by SIGINT", epoch=1)
    propose(11, "rnn", rnn, elapsed=47)
    return out


def write(folder: Path, study: Study = STUDY) -> Path:
    """Write the run as `study.json` and `events.jsonl` below `folder`; return its path."""
    run = folder / "sample" / "20260101-120000-0123abcd"
    run.mkdir(parents=True)
    (run / "study.json").write_text(
        json.dumps({"schema": 1, "study": study.to_json(), "provenance": {}})
    )
    lines = [
        structs.replace(e, n=i, time=1.0).to_line() for i, e in enumerate(events(), 1)
    ]
    (run / "events.jsonl").write_text("".join(lines))
    return run


def check_golden(name: str, text: str) -> None:
    """Compare with `tests/golden/NAME`; `UPDATE_GOLDEN=1` writes it anew."""
    import os

    path = Path(__file__).parent.parent / "golden" / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.is_file(), f"{path} is missing; write it with UPDATE_GOLDEN=1"
    assert text == path.read_text(), f"differs from {path}; look, then UPDATE_GOLDEN=1"


WALK = '''"""A tiny study of a learner without JAX."""

import random

from optuna.distributions import FloatDistribution, IntDistribution

from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces.space import Space


class Walk:
    """Falls towards (rate - 0.3)² with a seeded jitter."""

    parameters = 3

    def __init__(self, config, context):
        self.configuration = dict(config)
        self.random = random.Random(context.seed + JITTER)
        self.rate, self.best = config["optimizer.rate"], 9.0

    def fit_iter(self, epochs):
        for epoch in range(1, epochs + 1):
            value = (self.rate - 0.3) ** 2 + self.random.random() / epoch
            self.best = min(self.best, value)
            yield {"rmse": value, "train_loss": 2 * value}

    def evaluate(self, part):
        return {"rmse": 1.1 * self.best}


JITTER = 0
STUDY = Study(
    name="walks",
    families=(
        Family(
            name="walk",
            create=Walk,
            space=Space(
                {
                    "optimizer.rate": FloatDistribution(0.01, 1.0, log=True),
                    "model.size": IntDistribution(1, 3),
                }
            ),
        ),
    ),
    objectives=(Objective(unit="V"),),
    budget=Budget(trials=5, epochs=6),
    stopping=(Rule(name="asha"),),  # a walk cannot be saved, so none is paused
    resources=Resources(executor="local"),
)
'''
