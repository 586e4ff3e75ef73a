"""Windows in a row as a source for loops of one's own: records come back as they were."""

from __future__ import annotations

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.streams import TBPTTSource
from models.data.window_feeds import ResidentWindows
from models.data.windows import Windows
from models.errors import ConfigError, DataError

LENGTHS = (47, 30, 5, 63)


@pytest.fixture
def part(tmp_path):
    random = np.random.default_rng(0)
    for name in ("train", "valid", "test"):
        (tmp_path / name).mkdir()
        for i, length in enumerate(LENGTHS):
            with h5py.File(tmp_path / name / f"{i}.hdf5", "w") as file:
                file["u0"], file["y0"] = random.normal(size=(2, length))
    return open_dataset(prepare({"path": str(tmp_path)}).to_json()).part("train")


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_rows_put_together_are_the_records(part, streams):
    source = TBPTTSource(part, window=10, batch_size=streams)
    batches = list(source)
    assert len(batches) == len(source) == -(-16 // streams)
    pieces = []
    for row in range(streams):
        for batch in batches:
            inside = batch["inside"][row, :, 0]
            piece = batch["y"][row][inside]
            assert not batch["y"][row][~inside].any()
            if batch["reset"][row]:
                pieces.append(piece)
            else:
                pieces[-1] = np.concatenate([pieces[-1], piece])
    records = [np.float32(part.load(i)["y"]) for i in range(len(LENGTHS))]
    if streams == 1:
        for piece, record in zip(pieces, records, strict=True):
            np.testing.assert_array_equal(piece, record)
    assert set(np.concatenate(pieces)[:, 0]) == set(np.concatenate(records)[:, 0])


def test_passes_are_epochs_and_a_seed_repeats_them(part):
    def begun(source):
        return [float(next(iter(source))["u"][0, 0, 0]) for _ in range(20)]

    short = {"window": 10, "batch_size": 2, "batches": 2}
    first = begun(TBPTTSource(part, **short))
    assert len(set(first)) > 1, "a short epoch begins anywhere"
    assert begun(TBPTTSource(part, **short)) == first
    assert begun(TBPTTSource(part, **short, seed=1)) != first


def test_it_gives_what_families_train_on(part):
    windows = Windows(window=10, batch_size=2, order="consecutive")
    feed = ResidentWindows(part=part, windows=windows)
    source = TBPTTSource(part, window=10, batch_size=2)
    batch = next(iter(source))
    numbers = jnp.asarray([-1, -9])  # both streams begin: eight windows each
    wanted = feed.batch(feed.arrays, numbers)
    assert batch.keys() == wanted.keys()
    for name in batch:
        np.testing.assert_array_equal(batch[name], wanted[name])


def test_what_cannot_be_is_refused(part):
    with pytest.raises(ConfigError, match="`window` must be at least 1, got 0"):
        TBPTTSource(part, window=0, batch_size=2)
    with pytest.raises(DataError, match="longer than every file"):
        TBPTTSource(part, window=64, batch_size=1)
    with pytest.raises(DataError, match="batch of 20 windows"):
        TBPTTSource(part, window=10, batch_size=20)
