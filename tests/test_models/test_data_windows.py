"""Windows: joined in time for training, scored as they are given; masks, limits, errors."""

from __future__ import annotations

import os

import h5py
import jax
import numpy as np
import pytest

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.feeding import full_sequences, make_feed
from models.data.hdf5 import close_files
from models.data.kinds import windows
from models.data.reference import Reference
from models.data.windows import Windows
from models.errors import DataError

T = 5
JOINED = {"kind": "windows", "series": "place", "start": "when"}


def signal(series, start, length=T):
    """Every value tells series, time and channel; some are missing."""
    when = np.arange(start, start + length)
    values = 1000.0 * series + when[:, None] + np.array([0.25, 0.5])
    values[when % 7 == 3, 1] = np.nan
    return values


def write(path, parts, *, close=True):
    if close:
        close_files()
    with h5py.File(path, "w") as file:
        for part, places in parts.items():
            series, start = (np.array(column) for column in zip(*places, strict=True))
            file[f"{part}/values"] = np.stack([signal(*place) for place in places])
            file[f"{part}/place"], file[f"{part}/when"] = series, start
    return {"path": str(path), **JOINED}


# Series 1: three windows that overlap by a step, in another order; one after a gap; series 2
# touches without overlap.
TRAIN = [(1, 8), (2, 5), (1, 0), (1, 4), (1, 20), (2, 0)]
PARTS = {"train": TRAIN, "valid": [(1, 26), (2, 30)], "test": [(1, 40)] * 2}


def test_train_is_joined_in_time_and_the_others_are_as_given(tmp_path):
    reference = prepare(write(tmp_path / "w.h5", PARTS))
    assert reference.kind == "windows" and reference.gaps == ("values",)
    assert Reference.from_json(reference.to_json()) == reference
    assert reference.settings["window"] == T and set(reference.roles) == {"values"}
    dataset = open_dataset(reference)
    train = dataset.part("train")
    assert train.lengths == (13, 5, 10) and train.channels == {"values": 2}
    for index, (series, start, length) in enumerate(
        [(1, 0, 13), (1, 20, 5), (2, 0, 10)]
    ):
        whole = signal(series, start, length)
        np.testing.assert_array_equal(train.load(index)["values"], whole)
        for low in range(length):
            for high in range(low + 1, length + 1):
                piece = train.slice(index, low, high)["values"]
                np.testing.assert_array_equal(piece, whole[low:high])
    everything = np.concatenate([train.load(i)["values"] for i in range(3)])
    found = dataset.statistics
    np.testing.assert_allclose(found.mean["values"], np.nanmean(everything, axis=0))
    np.testing.assert_allclose(found.std["values"], np.nanstd(everything, axis=0))
    (group,) = full_sequences(dataset.part("valid"))
    given = np.stack([signal(*place) for place in PARTS["valid"]])
    np.testing.assert_array_equal(group["seen.values"], ~np.isnan(given))
    shown = np.where(group["seen.values"], group["values"], np.nan)
    np.testing.assert_allclose(shown, given.astype("f4"))
    what, where = train.locate("values", 0, (9, 1))
    assert "values" in what and where.startswith("row 0, entry (1, 1)")
    assert len(dataset.part("test").lengths) == 2


def test_crops_are_cut_anywhere_in_a_joined_series(tmp_path):
    train = open_dataset(prepare(write(tmp_path / "w.h5", PARTS))).part("train")
    feed = make_feed(train, Windows(window=T, stride=2, batch_size=9))
    assert feed.batches == 1  # 5 of 13 steps, 1 of 5, 3 of 10
    batch = feed.batch(feed.arrays, feed.order(jax.random.key(0))[0])
    starts = sorted(map(float, np.asarray(batch["values"])[:, 0, 0] - 0.25))
    assert starts == [1000, 1002, 1004, 1006, 1008, 1020, 2000, 2002, 2004]


