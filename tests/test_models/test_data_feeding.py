"""Feeding: both modes give the same batches, and a pass shows every window once."""

from __future__ import annotations

import collections
import math
import threading
import time
import tracemalloc

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data import device
from models.data.feeding import full_sequences, make_feed
from models.data.kinds.records import RecordsPart
from models.data.order import SORTED_BELOW, permutation, shuffled
from models.data.reference import Reference
from models.data.window_feeds import ResidentWindows, StreamingWindows
from models.data.windows import Windows
from models.errors import ConfigError, DataError


class Memory:
    """A part whose every sample tells where it comes from: ``u = 1000 record + time``."""

    name, before, fills = "train", 0, {}
    channels, shapes = {"u": 1, "y": 2}, {"u": (1,), "y": (2,)}
    reference = Reference(name="memory", path="/", roles={"u": ("u0",), "y": ("y0",)})

    def __init__(self, lengths):
        self.lengths = tuple(lengths)

    def load(self, index):
        return self.slice(index, 0, self.lengths[index])

    def slice(self, index, start, stop, *, roles=("u", "y")):
        time = np.arange(start, stop, dtype=float)[:, None]
        whole = {"u": 1000 * index + time, "y": np.hstack([time, -time]) / 3}
        return {role: whole[role] for role in roles}


@pytest.fixture
def part(tmp_path):
    """Files of different lengths: one compressed, one contiguous, one too short."""
    rng = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    for i, (length, packed) in enumerate([(300, "gzip"), (12, None), (517, None)]):
        with h5py.File(tmp_path / "train" / f"{i}.hdf5", "w") as file:
            for name, width in (("u0", 2), ("y0", 1)):
                values = rng.normal(size=(length, width))
                file.create_dataset(name, data=values, compression=packed)
    reference = Reference(
        name="set", path=str(tmp_path), roles={"u": ("u0",), "y": ("y0",)}
    )
    return RecordsPart(reference=reference, name="train")


def both(part, **settings):
    resident = make_feed(part, Windows(feeding="resident", **settings))
    streaming = make_feed(part, Windows(feeding="streaming", **settings))
    return resident, streaming


def gathered(feed, order):
    """All batches of an epoch, gathered inside one compiled scan."""

    @jax.jit
    def epoch(arrays, order):
        return jax.lax.scan(lambda _, i: (None, feed.batch(arrays, i)), None, order)[1]

    return {k: np.asarray(v) for k, v in epoch(feed.arrays, order).items()}


def streamed(feed, order):
    chunks = list(feed.chunks(np.asarray(order)))
    return {k: np.concatenate([c[k] for c in chunks]) for k in chunks[0]}


