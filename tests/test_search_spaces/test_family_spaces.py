"""Every space that ships: found by its file, checked by the shipped suite, printed as agreed."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

import search_spaces
from hpo.testing.spaces import (
    check_edges,
    check_json,
    check_known,
    check_suggestions,
    edges,
    neighbors,
    point_with,
)
from search_spaces.space import Space

GOLDEN = Path(__file__).parent.parent / "golden" / "spaces"
NAMES = sorted(
    m.name for m in pkgutil.iter_modules(search_spaces.__path__) if m.name != "space"
)


MODULES = {name: importlib.import_module(f"search_spaces.{name}") for name in NAMES}
SPACES = {name: module.SPACE for name, module in MODULES.items()} | {
    f"{name}-{task}": space
    for name, module in MODULES.items()
    for task, space in getattr(module, "SPACES", {}).items()
}


@pytest.fixture(params=SPACES)
def name(request):
    return request.param


@pytest.fixture
def space(name):
    return SPACES[name]


def test_json(space):
    check_json(space)


def test_suggestions(space):
    check_suggestions(space, count=30)


def test_edges(space):
    check_edges(space)


def test_table(name, space):
    """How a space prints; what a new one prints is written down, to be read once."""
    golden = GOLDEN / f"{name}.txt"
    if not golden.exists():
        golden.write_text(f"{space}\n")
        pytest.fail(f"wrote {golden}: read it, commit it with the space, run again")
    assert f"{space}\n" == golden.read_text()


def test_odd_dimensions():
    """Steps, logarithms and conditions on conditions: what the shipped spaces do not have."""
    space = (
        Space(
            {
                "kind": CategoricalDistribution(("a", "b", None, 3)),
                "wide": IntDistribution(1, 100_000, log=True),
                "stepped": IntDistribution(3, 15, step=4),
                "grid": FloatDistribution(0.1, 0.7, step=0.2),
                "tiny": FloatDistribution(1e-12, 1e-3, log=True),
                "fixed": [1, 2.5, "x"],
                "deep": IntDistribution(0, 1),
            }
        )
        .when("stepped", "kind", ("b", 3))
        .when("deep", "stepped", at_least=5)
    )
    check_json(space)
    check_suggestions(space, count=80)
    check_edges(space)
    point = point_with(space, "deep", 1)
    assert point["deep"] == 1
    assert point["stepped"] == 15
    assert point["kind"] in ("b", 3)


def test_unknown_entries_are_found():
    with pytest.raises(AssertionError, match="depht"):
        check_known(Space({"model.depht": 3}), ["model.depth"])


def test_neighbors_differ_and_edges_are_ends():
    for distribution in (
        IntDistribution(2, 8, step=3),
        FloatDistribution(1e-3, 1.0, log=True),
        CategoricalDistribution(("x", "y")),
    ):
        first, second = neighbors(distribution)
        assert first != second
    assert edges(IntDistribution(2, 8, step=3)) == (2, 8)
