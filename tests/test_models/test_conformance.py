"""The shipped conformance suites over every family and space that is found."""

from __future__ import annotations

import importlib
import pkgutil

import jax
import pytest

import models
import search_spaces
from hpo.testing import families, learners
from hpo.testing.spaces import check_known

FAMILIES = {
    name: module
    for name in sorted(m.name for m in pkgutil.iter_modules(models.__path__))
    if hasattr(module := importlib.import_module(f"models.{name}"), "create")
}
SPACES = {
    name: importlib.import_module(f"search_spaces.{name}").SPACE
    for name in sorted(m.name for m in pkgutil.iter_modules(search_spaces.__path__))
    if name in FAMILIES
}
GRADIENT = [name for name, family in FAMILIES.items() if not family.CLOSED_FORM]
TRACED = [
    (name, key)
    for name, space in SPACES.items()
    for key in space.distributions
    if key in FAMILIES[name].Config.traced_keys()
]
STATIC = [
    (name, key)
    for name, space in SPACES.items()
    for key in space.distributions
    if key not in FAMILIES[name].Config.traced_keys()
]


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture
def family(name):
    return FAMILIES[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="module")
def fitted(folder):
    """A learner of each family's example, trained once."""
    known = {}

    def get(name):
        if name not in known:
            known[name] = families.make(FAMILIES[name], folder / name)
            known[name].fit()
        return known[name]

    return get


def test_every_family_has_a_space():
    assert set(FAMILIES) == set(SPACES)
    assert {"rnn", "tcn", "crnn", "linear"} <= set(FAMILIES)


def test_shapes(name, family, fitted):
    example = family.example()
    families.check_shapes(fitted(name), inputs=example.inputs, outputs=example.outputs)


def test_causal(name, family, fitted):
    if not family.CAUSAL:
        pytest.skip(f"{name} does not claim to be causal")
    families.check_causal(fitted(name), inputs=family.example().inputs)


@pytest.mark.parametrize("name", GRADIENT)
def test_gradients(name, fitted):
    families.check_gradients(fitted(name))


def test_second_trial_compiles_nothing(name, family, fitted, folder):
    fitted(name)
    traced = {}
    if not family.CLOSED_FORM:
        traced = {"optimizer.learning_rate": 1e-3, "optimizer.decay_start": 0.1}
    families.check_compiles_once(family, folder / name, traced=traced)


def test_epochs(name, family, folder):
    epochs = family.example().epochs
    learners.check_epochs(lambda: families.make(family, folder / name), epochs=epochs)


def test_checkpoint(name, family, folder, tmp_path):
    example = family.example()
    learners.check_checkpoint(
        lambda: families.make(family, folder / name),
        tmp_path,
        epochs=example.epochs,
        inputs=example.inputs,
    )


def test_units(name, family, folder, tmp_path):
    plain = families.make(family, folder / name)
    families.check_units(family, plain, tmp_path)


def test_unknown_keys(family):
    families.check_unknown_keys(family)
    families.check_scored_window(family)


@pytest.mark.parametrize("name", SPACES)
def test_space_is_known_to_the_family(name):
    check_known(SPACES[name], FAMILIES[name].Config.keys())
    families.check_space(FAMILIES[name], SPACES[name])


@pytest.mark.parametrize("name,key", TRACED)
def test_traced_dimension_is_alive(name, key, folder):
    families.check_alive(FAMILIES[name], SPACES[name], key, folder / name)


@pytest.fixture
def compile_quickly():
    """Every static dimension is a program of its own: do not polish what runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
@pytest.mark.parametrize("name,key", STATIC)
def test_static_dimension_is_alive(name, key, folder, compile_quickly):
    families.check_alive(FAMILIES[name], SPACES[name], key, folder / name)


@pytest.mark.slow
def test_default_trains(family, folder, name):
    data = {
        k: v
        for k, v in family.example().config.items()
        if k.startswith(("data.", "loss."))
    }
    if not family.CLOSED_FORM:
        data["data.batches"] = 20
    families.check_trains(family, folder / name, data=data)