@pytest.mark.parametrize("order", ["shuffled", "consecutive"])
@pytest.mark.parametrize("batches", [None, 3, 40])
@pytest.mark.parametrize("x64", [False, True])
def test_both_modes_give_equal_bits(part, order, batches, x64, monkeypatch):
    monkeypatch.setattr("models.data.streaming.CHUNK_BYTES", 10_000)
    with jax.enable_x64(x64):
        resident, streaming = both(
            part, window=25, batch_size=4, batches=batches, order=order
        )
        key = jax.random.key(1)
        drawn = jax.jit(resident.order)(key)
        np.testing.assert_array_equal(drawn, streaming.order(key))
        a, b = gathered(resident, drawn), streamed(streaming, drawn)
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            assert a[name].tobytes() == b[name].tobytes(), name
        assert a["u"].shape == (resident.batches, 4, 25, 2)
        assert a["u"].dtype == (np.float64 if x64 else np.float32)
        assert streaming.arrays is None and resident.batches == streaming.batches


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    window=st.integers(1, 30),
    stride=st.integers(1, 7),
    batch_size=st.integers(1, 5),
    passes=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_every_window_once_per_pass(lengths, window, stride, batch_size, passes, seed):
    """Against the windows listed by hand."""
    expected = [
        (record, start)
        for record, length in enumerate(lengths)
        for start in range(0, length - window + 1, stride)
    ]
    windows = Windows(
        window=window,
        stride=stride,
        batch_size=batch_size,
        batches=-(-len(expected) * passes // batch_size) or None,
    )
    if not expected:
        with pytest.raises(DataError, match=f"longest file .* has {max(lengths)}"):
            make_feed(Memory(lengths), windows)
        return
    feed = ResidentWindows(part=Memory(lengths), windows=windows)
    order = feed.order(jax.random.key(seed))
    u = np.asarray(jax.vmap(feed.batch, (None, 0))(feed.arrays, order)["u"])
    u = u.reshape(-1, window)
    np.testing.assert_array_equal(u, u[:, :1] + np.arange(window))
    seen = [(int(v) // 1000, int(v) % 1000) for v in u[:, 0]]
    for first in range(0, len(expected) * passes, len(expected)):
        assert sorted(seen[first : first + len(expected)]) == expected
    rest = seen[len(expected) * passes :]
    assert max(collections.Counter(rest).values(), default=0) <= -(
        -len(rest) // len(expected)
    )
    assert len(seen) == feed.batches * batch_size


@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    window=st.integers(1, 12),
    batch_size=st.integers(1, 4),
    batches=st.none() | st.integers(1, 30),
    seed=st.integers(0, 2**31),
)
def test_consecutive_windows_follow_one_another(
    lengths, window, batch_size, batches, seed
):
    """Where no reset is flagged, a stream goes on where it stopped, and none is left out.

    Only the first window of a stream may be the last of the one before it, too. The last
    window of a record holds what is left of it.
    """
    total = sum(-(-length // window) for length in lengths)
    windows = Windows(
        window=window, batch_size=batch_size, batches=batches, order="consecutive"
    )
    if total < batch_size or max(lengths) < window:
        with pytest.raises(DataError):
            make_feed(Memory(lengths), windows)
        return
    feed = StreamingWindows(part=Memory(lengths), windows=windows)
    order = np.asarray(feed.order(jax.random.key(seed)))
    rows = [feed.read(row) for row in order]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    first, reset = batch["u"][:, :, 0, 0], batch["reset"]
    assert reset[0].all()
    follows = first[1:] == first[:-1] + window
    assert (follows | reset[1:]).all()
    stretch = math.ceil(total / batch_size)
    passed = first[:stretch]
    seen = passed.reshape(-1)
    assert all(len(set(stream.tolist())) == len(stream) for stream in passed.T)
    every = [1000 * i + t for i, n in enumerate(lengths) for t in range(0, n, window)]
    if len(passed) == stretch:
        assert sorted(set(seen.tolist())) == every, "every window of every record"
        assert len(seen) - total < batch_size
    inside = batch["inside"][..., 0]
    left = [lengths[int(f) // 1000] - int(f) % 1000 for f in first.reshape(-1)]
    np.testing.assert_array_equal(
        inside.sum(axis=-1).reshape(-1), np.minimum(left, window)
    )
    assert (batch["u"][..., 0][~inside] == 0).all()
    if batches is None:
        assert len(seen) == stretch * batch_size
        place = [every.index(f) for f in (*passed[-1, :-1], *passed[0, 1:])]
        between = np.subtract(*np.split(np.array(place), 2)[::-1])
        assert ((between == 0) | (between == 1)).all(), "one window of both at most"
        # A reset only begins a stream or a record.
        assert (reset[1:] <= (first[1:] % 1000 == 0)).all()
    if batches is None and stretch * batch_size == total:
        samples = batch["u"][..., 0][inside]
        wanted = [1000 * i + t for i, n in enumerate(lengths) for t in range(n)]
        assert sorted(samples.tolist()) == wanted, "every sample, once"


@pytest.mark.parametrize("batch_size,batches", [(2, 3), (7, 2), (32, None), (32, 1)])
def test_short_consecutive_epochs_reach_everything(batch_size, batches):
    windows = Windows(
        window=10, batch_size=batch_size, batches=batches, order="consecutive"
    )
    feed = ResidentWindows(part=Memory([400]), windows=windows)
    orders = [np.asarray(feed.order(jax.random.key(i))) for i in range(200)]
    seen = {
        n if n >= 0 else -n - 1 for n in np.concatenate(orders).reshape(-1).tolist()
    }
    assert seen == set(range(40))


def test_epochs_differ_and_repeat_by_key():
    feed = make_feed(Memory([5000]), Windows(window=100, batches=10))
    one, again, two = (np.asarray(feed.order(jax.random.key(k))) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != two).mean() > 0.9 and one.dtype == np.int32


@pytest.mark.parametrize("size", [5, SORTED_BELOW, SORTED_BELOW + 1, 80_000])
def test_permutations_are_complete(size):
    full = np.asarray(permutation(jax.random.key(3), size, size))
    np.testing.assert_array_equal(np.sort(full), np.arange(size))
    some = permutation(jax.random.key(3), size, min(size, 100))
    np.testing.assert_array_equal(some, full[:100])


def test_large_permutations_look_random():
    """Places, neighbours and order against chi-squared and rank tests at 0.1 %."""
    size, keys = SORTED_BELOW + 905, jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(jax.vmap(lambda k: permutation(k, size, 8))(keys))
    for column in range(7):
        place = np.bincount(drawn[:, column] * 40 // size, minlength=40)
        steps = (drawn[:, column + 1] - drawn[:, column]) % size
        assert scipy.stats.chisquare(place).pvalue > 1e-3
        assert scipy.stats.chisquare(np.bincount(steps * 40 // size)).pvalue > 1e-3
    whole = np.asarray(permutation(jax.random.key(5), 80_000, 80_000))
    assert scipy.stats.spearmanr(np.arange(80_000), whole).pvalue > 1e-3


def test_orders_are_equal_in_lanes():
    keys = jax.random.split(jax.random.key(0), 3)
    lanes = jax.jit(jax.vmap(lambda k: shuffled(k, 9000, 500)))(keys)
    for key, lane in zip(keys, lanes, strict=True):
        np.testing.assert_array_equal(shuffled(key, 9000, 500), lane)


def test_passes_are_not_repeated():
    drawn = np.asarray(shuffled(jax.random.key(0), 100, 250))
    assert (drawn[:100] != drawn[100:200]).mean() > 0.9
    assert len(set(drawn[200:].tolist())) == 50


def test_streaming_reads_windows_not_files(tmp_path):
    """A file of 64 MB is fed with a few MB of memory."""
    (tmp_path / "train").mkdir()
    with h5py.File(tmp_path / "train" / "0.hdf5", "w") as file:
        for name in ("u0", "y0"):
            file.create_dataset(name, data=np.zeros(4_000_000))
    reference = Reference(
        name="set", path=str(tmp_path), roles={"u": ("u0",), "y": ("y0",)}
    )
    part = RecordsPart(reference=reference, name="train")
    feed = make_feed(part, Windows(batches=50, feeding="streaming"))
    order = np.asarray(feed.order(jax.random.key(0)))
    list(feed.chunks(order[:1]))  # imports are not counted
    tracemalloc.start()
    try:
        shapes = [chunk["u"].shape for chunk in feed.chunks(order)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert shapes == [(50, 64, 200, 1)] and peak < 24e6


def test_chunks_are_bounded_and_even(monkeypatch):
    monkeypatch.setattr("models.data.streaming.CHUNK_BYTES", 4 * 3 * 10 * 2 * 4)
    windows = Windows(window=10, batch_size=2, batches=10, feeding="streaming")
    feed = make_feed(Memory([100]), windows)
    order = np.asarray(feed.order(jax.random.key(0)))
    assert [len(c["y"]) for c in feed.chunks(order)] == [4, 4, 2]


def test_a_closed_iterator_leaves_no_reader(monkeypatch):
    """Reading ahead ends with the epoch that nobody wants any more, and so do its threads."""
    reads = []

    class Counted(Memory):
        def slice(self, index, start, stop, **options):
            reads.append(threading.current_thread())
            return super().slice(index, start, stop, **options)

    # 4 batches of 2
    monkeypatch.setattr("models.data.streaming.CHUNK_BYTES", 4 * 3 * 10 * 2 * 4)
    windows = Windows(window=10, batch_size=2, batches=5000, feeding="streaming")
    feed = make_feed(Counted([100]), windows)
    chunks = feed.chunks(np.asarray(feed.order(jax.random.key(0))))
    assert len(next(chunks)["u"]) == 4
    chunks.close()
    readers = {t for t in reads if t is not threading.current_thread()}
    assert readers, "batches are read in the background"
    deadline = time.monotonic() + 10
    while any(t.is_alive() for t in readers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(t.is_alive() for t in readers)
    assert len(reads) < 1000  # of 10,000 windows


def test_auto_is_resident_when_it_fits(part, monkeypatch):
    windows = Windows(window=10)
    assert isinstance(make_feed(part, windows), ResidentWindows)
    monkeypatch.setattr(device, "RESIDENT_BYTES", 829 * 3 * 4)
    assert isinstance(make_feed(part, windows), ResidentWindows)
    monkeypatch.setattr(device, "RESIDENT_BYTES", 829 * 3 * 4 - 1)
    assert isinstance(make_feed(part, windows), StreamingWindows)


def test_signatures_tell_programs_apart(part):
    def signature(part, **settings):
        return make_feed(part, Windows(window=10, **settings)).signature()

    base = signature(part)
    assert base == signature(part) and hash(base) == hash(signature(part))
    assert eval(repr(base)) == base
    others = [
        signature(part, batch_size=3),
        signature(part, batches=3),
        signature(part, stride=2),
        signature(part, order="consecutive"),
        signature(part, feeding="streaming"),
        signature(Memory([829])),
    ]
    assert len({base, *others}) == 7


def test_windows_that_do_not_fit(part):
    with pytest.raises(DataError, match="got 600.*longest file.*has 517 samples"):
        make_feed(part, Windows(window=600))
    with pytest.raises(DataError, match=r"(?s)batch of 64 .*has 18.*at most 18"):
        make_feed(part, Windows(window=500))
    assert make_feed(part, Windows(window=500, batches=2)).batches == 2
    with pytest.raises(ConfigError, match="do not overlap"):
        Windows(order="consecutive", stride=3)
    with pytest.raises(ConfigError, match="`window` must be at least 1"):
        Windows(window=0)


def test_full_sequences_are_grouped_by_length():
    groups = full_sequences(Memory([30, 20, 30]))
    assert [g["u"].shape for g in groups] == [(2, 30, 1), (1, 20, 1)]
    assert [g["y"].shape for g in groups] == [(2, 30, 2), (1, 20, 2)]
    np.testing.assert_array_equal(groups[0]["u"][:, 0, 0], [0, 2000])
    assert groups[0]["u"].dtype == jnp.zeros(()).dtype
