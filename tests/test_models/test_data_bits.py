"""Records without gaps are fed, scored and described bit by bit as they always were.

The digests were computed by commit 2ce72dc, before there were other kinds of data. Recorded
runs are repeated exactly only as long as they hold.
"""

from __future__ import annotations

import hashlib

import h5py
import jax
import numpy as np
import pytest

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.feeding import full_sequences, make_feed
from models.data.reference import Reference
from models.data.windows import Windows

LENGTHS = {"train": (300, 12, 217), "valid": (90, 70, 90), "test": (40,)}
INDICES = [[0, 275, 276, 467], [3, 100, 467, 9]]
STATISTICS = "780e6b5ee5e5474ff83217043c6209e5a289edae2b920b6e86315e23c36f2a18"
BATCHES = {
    False: "a642dd9fe09ad9cca94f3cefe33af4ed36f511d975100817ac8c56a046b4e568",
    True: "4e45495b5ebeda496853e01086391fafc624b9983ff221bfbcc28a44bce20215",
}
GROUPS = {
    False: [
        "4fa45c7b3b261dac8f2539dc48489c4cc8575e18a14f420a9891b2d4f36a2e64",
        "bef1a331637ed4af9d18ac7e659beba74ee2f68caf394bb894c77c44dce70fdb",
    ],
    True: [
        "dcc1a029b461e98dabdb9209f8226a62f31fe812a7da7e2dc9a7b6281b7d5ac9",
        "4d1ee618107a08e9bd9607b4434a8632fe439c0dec3dcda71ea4b94d422c472c",
    ],
}
RECORDED = {  # what prepare gave then, but for the path and the hashes of the bytes
    "name": "set",
    "inputs": ["u0", "u1"],
    "outputs": ["y0"],
    "sampling_rate": 4.0,
    "units": ["mm"],
    "score_from": 7,
    "also_score_from": [],
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("bits") / "set", np.random.default_rng(8)
    for part, lengths in LENGTHS.items():
        (folder / part).mkdir(parents=True)
        for i, length in enumerate(lengths):
            with h5py.File(folder / part / f"{i}.hdf5", "w") as file:
                file.attrs.update(fs=4.0, init_sz=7, y_unit="mm")
                packed = "gzip" if i % 2 else None
                u0 = rng.normal(size=(length, 2))
                file.create_dataset("u0", data=u0, compression=packed)
                file["u1"] = rng.normal(size=length).astype("f4")
                y0 = rng.normal(3, 1e-3, size=length)
                file.create_dataset("y0", data=y0, compression=packed)
    return prepare(str(folder))


def digest(values):
    found = hashlib.sha256()
    for name in sorted(values):
        array = np.ascontiguousarray(values[name])
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def test_statistics(reference):
    found = open_dataset(reference).statistics
    values = {f"{w} {r}": getattr(found, w)[r] for w in ("mean", "std") for r in "uy"}
    assert digest(values) == STATISTICS and found.count == 529


@pytest.mark.parametrize("x64", [False, True])
def test_batches(reference, x64):
    windows = {"window": 25, "batch_size": 4, "batches": 2}
    rows, train = np.asarray(INDICES, np.int32), open_dataset(reference)
    train = train.part("train")
    with jax.enable_x64(x64):
        feed = make_feed(train, Windows(feeding="resident", **windows))
        assert feed.arrays.keys() == {"u", "y", "first", "offset"}
        batches = jax.jit(jax.vmap(feed.batch, (None, 0)))(feed.arrays, rows)
        assert digest(batches) == BATCHES[x64]
        feed = make_feed(train, Windows(feeding="streaming", **windows))
        (chunk,) = feed.chunks(rows)
        assert digest(chunk) == BATCHES[x64]


@pytest.mark.parametrize("x64", [False, True])
def test_groups(reference, x64):
    with jax.enable_x64(x64):
        groups = full_sequences(open_dataset(reference).part("valid"))
    assert [digest(group) for group in groups] == GROUPS[x64]


def test_a_recorded_reference_is_equal(reference):
    place = {"path": reference.path, "hashes": dict(reference.hashes)}
    recorded = Reference.from_json(RECORDED | place)
    assert recorded == reference == Reference.from_json(reference.to_json())
    assert open_dataset(RECORDED | place).part("test").lengths == (40,)
