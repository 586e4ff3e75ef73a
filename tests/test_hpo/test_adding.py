"""The cost of adding, from outside the project's folders: a task one file; a loss, a metric and
a transform one function each. (A family: `tests/test_studies/test_playbook.py`.)
"""

from __future__ import annotations

import importlib
import json
import sys

import h5py
import numpy as np
import pytest

from hpo.testing import families, hiding, learners
from models.errors import ConfigError
from models.tasks import names, task_of
from tests.test_hpo import run_helpers as helpers
from tests.test_hpo.command_line import refused, run

TASK = '''"""Regression: of independent rows, y is wanted where x is given."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from models.config import static
from models.tasks.arrays import SAME, without
from models.tasks.base import Task as Base

KINDS = ("samples",)


@dataclass(frozen=True, kw_only=True)
class Task(Base):
    """One array from another, row by row.

    Attributes:
        target: The array that is wanted.
    """

    KINDS = KINDS
    OBJECTIVE = ("mae", "minimize")

    target: str = static("y")

    @property
    def takes(self):
        return ("x",)

    @property
    def gives(self):
        return (self.target,)

    def groups(self, part, *, lead=0, dtype=None):
        from models.data.feeding import rows

        return rows(part, dtype=dtype)

    def given(self, batch, data):
        return without(batch, self.target)

    def metrics(self, data):
        from models.metrics import Average

        def error(outputs, batch):
            return abs(outputs[self.target] - batch[self.target])

        return (Average(name="mae", function=error),)

    def batch(self, arrays, data):
        return dict(arrays)

    def errors(self, predicted, measured, *, data):
        error = np.abs(predicted[self.target] - measured[self.target])
        return {"mae": float(error.mean())}

    def measured_in(self, metric):
        return self.target

    def write_example(self, folder, *, units=SAME):
        path = folder / "rows.hdf5"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(0)
            with h5py.File(path, "w") as file:
                for part, count in {"train": 96, "valid": 32, "test": 32}.items():
                    x = random.normal(size=(count, 3))
                    y = x @ [[1.0], [-2.0], [0.5]] + 0.1 * random.normal(size=(count, 1))
                    file[f"{part}/x"] = units.of("x", x)
                    file[f"{part}/{self.target}"] = units.of(self.target, y)
        return {"path": str(path)}
'''

FAMILY = '''"""A plane through rows, with a loss, a metric and a transform of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from models.config import Config as BaseConfig
from models.config import traced
from models.data.rows import Rows
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.losses import Loss, Term
from models.metrics import Average
from models.training.optimizer import Optimizer
from models.training.problem import Problem
from models.transforms import Transform

TASKS = ("own.regression",)
CLOSED_FORM = False
CAUSAL = False


@dataclass(frozen=True, kw_only=True)
class Plane(BaseConfig):
    jitter: float = traced(0.0, low=0.0)
    pinball: float = traced(0.5, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    model: Plane = field(default_factory=Plane)
    data: Rows = field(default_factory=lambda: Rows(batch_size=16))
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(learning_rate=0.05))


class Model(nnx.Module):
    def __init__(self, *, data, key):
        self.x = Standardize.of(data.statistics, "x")
        self.y = Standardize.of(data.statistics, data.task.target)
        self.map = Linear(inputs=self.x.channels, outputs=self.y.channels)
        initialize(self, key)

    def __call__(self, x):
        return self.y.inverse(self.map(self.x(x[:, None])))[:, 0]


def pinball(outputs, batch, hyper, *, unit):
    """A loss is one function: overestimates cost twice as much."""
    error = (outputs["y"] - batch["y"]) / jnp.asarray(unit, batch["y"].dtype)[None]
    return jnp.mean(jnp.maximum(2 * error, -error))


def worst(outputs, batch):
    """A metric is one function: the largest error of every row."""
    return jnp.max(jnp.abs(outputs["y"] - batch["y"]), axis=-1)


def jitter(key, batch, step, *, scale):
    """A transform is one function: noise on x."""
    return batch | {"x": batch["x"] + scale * jax.random.normal(key, batch["x"].shape)}


def forward(model, batch, *, key, training, carry, hyper):
    return {"y": model(batch["x"])}, carry


def problem(config, data):
    unit = data.statistics.std["y"]
    error = Term(function=partial(pinball, unit=unit), weight="model.pinball")
    return Problem(
        signature=("plane", config.static_signature(), data.identity),
        build=lambda key: Model(data=data, key=key),
        forward=forward,
        loss=Loss(terms={"pinball": error}),
        metrics=(*data.task.metrics(data), Average(name="worst", function=worst)),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(data.task.given, data=data),
        augmentations=(Transform(function=jitter, values={"scale": "model.jitter"}),),
    )


create = creator(__name__)


def example(task):
    return Example(task=task, config={"data.batch_size": 16})
'''

