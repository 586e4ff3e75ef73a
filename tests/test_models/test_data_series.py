"""Tables in time order: parted, hashed, checked and cut, against pandas."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pandas
import pytest

from models.data.catalog import kind_of, prepare
from models.data.dataset import open_dataset
from models.data.feeding import batch_shapes, cut_windows, full_sequences, make_feed
from models.data.kinds import series
from models.data.reference import Reference
from models.data.rows import Rows
from models.data.windows import Windows
from models.errors import DataError

ROWS = 100


def frame(rows=ROWS):
    rng = np.random.default_rng(1)
    return pandas.DataFrame(
        {
            "date": pandas.date_range("2020-01-01", periods=rows, freq="15min"),
            "load": rng.normal(5, 2, rows),
            "wind": rng.choice(["N", "S"], rows),
            "oil": rng.normal(20, 1, rows),
            "level": np.arange(rows),
        }
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "plant.csv"
    frame().to_csv(path, index=False)
    return path


def values(path, *columns):
    return pandas.read_csv(path)[list(columns)].to_numpy(float)


def test_a_table_by_default(path):
    reference = prepare(str(path))
    assert kind_of(str(path)) == "series" == reference.kind
    assert reference.name == "plant" and reference.path == str(path)
    assert reference.roles == {"y": ("load", "oil", "level")}
    assert reference.settings == {"borders": (0, 70, 80, 100), "time": "date"}
    assert reference.sampling_rate == pytest.approx(1 / 900, rel=1e-12)
    assert reference.units == {"y": ("", "", "")} and reference.gaps == ()
    assert Reference.from_json(reference.to_json()) == reference
    dataset, whole = open_dataset(reference), values(path, "load", "oil", "level")
    for part, (a, b) in {
        "train": (0, 70),
        "valid": (70, 80),
        "test": (80, 100),
    }.items():
        assert dataset.part(part).lengths == (b - a,)
        assert dataset.part(part).shapes == {"y": (3,)}
        np.testing.assert_array_equal(dataset.part(part).load(0)["y"], whole[a:b])
    np.testing.assert_allclose(dataset.statistics.mean["y"], whole[:70].mean(0))
    np.testing.assert_allclose(dataset.statistics.std["y"], whole[:70].std(0))
    assert dataset.statistics.count == 70


def test_columns_inputs_borders_and_units(path):
    asked = {
        "path": str(path),
        "columns": ["oil"],
        "inputs": ["level", "load"],
        "borders": [10, 40, 60],
        "units": {"y": "degC", "u": ["", "MW"]},
    }
    reference = prepare(asked)
    assert reference.roles == {"u": ("level", "load"), "y": ("oil",)}
    assert reference.units == {"y": ("degC",), "u": ("", "MW")}
    assert set(reference.hashes) == {"train", "valid"}
    part = open_dataset(reference).part("train")
    np.testing.assert_array_equal(
        part.slice(0, 3, 9)["u"], values(path, "level", "load")[13:19]
    )
    np.testing.assert_array_equal(
        np.concatenate(list(part.blocks("y", size=7))), values(path, "oil")[10:40]
    )
    with pytest.raises(DataError, match="no part `test`"):
        open_dataset(reference).part("test")
    feed = make_feed(part, Windows(window=5, batch_size=3))
    assert feed.arrays["u"].shape == (30, 2) and feed.batches == 26 // 3


def test_packed_and_plain_are_equal(path):
    packed = path.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    one, two = prepare(str(path)), prepare(str(packed))
    assert one.hashes == two.hashes and one.name == two.name
    assert one.sampling_rate == two.sampling_rate
    loud = packed.rename(path.with_name("PLANT.CSV.GZ"))
    assert prepare(str(loud)).hashes == one.hashes


def test_a_hash_is_of_the_part_s_own_rows(path):
    before, lines = prepare(str(path)).hashes, path.read_text().splitlines()

    def changed():
        after = prepare(str(path)).hashes
        return {part for part in before if after[part] != before[part]}

    os.utime(path, (0, 0))
    assert changed() == set()
    path.write_text("\r\n".join(lines))  # other line ends, none at the end
    assert changed() == set()
    for row, part in ((69, "train"), (70, "valid"), (80, "test"), (99, "test")):
        edited = [*lines]
        edited[1 + row] = edited[1 + row].replace(",", ",1", 1)
        path.write_text("\n".join(edited) + "\n")
        assert changed() == {part}
    path.write_text("\n".join([lines[0].replace("oil", "gas"), *lines[1:]]))
    assert changed() == {"train", "valid", "test"}


def test_the_test_part_is_not_decoded(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:81], *["nobody looks"] * 20]))
    dataset = open_dataset(prepare(str(path)))
    with pytest.raises(DataError, match="must have 5 cells, got 1 in line 82"):
        dataset.part("test").load(0)


def test_missing_cells_are_gaps(path):
    table, words = frame(), iter(["", "NA", "nan", "?", "null", "N/A"])
    table = table.astype({"load": object})
    for row in (3, 17, 18, 40, 72, 75):
        table.loc[row, "load"] = next(words)
    table.to_csv(path, index=False)
    reference = prepare({"path": str(path), "columns": ["load", "oil"]})
    assert reference.gaps == ("y",)
    dataset = open_dataset(reference)
    expected = pandas.read_csv(path, na_values=["?"])[["load", "oil"]].to_numpy(float)
    found = dataset.statistics
    np.testing.assert_allclose(found.mean["y"], np.nanmean(expected[:70], axis=0))
    np.testing.assert_allclose(found.std["y"], np.nanstd(expected[:70], axis=0))
    (group,) = full_sequences(dataset.part("valid"))
    seen = ~np.isnan(expected[70:80])
    np.testing.assert_array_equal(group["seen.y"][0], seen)
    filled = np.where(seen, expected[70:80], found.mean["y"]).astype(group["y"].dtype)
    np.testing.assert_array_equal(group["y"][0], filled)


def test_windows_may_look_back_over_the_border(path):
    part, whole = open_dataset(prepare(str(path))).part("test"), values(path, "oil")
    (group,) = cut_windows(part, 8, 3, before=5)
    starts = [s for s in range(75, 100) if s + 8 <= 100][::3]
    expected = np.stack([whole[s : s + 8] for s in starts]).astype(group["y"].dtype)
    np.testing.assert_array_equal(group["y"][..., 1:2], expected)
    (group,) = cut_windows(part, 8, 3)
    np.testing.assert_array_equal(group["y"][0, :, 1:2], whole[80:88].astype("f4"))
    with pytest.raises(DataError, match=r"(?s)of 21 samples.*plant.csv.*at most 20"):
        cut_windows(part, 21, 1)


def test_shapes_of_batches_without_values(path):
    train = open_dataset(prepare(str(path))).part("train")
    shapes = batch_shapes(train, Windows(window=9, batch_size=4))
    assert shapes == {"y": ((4, 9, 3), np.dtype("f4"))} and not train._values
    with pytest.raises(DataError, match="got 71, and the longest"):
        batch_shapes(train, Windows(window=71))
    with pytest.raises(DataError, match="series are fed as windows"):
        make_feed(train, Rows())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"columns": ["oli"]}, "(?s)`oli` is not in .*did you mean `oil`"),
        ({"columns": ["wind"]}, "`wind` of .* must hold numbers, got '[NS]' in line 2"),
        ({"inputs": ["oil"], "columns": ["oil"]}, "either input or output"),
        ({"borders": [0, 50, 80, 101]}, "beyond the table: got .* has 100 rows"),
        ({"borders": [0, 50, 50]}, "each above the one before"),
        ({"borders": [0, 50]}, "3 or 4 row numbers"),
        ({"borders": "0"}, "3 or 4 row numbers"),
        (
            {"borders": [0, 50, 60], "shares": [0.5, 0.5]},
            "either `borders` or `shares`",
        ),
        ({"shares": [0.5, 0.4]}, "add up to 1"),
        ({"shares": [0.999, 0.001]}, "a part would be empty"),
        ({"time": "data"}, "(?s)`data` is not in .*`date`"),
        ({"units": ["a", "b"]}, "each of 3 output channels"),
        ({"units": {"u": "V"}}, "role `u`, and the data has"),
        ({"border": [1]}, "(?s)unknown key `border`.*`borders`"),
        ({"seed": 3}, "only simulated data has the option"),
        ({"kind": "samples"}, "(?s)holds no samples.*HDF5"),
        ({"kind": "serie"}, "(?s)unknown kind of data `serie`.*`series`"),
    ],
)
def test_requests_that_are_refused(path, request_, message):
    with pytest.raises(DataError, match=message) as caught:
        prepare({"path": str(path)} | request_)
    assert caught.value.message and caught.value.hint


def edited(path, edit):
    edit(frame().astype(object)).to_csv(path, index=False)
    return str(path)


def test_tables_that_do_not_fit(path):
    name = edited(path, lambda t: t.drop(index=[50]))
    with pytest.raises(DataError, match=r"evenly spaced.*row 50 \(line 52\).*1800 s"):
        prepare(name)
    assert prepare({"path": name, "time": None}).sampling_rate is None
    edited(path, lambda t: t.assign(date=t["date"].where(t.index != 9, "soon")))
    with pytest.raises(DataError, match=r"evenly spaced.*row 9 "):
        prepare(name)
    edited(path, lambda t: t.assign(oil=np.where(t.index < 70, None, 1)))
    with pytest.raises(DataError, match="`oil` in .* nothing of channel 1"):
        prepare(name)
    edited(path, lambda t: t.assign(oil=np.where(t.index == 72, np.inf, 1)))
    with pytest.raises(DataError, match=r"`oil` in .*: inf at row 72 \(line 74\)"):
        prepare(name)
    path.write_text("a,b\n1,2\n3\n" + "5,6\n" * 20)
    with pytest.raises(DataError, match="must have 2 cells, got 1 in line 3"):
        prepare(name)
    path.write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="each differently"):
        prepare(name)
    path.write_bytes(b"a,b\n\xff\xff,2\n" * 20)
    with pytest.raises(DataError, match="line 2 of .* cannot be read"):
        prepare(name)
    path.write_text("a,b\n" + "x,y\n" * 20)
    with pytest.raises(DataError, match="no column of numbers; it has: a, b"):
        prepare(name)
    packed, whole = path.with_suffix(".csv.gz"), gzip.compress(b"a\n" * 99)
    for damaged in (whole[:-9], whole[:12] + b"\xff" * 6 + whole[18:]):
        packed.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot read"):
            prepare(str(packed))


def test_rows_of_test_and_of_tables_to_predict_from_are_spaced_as_those_of_train(
    path, tmp_path
):
    """Of 15 minutes; the test part is not decoded before it is scored."""
    name = edited(path, lambda t: t.drop(index=[90, 91]))
    reference = prepare({"path": name, "columns": ["oil"]})
    dataset = open_dataset(reference)
    dataset.part("valid").load(0)
    with pytest.raises(DataError, match=r"evenly spaced.*row 90 \(line 92\).*2700 s"):
        cut_windows(dataset.part("test"), 4, 1, before=3)
    unspaced = prepare({"path": name, "columns": ["oil"], "time": None})
    assert open_dataset(unspaced).part("test").load(0)["y"].shape == (20, 1)
    new = tmp_path / "new.csv"
    for rows, message in (
        (frame(40)[::2], r"are 1800 s apart, .* trained on 900 s"),
        (frame(12).drop(index=[5]), r"evenly spaced.*row 5 .*leave the column out"),
        (frame(12).assign(date="soon"), "`date` of .* must hold times from row 0"),
    ):
        rows.to_csv(new, index=False)
        with pytest.raises(DataError, match="(?s)" + message):
            try:
                series.read(new, reference=reference, roles=("y",))
            except DataError as error:
                raise DataError(f"{error.message} {error.hint}") from None
    for rows in (frame(12), frame(1), frame(40)[::2].drop(columns="date")):
        rows.to_csv(new, index=False)
        found = series.read(new, reference=reference, roles=("y",))
        np.testing.assert_array_equal(found["y"], values(new, "oil"))


def test_constant_and_single_columns(path):
    path.write_text(
        "t,a\n" + "".join(f"{i / 10},\n{i / 10 + 0.05},4\n" for i in range(50))
    )
    reference = prepare(str(path))
    assert reference.sampling_rate == pytest.approx(20) and reference.gaps == ("y",)
    found = open_dataset(reference).statistics
    assert found.mean["y"] == [4.0] and found.std["y"] == [1.0]
    path.write_text("a\n" + "1\n\n2\n" * 20 + "\n\n")
    reference = prepare(str(path))
    assert reference.settings["borders"][-1] == 60 and reference.gaps == ("y",)


def test_read_and_write(path, tmp_path):
    reference = prepare({"path": str(path), "columns": ["oil"], "inputs": ["load"]})
    new = tmp_path / "new.csv"
    frame(12)[["date", "load"]].to_csv(new, index=False)
    read = series.read(new, reference=reference, roles=("u", "y"), optional=("y",))
    assert read.keys() == {"u"}
    np.testing.assert_array_equal(read["u"], values(new, "load"))
    with pytest.raises(DataError, match="`oil` is not in"):
        series.read(new, reference=reference, roles=("y",))
    out, y = tmp_path / "deep" / "out.csv", np.linspace(0, 1, 12)[:, None]
    y[3] = np.nan
    series.write(out, {"y": y}, reference=reference, like=new)
    written = pandas.read_csv(out)
    assert list(written["date"]) == list(pandas.read_csv(new)["date"])
    np.testing.assert_array_equal(written["oil"], y[:, 0])
    with pytest.raises(DataError, match="is there already"):
        series.write(out, {"y": y}, reference=reference, like=new)
    with pytest.raises(DataError, match=r"must end in \.csv or \.csv\.gz, got .*hdf5"):
        series.write(tmp_path / "b.hdf5", {"y": y}, reference=reference, like=new)
    with pytest.raises(DataError, match=r"1 columns .* shape \(12, 2\)"):
        series.write(
            tmp_path / "b.csv", {"y": np.ones((12, 2))}, reference=reference, like=new
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "deep",
        "new.csv",
        "plant.csv",
    ]
    frame(5).assign(load=[1, 2, None, 4, 5]).to_csv(new, index=False)
    with pytest.raises(DataError, match=r"`load` in .*nan at row 2"):
        series.read(new, reference=reference, roles=("u",))


@pytest.mark.data
@pytest.mark.parametrize(("file", "times"), [("ETTh1.csv", 1), ("ETTm1.csv.gz", 4)])
def test_ett(file, times):
    root = os.environ.get("HPO_DATA") or pytest.skip("point HPO_DATA at the data")
    borders = [times * b for b in (0, 8640, 11520, 14400)]
    reference = prepare({"name": f"ett/{file}", "borders": borders})
    dataset = open_dataset(reference)
    whole = pandas.read_csv(f"{root}/ett/{file}").iloc[:, 1:].to_numpy()
    found = dataset.statistics
    np.testing.assert_allclose(found.mean["y"], whole[: borders[1]].mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std["y"], whole[: borders[1]].std(0), rtol=1e-12)
    assert reference.sampling_rate == pytest.approx(times / 3600)
    (group,) = cut_windows(dataset.part("test"), 336 + 96, 1, before=336)
    # The published score of repeating the last value shows that the protocol is right.
    scaled = (group["y"] - found.mean["y"]) / found.std["y"]
    error = scaled[:, 336:] - scaled[:, 335:336]
    expected = {1: (1.294, 0.713), 4: (1.214, 0.665)}[times]
    measured = ((error**2).mean(), np.abs(error).mean())
    np.testing.assert_allclose(measured, expected, atol=0.01)


def test_a_calendar_tells_when_every_row_is(path, tmp_path):
    reference = prepare({"path": str(path), "calendar": True})
    assert reference.roles["t"] == ("day", "second") == series.CALENDAR
    assert reference.gaps == () and set(reference.units) == {"y"}
    part = open_dataset(reference).part("valid")
    dates = pandas.to_datetime(pandas.read_csv(path)["date"])[66:80]
    days = (dates.dt.normalize() - pandas.Timestamp(0)).dt.days
    seconds = (dates - dates.dt.normalize()).dt.total_seconds()
    wanted = np.stack([days, seconds], axis=1)
    np.testing.assert_array_equal(part.slice(0, -4, 10)["t"], wanted)
    assert part.locate("t", 0, (3, 0)) == (
        f"column `date` in {path}",
        "row 73 (line 75)",
    )
    found = series.read(path, reference=reference, roles=("y", "t"))
    np.testing.assert_array_equal(found["t"][66:80], wanted)
    feed = make_feed(part, Windows(window=5, batch_size=3))
    assert feed.arrays["t"].shape == (10, 2) and "seen.t" not in feed.arrays
    assert "t" not in prepare(str(path)).roles
    night = frame(400)  # of two days, whose numbers since 1970 differ by little
    night["date"] = pandas.date_range("2020-01-01 23:59", periods=400, freq="1min")
    night.to_csv(tmp_path / "night.csv", index=False)
    prepare({"path": str(tmp_path / "night.csv"), "calendar": True})
    late = tmp_path / "late.csv"  # a time that is none, where no check has looked
    lines = path.read_text().splitlines()
    lines[90] = "yesterday" + lines[90][lines[90].index(",") :]
    late.write_text("\n".join(lines))
    found = open_dataset(prepare({"path": str(late), "calendar": True}))
    with pytest.raises(DataError, match="`date` of .* must hold dates"):
        found.part("test").load(0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"time": None}, "needs a time column of dates in .*, and there is none"),
        ({"time": "level"}, "`level` begins with '0'"),
        ({"calendar": "daily"}, "true or false, got 'daily'"),
    ],
)
def test_a_calendar_without_dates_is_refused(path, asked, message):
    with pytest.raises(DataError, match=message):
        prepare({"path": str(path), "calendar": True, **asked})
