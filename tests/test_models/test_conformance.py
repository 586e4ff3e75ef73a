"""The shipped conformance suites over every family, shipped or toy, and each of its tasks."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import h5py
import numpy as np
import pytest

import models
import search_spaces
from hpo.testing import families, hiding, learners
from hpo.testing.spaces import check_known
from models import tasks
from models.data.catalog import prepare
from tests import toy_families


def found(package):
    """Modules of a package that make learners, by name."""
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    modules = {n: importlib.import_module(f"{package.__name__}.{n}") for n in names}
    return {n: module for n, module in modules.items() if hasattr(module, "create")}


SHIPPED, TOYS = found(models), found(toy_families)
FAMILIES = {**SHIPPED, **TOYS}
SPACES = {
    **{n: importlib.import_module(f"search_spaces.{n}").SPACE for n in SHIPPED},
    **{n: toy.SPACE for n, toy in TOYS.items()},
}
TASK_SPACES = {
    (n, task): space
    for n in SHIPPED
    for task, space in vars(importlib.import_module(f"search_spaces.{n}"))
    .get("SPACES", {})
    .items()
}
PAIRS = [(name, task) for name, family in FAMILIES.items() for task in family.TASKS]
GRADIENT = [(name, task) for name, task in PAIRS if not FAMILIES[name].CLOSED_FORM]
# Every pair goes through every check; these are quick enough for every day.
FAST = {("rnn", "prediction"), ("tcn", "simulation")}
FAST |= {(n, task) for n, task in PAIRS if n in TOYS or FAMILIES[n].CLOSED_FORM}


def says_every_sample(name, task):
    """Whether a prediction maps inputs u to as many outputs."""
    described = FAMILIES[name].example(task).described
    return "u" in described.takes and not described.SINGLE


def space_of(name, task):
    """The space of a family for a task."""
    return TASK_SPACES.get((name, task), SPACES[name])


def marked(values, fast):
    """Parameters of a test, slow but for those that are `fast`."""
    return [
        pytest.param(*v, id="-".join(v), marks=() if fast(v) else pytest.mark.slow)
        for v in values
    ]


def over(pairs, *, only=None):
    """A test of pairs; slow but for the fast ones, or for one representative."""
    values = marked(pairs, lambda v: v == only if only else v in FAST)
    return pytest.mark.parametrize("name,task", values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="module")
def make(folder):
    """Makes the learner of a family's example of a task."""

    def make(name, task, **changes):
        return families.make(FAMILIES[name], task, folder / task, **changes)

    return make


@pytest.fixture(scope="module")
def fitted(make):
    """A learner of every example, trained once."""
    known = {}

    def get(name, task):
        if (name, task) not in known:
            known[name, task] = make(name, task)
            known[name, task].fit()
        return known[name, task]

    return get


@pytest.fixture
def given(folder, name, task):
    return FAMILIES[name].example(task).given(folder / task)


def test_every_family_and_every_space_is_found():
    assert {"rnn", "tcn", "crnn", "linear", "ssm", "greybox", "pirnn", "pinc"} <= set(
        SHIPPED
    )
    assert len(TOYS) == 5
    spaces = {m.name for m in pkgutil.iter_modules(search_spaces.__path__)}
    assert spaces - {"space"} == set(SHIPPED)
    assert {task for _, task in PAIRS} == set(tasks.names())


@over(PAIRS)
def test_shapes(name, task, fitted, given):
    families.check_shapes(fitted(name, task), given)


@over(PAIRS)
def test_metrics(name, task, fitted):
    families.check_metrics(FAMILIES[name], task, fitted(name, task))


@over(
    [
        (name, task)
        for name, task in PAIRS
        if FAMILIES[name].CAUSAL and says_every_sample(name, task)
    ]
)
def test_causal(name, task, fitted, given):
    families.check_causal(fitted(name, task), given)


@over(GRADIENT)
def test_gradients(name, task, fitted):
    families.check_gradients(fitted(name, task))


@over(PAIRS)
def test_second_trial_compiles_nothing(name, task, fitted, folder):
    fitted(name, task)
    family = FAMILIES[name]
    known = family.Config.from_flat(family.example(task).config).traced()
    other = {"learning_rate": 1e-3, "decay_start": 0.1, "damping": 0.3}
    traced = {f"optimizer.{k}": v for k, v in other.items()}
    traced = {k: v for k, v in traced.items() if k in known}
    assert traced or family.CLOSED_FORM
    families.check_compiles_once(family, task, folder / task, traced=traced)


@over(PAIRS)
def test_epochs(name, task, make):
    epochs = FAMILIES[name].example(task).epochs
    learners.check_epochs(lambda: make(name, task), epochs=epochs)


@over(PAIRS)
def test_checkpoint(name, task, make, given, tmp_path):
    learners.check_checkpoint(
        lambda: make(name, task),
        tmp_path,
        epochs=FAMILIES[name].example(task).epochs,
        given=given,
    )


# An equation holds in the units that it is stated in, and in no others; a quaternion has none.
PHYSICAL = {
    n
    for n, f in FAMILIES.items()
    if "physics.equation" in set(f.Config.keys()) or "orientation" in f.TASKS
}


