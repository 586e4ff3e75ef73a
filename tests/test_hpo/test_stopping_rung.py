"""A rung's view of the others is the sorted list without one."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from hpo.stopping.rung import Rung

KEYS = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.just(math.inf)), max_size=12
)


@given(KEYS, st.integers(0, 13))
def test_the_others_are_all_but_one(keys, trial):
    rung = Rung()
    for number, key in enumerate(keys):
        rung.add(number, key)
    expected = sorted(k for n, k in enumerate(keys) if n != trial)
    others = rung.others(trial)
    assert list(others) == expected
    assert len(others) == len(expected)
    assert list(others[1:]) == expected[1:]
    assert [others[-i] for i in range(1, len(expected) + 1)] == expected[::-1]
