"""Study files that the benchmarks launch, written where they are measured."""

from __future__ import annotations

from pathlib import Path

# Rungs after every epoch, at which nobody is ever compared: a checkpoint an epoch, as the
# peer's recipe writes them.
_NOBODY = """Rule(
            name="percentile",
            options={"startup": 1_000_000, "warmup": 1, "interval": 1},
        )"""
# Pauses after epochs 1, 2 and 4; with epochs for all to end, everybody goes on.
# A rule that may converge: epochs are reported one by one, so that each can be timed.
_PAUSES = (
    """Rule(name="promotion", options={"eta": 2}), """
    """Rule(name="patience", options={"epochs": 99})"""
)

_WHOLE_JOB = '''"""A benchmark: random learning rates for one GRU."""

from optuna.distributions import FloatDistribution

from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces import rnn

SPACE = rnn.SPACE.replace(
    {{
        "model.cell": "gru",
        "model.layers": 1,
        "model.hidden_size": 32,
        "model.dropout": 0.0,
        "model.skip": False,
        "data.window": 200,
        "data.batch_size": 16,
        "data.batches": {steps},
        "loss.kind": "mse",
        "loss.n_skip": 0,
        "optimizer.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "optimizer.weight_decay": 1e-2,
        "optimizer.decay_start": 0.75,
    }}
)
STUDY = Study(
    name="benchmark",
    data={{"path": {data!r}}},
    task="simulation",
    families=(Family(name="rnn", space=SPACE),),
    objectives=(Objective(metric="rmse"),),
    budget=Budget(trials={trials}, epochs={epochs}, total_epochs={total}),
    sampler=Rule(name="random"),
    stopping=({stopping},),
    resources=Resources(workers={workers}, executor={executor!r}),
)
'''

_IDLE = '''"""A benchmark: learners that do nothing, so that only the harness is measured."""

from optuna.distributions import FloatDistribution

from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces.space import Space

STUDY = Study(
    name="benchmark",
    data={{}},
    families=(
        Family(
            name="idle",
            create="tests.benchmarks.tools.idle:create",
            space=Space({{"rate": FloatDistribution(0.0, 1.0)}}),
        ),
    ),
    objectives=(Objective(metric="rmse"),),
    budget=Budget(trials={trials}, epochs={epochs}),
    resources=Resources(workers={workers}, executor={executor!r}),
)
'''


def gru(
    folder: Path,
    *,
    data: Path,
    trials: int,
    epochs: int = 3,
    steps: int = 60,
    workers: int = 2,
    executor: str = "ray",
    pauses: bool = False,
) -> Path:
    """A study of one GRU (32 channels, windows of 200, batches of 16) and its rates.

    With `pauses` every trial pauses after epochs 1, 2 and 4, and goes on.
    """
    text = _WHOLE_JOB.format(
        data=str(data),
        trials=trials,
        epochs=epochs,
        steps=steps,
        workers=workers,
        executor=executor,
        stopping=_PAUSES if pauses else _NOBODY,
        total=trials * epochs if pauses else None,
    )
    return _written(folder / "gru_study.py", text)


def idle(
    folder: Path, *, trials: int, epochs: int, workers: int = 1, executor: str = "ray"
) -> Path:
    """A study of learners that report without training."""
    text = _IDLE.format(
        trials=trials, epochs=epochs, workers=workers, executor=executor
    )
    return _written(folder / "idle_study.py", text)


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