@over(
    [(name, task) for name, task in PAIRS if name not in PHYSICAL],
    only=("flow_posterior", "posterior"),
)
def test_units(name, task, tmp_path):
    families.check_units(FAMILIES[name], task, tmp_path)


@over(GRADIENT)
def test_what_is_not_given_changes_nothing(name, task, fitted):
    hiding.check_not_given(fitted(name, task))


@over(GRADIENT, only=("masked_rows", "reconstruction"))
def test_what_was_not_seen_changes_nothing(name, task, fitted, folder, tmp_path):
    learner = fitted(name, task)
    if not learner.interface.reference.gaps:
        learner = with_gaps(name, task, tmp_path)
        learner.fit()
    hiding.check_not_seen(learner)


@pytest.mark.parametrize(
    "name,task",
    marked(
        [pair for pair in PAIRS if pair[0] in ("linear", "rnn", "gaussian_start")],
        lambda pair: pair[0] == "linear",
    ),
)
def test_predictions_of_what_has_gaps_are_finite(name, task, tmp_path):
    learner = with_gaps(name, task, tmp_path)
    learner.fit()
    (first, *_) = sorted((tmp_path / "gaps").rglob("test*.hdf5"))
    data = learner.interface.reference.to_json()
    described = FAMILIES[name].example(task).described
    given, measured = described.from_file(first, data=data)
    assert all(np.isnan(values).any() for values in given.values())
    found = learner.predict(given)["y"]
    assert np.isfinite(found).all()
    assert described.SINGLE or len(found) == len(given["u"])
    assert all(np.isfinite(v) for v in learner.evaluate("test").values())
    assert np.isfinite(described.errors({"y": found}, measured, data=data)["rmse"])


def with_gaps(name, task, folder):
    """The learner of an example whose records miss every tenth value."""
    example = FAMILIES[name].example(task)
    request = example.described.write_example(folder / "gaps")
    random = np.random.default_rng(1)
    for path in sorted((folder / "gaps").rglob("*.hdf5")):
        with h5py.File(path, "r+") as file:
            for array in file.values():
                values = array[:]
                values[random.random(values.shape) < 0.1] = np.nan
                array[:] = values
    data = prepare({**request, "gaps": True}).to_json()
    context = dataclasses.replace(example.context(folder / "whole"), data=data)
    return FAMILIES[name].create(example.config, context)


@over(GRADIENT)
def test_evaluation_changes_nothing(name, task, fitted, given):
    hiding.check_evaluation_changes_nothing(fitted(name, task), given)


@over(GRADIENT, only=("quantised_start", "prediction"))
def test_a_refused_step_changes_nothing(name, task, fitted):
    hiding.check_refused_step(fitted(name, task))


@over(GRADIENT, only=("table_forecast", "forecast"))
def test_lanes(name, task, folder):
    families.check_lanes(FAMILIES[name], task, folder / task)


@pytest.mark.parametrize("name", FAMILIES)
def test_unknown_keys(name):
    families.check_unknown_keys(FAMILIES[name])
    families.check_scored_window(FAMILIES[name])


@pytest.mark.parametrize(
    "name,task", [*((n, FAMILIES[n].TASKS[0]) for n in SPACES), *TASK_SPACES]
)
def test_space_is_known_to_the_family(name, task):
    space = space_of(name, task)
    check_known(space, FAMILIES[name].Config.keys())
    families.check_space(FAMILIES[name], space)


def dimensions(pairs, *, traced):
    """Triples of family, task and searched dimension."""
    return [
        (name, task, key)
        for name, task in pairs
        for key in space_of(name, task).distributions
        if (key in FAMILIES[name].Config.traced_keys()) == traced
    ]


@pytest.mark.parametrize(
    "name,task,key",
    marked(dimensions(PAIRS, traced=True), lambda v: v[:2] in FAST),
)
def test_traced_dimension_is_alive(name, task, key, folder):
    families.check_alive(FAMILIES[name], task, space_of(name, task), key, folder / task)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,task,key",
    [
        *dimensions([(n, f.TASKS[0]) for n, f in FAMILIES.items()], traced=False),
        # Their other dimensions are those of the first task; `coder` is one for all.
        *(
            pytest.param(name, task, key, marks=pytest.mark.long)
            for name, task, key in dimensions(TASK_SPACES, traced=False)
            if name == "vae" and key.startswith("coder.")
        ),
    ],
)
def test_static_dimension_is_alive(name, task, key, folder):
    families.check_alive(FAMILIES[name], task, space_of(name, task), key, folder / task)


@pytest.mark.slow
@pytest.mark.parametrize("name,task", PAIRS)
def test_default_trains(name, task, folder):
    """As a family is by itself, on the example's windows and what they must be longer than."""
    data = {
        k: v
        for k, v in FAMILIES[name].example(task).config.items()
        if k.startswith(("data.", "loss.", "physics.", "model.warm_up"))
    }
    if not FAMILIES[name].CLOSED_FORM:
        data["data.batches"] = 20
    families.check_trains(FAMILIES[name], task, folder / task, data=data)
