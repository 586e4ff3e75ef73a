"""Distributions on the unit interval: ends, shares, and the way back."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.search.unit import (
    draw,
    middle,
    share_of,
    unconditional,
    uniform,
    value_at,
)
from hpo.testing.samplers import SPACE
from search_spaces.space import Space

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

DISTRIBUTIONS = [
    FloatDistribution(-2.0, 3.0),
    FloatDistribution(1e-5, 10.0, log=True),
    FloatDistribution(0.1, 0.7, step=0.2),
    FloatDistribution(0.0, 0.9, step=0.3),
    FloatDistribution(2.0, 2.0),
    IntDistribution(-3, 4),
    IntDistribution(8, 64, log=True),
    IntDistribution(1, 3, log=True),
    IntDistribution(2, 11, step=3),
    IntDistribution(7, 7),
    CategoricalDistribution(["gru", None, 3, True]),
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@settings(max_examples=100, deadline=None, suppress_health_check=[SLOW])
@given(position=st.floats(0.0, 1.0))
def test_a_position_lies_in_the_share_of_its_value(distribution, position):
    value = value_at(distribution, position)
    low, high = share_of(distribution, value)
    assert low - 1e-9 <= position <= high + 1e-9 or distribution.single()
    internal = distribution.to_internal_repr(value)
    assert distribution._contains(internal)
    assert distribution.to_external_repr(internal) == value
    again = value_at(distribution, middle(distribution, value))
    assert again == value or math.isclose(again, value, rel_tol=1e-12)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_ends_and_beyond(distribution):
    first, last = value_at(distribution, 0.0), value_at(distribution, 1.0)
    if isinstance(distribution, CategoricalDistribution):
        assert (first, last) == (distribution.choices[0], distribution.choices[-1])
    else:
        assert (first, last) == (distribution.low, distribution.high)
    assert value_at(distribution, -0.5) == first
    assert value_at(distribution, 1.5) == last


@pytest.mark.parametrize("distribution", DISTRIBUTIONS[:9], ids=str)
def test_numbers_lie_where_optuna_puts_them(distribution):
    """Optuna's own transform into the unit interval, for a thousand positions."""
    if distribution.single():
        return
    transform = _SearchSpaceTransform({"x": distribution}, transform_0_1=True)
    for position in (np.arange(997) + 0.37) / 997:
        expected = transform.untransform(np.array([position]))["x"]
        assert math.isclose(value_at(distribution, position), expected, rel_tol=1e-9)


@pytest.mark.parametrize(
    "distribution", DISTRIBUTIONS[5:6] + DISTRIBUTIONS[8:], ids=str
)
def test_counted_values_have_equal_shares(distribution):
    positions = (np.arange(4000) + 0.5) / 4000
    counts = Counter(value_at(distribution, p) for p in positions)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_draws_depend_on_seed_and_name_alone():
    points = [draw(SPACE, seed) for seed in range(200)]
    assert points == [draw(SPACE, seed) for seed in range(200)]
    assert all(SPACE.validate(p) == p for p in points)
    assert {p["kind"] for p in points} == {"gru", "lstm", None}
    fixed = draw(SPACE, 3, {"layers": 1, "rate": 0.5})
    assert fixed == {"kind": points[3]["kind"], "rate": 0.5, "layers": 1}
    numbers = [uniform(7, "x", k) for k in range(2000)]
    assert abs(np.mean(numbers) - 0.5) < 0.03 and abs(np.var(numbers) - 1 / 12) < 0.01
    assert min(numbers) >= 0 and max(numbers) < 1


def test_what_exists_everywhere():
    space = Space(
        {
            "kind": CategoricalDistribution(["a", "b"]),
            "deep": True,
            "x": FloatDistribution(0, 1),
            "y": FloatDistribution(0, 1),
            "z": FloatDistribution(0, 1),
        }
    )
    space = (
        space.when("x", "kind", "a").when("y", "deep", True).when("z", "deep", False)
    )
    assert list(unconditional(space)) == ["kind", "y"]
