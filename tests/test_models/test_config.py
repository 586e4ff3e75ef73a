"""Configurations: dotted keys, limits, traced and static fields, near matches."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Config, static, traced
from models.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body(Config):
    cell: Literal["gru", "lstm"] = "gru"
    width: int = static(32, low=1, high=512)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    kernels: tuple[int, ...] = (3, 5)
    batches: int | None = None
    skip: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Begun(Config):
    place: float = traced(0.0, start=True)
    model: Body = Body()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole(Config):
    model: Body = Body(width=64)
    rate: float = traced(1e-3, low=0.0)

    def validate(self):
        if self.model.cell == "lstm" and self.model.width < 4:
            raise ConfigError("an lstm needs at least width 4")


def test_keys_reach_into_nested_configurations_and_keep_preset_defaults():
    made = Whole.from_flat({"model.dropout": 0.5, "rate": 1})
    assert (made.model.dropout, made.model.width, made.rate) == (0.5, 64, 1.0)
    assert isinstance(made.rate, float)


@given(st.integers(1, 512), st.floats(0, 0.9), st.lists(st.integers(1, 9), max_size=3))
def test_flat_round_trips_through_json(width, dropout, kernels):
    given_values = {
        "model.width": width,
        "model.dropout": dropout,
        "model.kernels": kernels,
    }
    made = Whole.from_flat(given_values)
    again = Whole.from_flat(json.loads(json.dumps(made.flat())))
    assert again == made
    assert again.flat() == made.flat()


def test_traced_values_do_not_enter_the_static_signature():
    base = Whole()
    assert base.traced_keys() == ("model.dropout", "rate")
    same = Whole.from_flat({"model.dropout": 0.3, "rate": 0.1})
    other = Whole.from_flat({"model.width": 65})
    assert base.static_signature() == same.static_signature()
    assert base.static_signature() != other.static_signature()
    hash(base.static_signature())


def test_what_acts_at_the_start_alone_is_told_and_traced_like_the_others():
    assert Begun.start_keys() == ("place",) and Whole.start_keys() == ()
    assert Begun.traced_keys() == ("place", "model.dropout")
    assert Begun().static_signature() == Begun(place=1.0).static_signature()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model.widht": 3}, "did you mean `model.width`"),
        ({"learning_rate": 3}, "unknown configuration key `learning_rate`"),
        ({"model": 3}, "unknown configuration key `model`"),
        ({"model.width": 0}, "from 1 to 512"),
        ({"model.width": 2.5}, "a whole number"),
        ({"model.width": True}, "a whole number"),
        ({"rate": -1}, "at least 0"),
        ({"rate": math.nan}, "at least 0"),
        ({"rate": "fast"}, "a number"),
        ({"model.cell": "grru"}, "did you mean `gru`"),
        ({"model.skip": 1}, "true or false"),
        ({"model.kernels": 3}, "kernels"),
        ({"model.cell": "lstm", "model.width": 2}, "at least width 4"),
    ],
)
def test_bad_input_names_rule_value_and_remedy(values, message):
    with pytest.raises(ConfigError) as caught:
        Whole.from_flat(values)
    assert message in str(caught.value)


def test_whole_floats_count_as_integers_and_none_where_allowed():
    made = Whole.from_flat({"model.width": 16.0, "model.batches": None})
    assert made.model.width == 16 and isinstance(made.model.width, int)
    assert Whole.from_flat({"model.batches": 5}).model.batches == 5