STUDY = '''"""A task, a family and a metric that the project does not know."""

from optuna.distributions import FloatDistribution

from hpo.study import Budget, Family, Objective, Resources, Study

STUDY = Study(
    name="own",
    data={data},
    families=(
        Family(
            name="plane",
            create="own.plane:create",
            space={"model.jitter": FloatDistribution(0.0, 1.0)},
        ),
    ),
    objectives=(Objective(metric="worst"),),
    budget=Budget(trials=2, epochs=3),
    stopping=(),
    resources=Resources(executor="local", workers=1),
)
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a package of two files, on the path as PYTHONPATH would put it."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "regression.py").write_text(TASK)
    (tmp_path / "own" / "plane.py").write_text(FAMILY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "own"]:
        del sys.modules[name]


def test_a_task_of_one_file_is_found_by_its_dotted_name_and_passes_the_suites(place):
    assert "regression" not in names()
    task = task_of({"name": "own.regression", "target": "y"})
    assert task.to_json() == {"name": "own.regression", "target": "y"}
    plane = importlib.import_module("own.plane")
    make = families.make
    learner = make(plane, "own.regression", place / "data")
    learner.fit()
    given = plane.example("own.regression").given(place / "data")
    families.check_shapes(learner, given)
    families.check_gradients(learner)
    families.check_unknown_keys(plane)
    hiding.check_not_given(learner)
    hiding.check_evaluation_changes_nothing(learner, given)
    learners.check_epochs(
        lambda: make(plane, "own.regression", place / "data"), epochs=4
    )
    families.check_metrics(plane, "own.regression", learner)  # one of its own beside
    assert "worst" in learner.records[-1].valid


def test_a_loss_a_metric_and_a_transform_are_one_function_each(place):
    plane = importlib.import_module("own.plane")

    def epochs(**config):
        learner = families.make(plane, "own.regression", place / "data", config=config)
        return learner, learner.fit()

    learner, quiet = epochs()
    _, noisy = epochs(**{"model.jitter": 1.0})
    assert noisy[-1].train["pinball"] > 1.2 * quiet[-1].train["pinball"]
    assert all(epoch.compile_seconds == 0 for epoch in noisy), "the scale is not traced"
    with h5py.File(place / "data" / "rows.hdf5") as file:
        x, y = file["valid/x"][:], file["valid/y"][:]
    error = np.abs(learner.predict(x) - y)
    scores = learner.evaluate("valid")
    np.testing.assert_allclose(scores["worst"], error.max(axis=-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["mae"], error.mean(), rtol=1e-5)


def test_a_study_uses_them(place):
    request = task_of("own.regression").write_example(place / "data")
    (place / "study.py").write_text(STUDY.replace("{data}", repr(dict(request))))
    where = ("--results", place / "results")
    checked = run("check", place / "study.py", "--format", "json")
    assert checked.exit_code == 0, checked.stderr
    assert json.loads(checked.stdout)[0]["parameters"] == [4, 4]
    launched = run("launch", place / "study.py", *where)
    assert launched.exit_code == 0, launched.stderr
    (folder,) = (place / "results" / "own").glob("2*")
    recorded = json.loads((folder / "study.json").read_text())["study"]
    assert recorded["task"] == {"name": "own.regression", "target": "y"}
    valid = [e.valid for e in helpers.events_of(folder) if e.event == "epoch"]
    assert all(set(v) == {"mae", "worst", "loss.pinball"} for v in valid)
    rows = json.loads(run("results", "own", "--format", "json", *where).stdout)
    best = min(rows, key=lambda row: row["rank"])
    assert best["objective"] == pytest.approx(min(v["worst"] for v in valid))
    with h5py.File(place / "new.hdf5", "w") as file, h5py.File(request["path"]) as data:
        file["x"], file["y"] = data["test/x"][:5], data["test/y"][:5]
    out = place / "out.hdf5"
    predicted = run("predict", "own", place / "new.hdf5", "--out", out, *where)
    assert predicted.exit_code == 0, predicted.stderr
    with h5py.File(out) as file:
        assert file["y"].shape == (5, 1)
    again = run("rerun", "own", "--exact", *where)
    assert again.exit_code == 0, again.stderr
    (place / "own" / "regression.py").rename(place / "own" / "moved.py")
    sys.modules.pop("own.regression")
    importlib.invalidate_caches()
    refused(run("check", place / "study.py"), "own.regression", "PYTHONPATH")


def test_a_module_that_is_no_task_is_refused(place):
    with pytest.raises(ConfigError, match="defines no task"):
        task_of("own.plane")
    (place / "own" / "broken.py").write_text("import not_installed_anywhere")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        task_of("own.broken")
