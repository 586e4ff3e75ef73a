"""Which windows are drawn how often: weights by hand, counts in epochs, files with names."""

from __future__ import annotations

import h5py
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data import weights
from models.data.feeding import make_feed
from models.data.kinds.records import RecordsPart
from models.data.plan import limit_batches, make_plan, make_row_plan, weighted_source
from models.data.reference import Reference
from models.data.rows import Rows
from models.data.window_feeds import ResidentWindows
from models.data.windows import Windows
from models.errors import ConfigError, DataError
from tests.test_models.test_data_feeding import Memory


class Named(Memory):
    """Records whose names tell what they are."""

    def __init__(self, **lengths):
        super().__init__(lengths.values())
        self.names = tuple(lengths)


def drawn(plan, key=0):
    order = np.asarray(jax.jit(plan.order)(jax.random.key(key)))
    assert order.shape == (plan.batches, plan.batch_size), "exact batch counts"
    assert order.min() >= 0 and order.max() < plan.windows
    return order.ravel()


def by_record(plan, numbers):
    place = np.searchsorted(plan.first, numbers, side="right") - 1
    return np.bincount(place, minlength=len(plan.first)) / len(numbers)


def plan_of(part, **options):
    return make_plan(part, Windows(window=10, batch_size=20, batches=100, **options))


RECORDS = {
    "a_2.5": 510,
    "b_3.5": 60,
    "a_2.6": 109,
    "c_9.5": 20,
}  # 501, 51, 100, 11 windows
PART = Named(**RECORDS)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({"balance": "files"}, [1 / 4] * 4),
        (
            {"balance": "category", "balance_by": r"^([a-z])_"},
            [501 / 601 / 3, 1 / 3, 100 / 601 / 3, 1 / 3],
        ),
        # Bins of width 1 from 2.5 on: 0 holds the two first, 1 and 6 one each; of the four
        # empty ones between 1 and 6 each neighbour stands for two.
        (
            {"balance": "value", "balance_by": r"_([\d.]+)$", "balance_bins": 7},
            [501 / 601 / 7, 3 / 7, 100 / 601 / 7, 3 / 7],
        ),
        ({"weights": (0.0, 1.0, 2.0, 0.0)}, [0, 51 / 251, 200 / 251, 0]),
    ],
    ids=["files", "category", "value", "weights"],
)
def test_shares_of_an_epoch(options, shares, replacement):
    plan = plan_of(PART, replacement=replacement, **options)
    numbers = np.concatenate(
        [drawn(plan, key) for key in range(5 if replacement else 1)]
    )
    # Without replacement a record comes as often as it should, but for one draw.
    allowed = 0.02 if replacement else 1.01 / 2000
    np.testing.assert_allclose(by_record(plan, numbers), shares, atol=allowed)
    times = np.bincount(drawn(plan), minlength=plan.windows)
    expected = (
        np.repeat(
            np.asarray(shares) / np.diff([*plan.first, plan.windows]),
            np.diff([*plan.first, plan.windows]),
        )
        * 2000
    )
    off = np.abs(times - expected)
    assert (off.max() < 1.01) != replacement, (
        "each window as often as expected, or by luck"
    )


def test_weights_by_hand():
    np.testing.assert_allclose(weights.uniform_by_file([2, 4]), [1 / 2, 1 / 4])
    np.testing.assert_allclose(
        weights.uniform_by_category([2, 4, 6], ["x", "y", "x"]), [1 / 8, 1 / 4, 1 / 8]
    )
    values = [0.0, 1.0, 10.0]  # bins 0, 1 and 9 of ten
    np.testing.assert_allclose(
        weights.uniform_by_value([1, 2, 4], values, bins=10, gaps=False),
        [1, 1 / 2, 1 / 4],
    )
    np.testing.assert_allclose(
        weights.uniform_by_value([1, 2, 4], values, bins=10), [1, 4.5 / 2, 4.5 / 4]
    )
    np.testing.assert_allclose(
        weights.uniform_by_value([3, 3], [5.0, 5.0], bins=4), [4 / 6, 4 / 6]
    )


