"""Which kernels computed a trial: recorded, pinned when it is repeated, named when it differs.

The learner needs no JAX: its numbers depend on ``HPO_KERNELS`` as a real one's last bits do.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import pytest
from optuna.distributions import FloatDistribution

from hpo.ledger.log import read_events
from hpo.report.details import render
from hpo.report.summary import load_summary
from hpo.run.launch import launch, resume
from hpo.run.rerun import opened
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.worker.environment import worker_environment
from models.training.protocol import Compiled, Epoch

WIDE = "x86-64-v4:0123456789ab"


class Rounding:
    """Comes out a little different without kernels."""

    def __init__(self, config):
        self.config = config
        level = os.environ.get("HPO_KERNELS", "x86-64-v4")
        self.kernel_choice = "off" if level == "off" else f"{level}:0123456789ab"

    def fit_iter(self, epochs):
        for number in range(1, epochs + 1):
            last_bits = 1e-7 if self.kernel_choice == "off" else 0.0
            yield Epoch(number, {}, {"rmse": self.config["rate"] / number + last_bits})


def create(config, context):
    return Rounding(config)


class StopAfter:
    """An observer that presses Ctrl-C after so many epochs."""

    def __init__(self, epochs):
        self.left = epochs

    def event(self, event, director):
        if event.event != "epoch":
            return
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def tick(self, director):
        pass

    def message(self, text):
        pass


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("HPO_KERNELS", raising=False)


def study():
    return Study(
        name="rounding",
        families=(
            Family(
                name="rounding",
                space={"rate": FloatDistribution(0.1, 1.0)},
                create=create,
            ),
        ),
        budget=Budget(trials=2, epochs=3),
        sampler=Rule(name="random"),
        stopping=(),
        resources=Resources(executor="local", workers=1),
        seed=1,
    )


def told(folder):
    """The kernels of every attempt, and the notes."""
    events, _ = read_events(folder / "events.jsonl")
    kernels = [e.kernels for e in events if "kernels" in e.details()]
    return kernels, [e.text for e in events if e.event == "note"]


def test_every_attempt_says_what_computed_it(tmp_path):
    assert isinstance(Rounding({}), Compiled)
    folder = launch(study(), results=tmp_path).folder
    assert told(folder) == ([WIDE, WIDE], [])
    summary = load_summary(folder)
    assert [row.kernels for row in summary.rows] == [WIDE, WIDE]
    assert WIDE in render(summary, summary.rows[0]).plain
    record = json.loads((folder / "trials" / "0001" / "config.json").read_text())
    assert record["kernels"] == WIDE
    assert "kernels" not in record["config"], "it is no configuration key"


def test_a_repetition_computes_as_the_trial_did(tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        then.setenv("HPO_KERNELS", "off")
        folder = launch(study(), results=tmp_path).folder
    assert told(folder)[0] == ["off", "off"]
    with opened(folder, create=create) as workshop:
        row = workshop.summary.row(1)
        (again,) = workshop.exact([row]).results
        assert again.equal and not again.changed
        (fresh,) = workshop.fresh([row], count=2).results
        assert not fresh.changed
        # Whoever sets the variable wins, and is told why the numbers differ.
        monkeypatch.setenv("HPO_KERNELS", "x86-64-v3")
        (other,) = workshop.exact([row]).results
    assert not other.equal
    assert other.changed == ("kernels were off, are x86-64-v3:0123456789ab",)


def test_trials_of_other_kernels_are_reruns_of_their_own(tmp_path, monkeypatch):
    """What was computed with none is at home with any; what differs needs its own workers."""
    folder = launch(study(), results=tmp_path).folder
    with opened(folder, create=create) as workshop:
        one, two = (workshop.summary.row(n) for n in (1, 2))
        told = [dataclasses.replace(two, kernels=k) for k in (None, "off")]
        alike = workshop.exact([one, told[0]]).results
        unlike = workshop.exact([one, told[1]]).results
    assert len({r.folder for r in alike}) == 1 and all(r.equal for r in alike)
    assert len({r.folder for r in unlike}) == 2
    assert [r.equal for r in unlike] == [True, False], "pinned to what it is said to be"


def test_a_resumed_run_goes_on_as_it_began(tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        then.setenv("HPO_KERNELS", "off")
        outcome = launch(study(), results=tmp_path, observer=StopAfter(1))
    assert outcome.state == "interrupted"
    assert resume(outcome.folder, create=create).state == "finished"
    kernels, notes = told(outcome.folder)
    assert set(kernels) == {"off"}
    assert not any("kernels" in text for text in notes)


def test_a_run_resumed_with_other_kernels_says_so_once(tmp_path, monkeypatch):
    outcome = launch(study(), results=tmp_path, observer=StopAfter(1))
    monkeypatch.setenv("HPO_KERNELS", "off")
    resume(outcome.folder, create=create)
    kernels, notes = told(outcome.folder)
    assert (kernels[0], set(kernels[1:])) == (WIDE, {"off"})
    (note,) = [text for text in notes if "kernels" in text]
    assert "off" in note and WIDE in note


def test_workers_get_the_variable(monkeypatch):
    assert "HPO_KERNELS" not in worker_environment()
    assert worker_environment(kernels=WIDE)["HPO_KERNELS"] == "x86-64-v4"
    assert worker_environment(kernels="off")["HPO_KERNELS"] == "off"
    monkeypatch.setenv("HPO_KERNELS", "on")
    assert worker_environment(kernels="off")["HPO_KERNELS"] == "on"