def test_without_series_nothing_is_joined_and_masks_say_what_is_missing(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, T, 2))
    mask = np.random.default_rng(1).random(values.shape) < 0.7
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["values"], file["masks"] = np.where(mask, values, 0.0), mask.astype("f4")
        file["known"], file["later"] = np.arange(16), np.arange(16, 20)
    draw = {"of": "train", "rows": 4, "seed": 3}
    request = {"path": str(tmp_path / "m.h5"), "kind": "windows"} | {
        "masks": {"values": "masks"},
        "split": {"train": "known", "valid": draw, "test": "later"},
        "clip": [0.1, 0.9],
        "channels": ["a", "b"],
    }
    reference = prepare(request)
    dataset = open_dataset(reference.to_json())
    drawn = np.sort(np.random.default_rng(3).permutation(16)[:4])
    rest = np.setdiff1d(np.arange(16), drawn)
    shown = np.where(mask, values, np.nan)
    low, high = np.nanquantile(shown[rest].reshape(-1, 2), [0.1, 0.9], axis=0)
    for part, rows in {"train": rest, "valid": drawn, "test": [16, 17, 18, 19]}.items():
        part = dataset.part(part)
        found = np.stack([part.load(i)["values"] for i in range(len(part.lengths))])
        np.testing.assert_allclose(found, np.clip(shown[rows], low, high))
    assert reference.settings["channels"] == ("a", "b")


def test_a_file_to_predict_from_is_read_and_written_alike(tmp_path):
    reference = prepare(write(tmp_path / "w.h5", PARTS))
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["values"] = np.stack([signal(1, 50), signal(2, 50)])
    found = windows.read(tmp_path / "new.h5", reference=reference, roles=("values",))
    np.testing.assert_array_equal(
        np.where(found["seen.values"], found["values"], np.nan),
        np.stack([signal(1, 50), signal(2, 50)]),
    )
    windows.write(
        tmp_path / "out.h5",
        {"values": found["values"]},
        reference=reference,
        like=tmp_path / "new.h5",
    )
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["values"][:], found["values"])


def without(path, part):
    with h5py.File(path, "r+") as file:
        del file[part]


@pytest.mark.parametrize(
    ("change", "request_", "message"),
    [
        (None, {"start": "whne"}, "(?s)`train/whne` is not in .*`when`"),
        (None, {"arrays": {"values": "valeus"}}, "(?s)is not in .*`values`"),
        (None, {"masks": {"x": "values"}}, "`masks` must be a mapping of roles"),
        (None, {"masks": {"values": "place"}}, "the mask of role `values`"),
        (None, {"clip": [0.9, 0.1]}, "two fractions"),
        (None, {"channels": ["a"]}, "name the 2 channels of role `values`"),
        (None, {"windows": 1}, "unknown key `windows` .*, which is windows"),
        (lambda f: f.__delitem__("valid"), {}, "no part `valid`"),
        (
            lambda f: f["train/when"].__setitem__(3, 0),
            {},
            "begin at the same time step 0",
        ),
        (
            lambda f: f["train/when"].__setitem__(3, 3),
            {},
            "windows that overlap must agree",
        ),
        (lambda f: f["train/values"].__setitem__((..., 1), np.nan), {}, "channel 1"),
        (
            lambda f: f["train/values"].__setitem__((0, 0, 0), np.inf),
            {},
            "is not finite",
        ),
    ],
)
def test_what_is_refused(tmp_path, change, request_, message):
    request = write(tmp_path / "w.h5", PARTS)
    if change:
        with h5py.File(tmp_path / "w.h5", "r+") as file:
            change(file)
    with pytest.raises(DataError, match=message) as caught:
        prepare(request | request_)
    assert caught.value.message and caught.value.hint


def test_shapes_that_are_refused(tmp_path):
    request = write(tmp_path / "w.h5", PARTS)
    lonely = {k: v for k, v in request.items() if k != "start"}
    with pytest.raises(DataError, match=r"by `series` and `start`, got \['series'\]"):
        prepare(lonely)
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        del file["valid/values"]
        file["valid/values"] = np.zeros((2, T + 1, 2))
    with pytest.raises(DataError, match="parts of one dataset must have equal shapes"):
        prepare(request)
    write(tmp_path / "w.h5", PARTS)
    flat = {"path": request["path"], "kind": "windows", "arrays": {"values": "place"}}
    with pytest.raises(DataError, match=r"\[windows, 1, channels\], got \[6, 1\]"):
        prepare(flat)
    with pytest.raises(DataError, match="there is no folder or file"):
        prepare(request | {"path": str(tmp_path / "gone.h5")})


@pytest.mark.data
@pytest.mark.skipif("HPO_DATA" not in os.environ, reason="needs HPO_DATA")
def test_the_air_of_beijing_is_twelve_series():
    reference = prepare(
        {"name": "beijing_air", "arrays": {"values": "x"}, "kind": "windows"}
        | {"series": "station", "start": "start_hour"}
    )
    dataset = open_dataset(reference)
    assert dataset.part("train").lengths == (34 * 744 + 1,) * 12
    assert dataset.part("valid").lengths == (745,) * 72