@settings(max_examples=4, deadline=None)
@given(
    lengths=st.lists(st.integers(10, 80), min_size=1, max_size=5),
    batches=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_without_replacement_each_window_comes_as_expected(
    lengths, batches, seed, data
):
    given = data.draw(
        st.lists(st.floats(0.01, 10), min_size=len(lengths), max_size=len(lengths))
    )
    part = Named(**{f"r{i}": n for i, n in enumerate(lengths)})
    windows = Windows(window=10, batch_size=4, batches=batches, weights=tuple(given))
    plan = make_plan(part, windows)
    numbers = drawn(plan, seed)
    sizes = np.diff([*plan.first, plan.windows])
    share = np.repeat(given, sizes) / (np.asarray(given) @ sizes)
    times = np.bincount(numbers, minlength=plan.windows)
    assert (np.abs(times - share * len(numbers)) < 1.001).all()


def test_equal_weights_without_replacement_are_a_permutation():
    plan = plan_of(PART)
    windows = plan.windows
    even = weighted_source(plan, [3.0] * 4, replacement=False)
    even = type(even)(**{**vars(even), "batch_size": 1, "batches": windows})
    assert sorted(drawn(even)) == list(range(windows))
    assert (drawn(even) != np.arange(windows)).any()


def test_a_limited_plan_is_that_of_its_setting():
    plan = plan_of(PART)
    with_setting = make_plan(PART, Windows(window=10, batch_size=4, batches=5))
    without = make_plan(PART, Windows(window=10, batch_size=4))
    assert limit_batches(without, 5) == with_setting
    assert len(drawn(limit_batches(plan, 3))) == 3 * plan.batch_size
    with pytest.raises(DataError, match="at least one batch, got 0"):
        limit_batches(plan, 0)


def test_with_replacement_draws_are_a_binomial():
    plan = plan_of(PART, replacement=True)
    times = np.bincount(drawn(plan), minlength=plan.windows)
    missed = (times == 0).mean()
    np.testing.assert_allclose(missed, np.exp(-2000 / plan.windows), atol=0.03)
    rows = make_row_plan(
        Memory([50]), Rows(batch_size=10, batches=10, replacement=True)
    )
    times = np.bincount(np.asarray(rows.order(jax.random.key(0))).ravel(), minlength=50)
    assert times.sum() == 100 and times.max() > 2, "without it each row comes twice"


def test_orders_follow_the_key_and_are_equal_in_lanes():
    plan = plan_of(PART, balance="files")
    order = jax.jit(plan.order)
    keys = jax.random.split(jax.random.key(3), 2)
    alone = [np.asarray(order(key)) for key in keys]
    assert (alone[0] == np.asarray(order(keys[0]))).all()
    assert (alone[0] != alone[1]).any()
    np.testing.assert_array_equal(jax.jit(jax.vmap(plan.order))(keys), alone)


def test_what_is_not_asked_leaves_no_trace():
    plain, part = Windows(window=10, batches=3), PART
    new = {"balance", "balance_by", "balance_bins", "weights", "replacement"}
    assert not new & {key for key, _ in plain.static_signature()}
    assert make_plan(part, plain).signature() == (663, 10, 1, 64, 3, False, ())
    assert Rows().static_signature() == Rows(replacement=False).static_signature()
    assert not {"replacement"} & {key for key, _ in Rows().static_signature()}
    asked = Windows(window=10, batches=3, balance="files")
    assert ("balance", "files") in asked.static_signature()
    assert make_plan(part, asked).signature() != make_plan(part, plain).signature()


def test_both_feedings_draw_the_same_from_named_files(tmp_path):
    (tmp_path / "train").mkdir()
    for name, length in (("run_slow", 200), ("run_fast", 40), ("run_short", 5)):
        with h5py.File(tmp_path / "train" / f"{name}.hdf5", "w") as file:
            for role in ("u0", "y0"):
                file[role] = np.full(length, float(name == "run_fast"))
    reference = Reference(
        name="set", path=str(tmp_path), roles={"u": ("u0",), "y": ("y0",)}
    )
    part = RecordsPart(reference=reference, name="train")
    options = {"window": 10, "batch_size": 8, "batches": 6}
    options |= {"balance": "category", "balance_by": "run_(.*)"}
    resident, streaming = (
        make_feed(part, Windows(feeding=mode, **options))
        for mode in ("resident", "streaming")
    )
    key = jax.random.key(0)
    order = np.asarray(resident.order(key))
    np.testing.assert_array_equal(order, np.asarray(streaming.order(key)))
    batches = np.concatenate([c["u"] for c in streaming.chunks(order)])
    for number, batch in zip(order, batches, strict=True):
        np.testing.assert_array_equal(
            resident.batch(resident.arrays, number)["u"], batch
        )
    assert abs((batches[..., 0, 0] == 1).mean() - 0.5) < 0.05, "slow and fast alike"


def test_windows_refuse_what_has_no_meaning():
    for values, words in (
        ({"balance": "files", "weights": (1.0,)}, "`data.weights` are given"),
        ({"balance": "category"}, "balance_by"),
        ({"balance_by": "(x)"}, "balance_by"),
        ({"balance": "files", "batches": None}, "no natural end"),
        ({"balance": "files", "order": "consecutive"}, "all drawn once"),
        ({"replacement": True, "order": "consecutive"}, "all drawn once"),
        ({"weights": (-1.0,)}, "at least 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            Windows(**{"window": 10, "batches": 5, **values})


def test_weights_that_cannot_be_are_refused():
    for options, words in (
        ({"weights": (0.0,) * 4}, "not all zero"),
        ({"weights": (1.0,)}, "has 1 numbers"),
        ({"balance": "category", "balance_by": "([a-z"}, "regular expression"),
        ({"balance": "category", "balance_by": "[a-z]"}, "one group"),
        (
            {"balance": "category", "balance_by": "(z)"},
            "finds nothing in the record `a_2.5`",
        ),
        ({"balance": "value", "balance_by": "^([a-z])"}, "needs numbers"),
    ):
        with pytest.raises(DataError, match=words):
            plan_of(PART, **options)
    for size in (1e308, 1e-320):
        with pytest.raises(DataError, match="(?s)ordinary size.*ratios"):
            weighted_source(plan_of(PART), [size, size, 0.0, size])
    with pytest.raises(DataError, match="each of 4"):
        weighted_source(plan_of(PART), [1.0])


def test_least_squares_weighs_no_windows():
    feed = ResidentWindows(
        part=PART, windows=Windows(window=10, batch_size=2, batches=5, balance="files")
    )
    with pytest.raises(ConfigError, match="weighs no windows"):
        feed.tiles(0)
