"""Excerpts: the right pieces by a search in plain loops, the right numbers by other ways."""

from __future__ import annotations

import math
from functools import partial

import h5py
import numpy as np
import pytest

from hpo.ledger import excerpts as files
from hpo.testing import families
from models import linear, pca, rnn
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.reference import Reference
from models.tasks.comparison import compared
from models.training.excerpts import (
    CHANNELS,
    LONGEST,
    Comparison,
    Source,
    excerpts,
    piece_spans,
)
from models.training.protocol import Context
from tests.toy_families import flow_posterior, table_forecast


def comparison(rows, length, *, channels=1, seed=0, **changes):
    random = np.random.default_rng(seed)
    shape = (rows, length, channels)
    told = {
        "measured": random.normal(size=shape),
        "predicted": random.normal(size=shape),
        "known": np.zeros(shape, bool),
        "scored": random.random(shape) < 0.8,
        "scale": np.ones(1),
        "pooled": False,
        "unit": "V",
        "names": tuple(f"y{i}" for i in range(channels)),
        "units": ("V",) * channels,
        "rate": 10.0,
    }
    return Comparison(**{**told, **changes})


def source(compared, record="a", first=0, rows=None):
    return Source(
        record=record,
        first=first,
        rows=rows or len(compared.measured),
        compare=lambda: compared,
    )


def by_hand(sources):
    """(error, record, row, start) of every piece, one entry at a time."""
    found = []
    for one in sources:
        c = one.compare()
        rows, length, channels = c.measured.shape
        for row in range(rows):
            for span in piece_spans(length):
                per_channel = []
                for channel in range(channels):
                    squares = [
                        (c.predicted[row, t, channel] - c.measured[row, t, channel])
                        ** 2
                        for t in range(span.start, span.stop)
                        if c.scored[row, t, channel]
                    ]
                    if squares:
                        per_channel.append(math.sqrt(sum(squares) / len(squares)))
                if per_channel:
                    error = sum(per_channel) / len(per_channel)
                    error = error if math.isfinite(error) else math.inf
                    found.append((error, one.record, one.first + row + 1, span.start))
    return sorted(found, key=lambda f: f[0])


@pytest.mark.parametrize("length", [7, LONGEST, LONGEST + 1, 3 * LONGEST + 5])
def test_best_median_and_worst_are_those_of_a_search_by_hand(length):
    sources = [
        source(comparison(3, length, channels=2)),
        source(comparison(2, length, channels=2, seed=1), record="b", rows=3),
        source(comparison(1, length, channels=2, seed=2), record="b", first=2, rows=3),
    ]
    wanted = by_hand(sources)
    found = excerpts(sources)
    assert [e.which for e in found] == ["best", "median", "worst"]
    for e, place in zip(found, (0, (len(wanted) - 1) // 2, -1), strict=True):
        assert e.value == pytest.approx(wanted[place][0])
        assert (e.record, e.row, e.start) == wanted[place][1:]
        assert e.pieces == len(wanted) and len(e.measured) <= LONGEST
        assert e.rows == 3


@pytest.mark.parametrize("length", [1, LONGEST, LONGEST + 1, 10 * LONGEST - 1])
def test_pieces_are_nearly_equal_and_leave_nothing_out(length):
    spans = piece_spans(length)
    assert [i for s in spans for i in range(s.start, s.stop)] == list(range(length))
    sizes = [s.stop - s.start for s in spans]
    assert max(sizes) <= LONGEST and max(sizes) - min(sizes) <= 1


def test_few_pieces_are_fewer_excerpts_and_nothing_scored_is_none():
    assert [e.which for e in excerpts([source(comparison(1, 5))])] == ["only"]
    two = excerpts([source(comparison(2, 5))])
    assert [e.which for e in two] == ["best", "worst"]
    blind = comparison(2, 5, scored=np.zeros((2, 5, 1), bool))
    assert excerpts([source(blind)]) == ()
    assert excerpts([Source(record="a", first=0, rows=1, compare=lambda: None)]) == ()


def test_a_model_that_left_all_bounds_is_the_worst():
    wild = comparison(3, 6, scored=np.ones((3, 6, 1), bool))
    wild.predicted[1, 3] = np.nan
    worst = excerpts([source(wild)])[-1]
    assert worst.row == 2 and worst.value == math.inf


def test_of_many_channels_those_with_most_scored_values_are_kept():
    scored = np.zeros((3, 8, 6), bool)
    for channel, count in {1: 4, 3: 8, 4: 1, 5: 6}.items():
        scored[:, :count, channel] = True
    found = excerpts([source(comparison(3, 8, channels=6, scored=scored))])
    assert all(e.names == ("y1", "y3", "y5") for e in found)
    assert all(e.measured.shape == (8, CHANNELS) == e.scored.shape for e in found)


# -- of fitted models ---------------------------------------------------------------------


def made(family, task, folder, **changes):
    learner = families.make(family, task, folder, **changes)
    learner.fit()
    return learner


def test_simulations_are_what_predict_gives_for_the_file(tmp_path):
    learner = made(linear, "simulation", tmp_path)
    (only,) = learner.excerpts("test")
    with h5py.File(tmp_path / "test" / "test_0.hdf5") as file:
        u, y = file["u0"][:][:, None], file["y0"][:]
    np.testing.assert_allclose(only.measured[:, 0], y, rtol=1e-6)
    np.testing.assert_allclose(only.predicted, learner.predict(u), rtol=1e-5)
    assert only.value == pytest.approx(learner.evaluate("test")["rmse"])
    assert only.record == "test_0" and only.rate == 100.0 and not only.known.any()


def test_predictions_are_windows_whose_first_outputs_were_given(tmp_path):
    learner = made(rnn, "prediction", tmp_path)
    found = learner.excerpts("test")
    task = learner.interface.task
    with h5py.File(tmp_path / "test" / "test_0.hdf5") as file:
        u, y = file["u0"][:][:, None], file["y0"][:][:, None]
    for e in found:
        start = (e.row - 1) * task.horizon
        window = slice(start, start + task.window)
        np.testing.assert_allclose(e.measured, y[window], rtol=1e-6)
        assert e.known[:, 0].tolist() == [True] * 8 + [False] * 24
        assert (e.scored == ~e.known).all() and np.isnan(e.predicted[:8]).all()
        given = {"u": u[window], "y": y[window][: task.known]}
        told = learner.predict(given)["y"][task.known :]
        np.testing.assert_allclose(e.predicted[8:], told, rtol=1e-4, atol=1e-5)
        rmse = float(np.sqrt(np.mean((told - y[window][8:]) ** 2)))
        assert e.value == pytest.approx(rmse, rel=1e-4)
    # windows of equal size, all of which are shown: together they are the part's error
    assert found[0].pieces == found[0].rows == 3
    whole = math.sqrt(sum(e.value**2 for e in found) / 3)
    assert whole == pytest.approx(learner.evaluate("test")["rmse"], rel=1e-4)
    stored(learner, tmp_path)


def stored(learner, folder):
    """A learner restored from its checkpoint leaves the very same bytes."""
    learner.save(folder / "saved")
    again = families.make(rnn, "prediction", folder)
    again.restore(folder / "saved")
    told = []
    for place, one in enumerate((learner, again)):
        found = files.Excerpts(part="test", pieces=one.excerpts("test"))
        files.write(folder / f"{place}.npz", found)
        told.append((folder / f"{place}.npz").read_bytes())
    assert told[0] == told[1]
    back = files.read(folder / "0.npz")
    for a, b in zip(back.pieces, found.pieces, strict=True):
        assert (a.which, a.record, a.value, a.names) == (
            *(b.which, b.record, b.value),
            b.names,
        )
        np.testing.assert_array_equal(a.predicted, b.predicted)


def test_hidden_entries_of_a_row_are_what_is_scored(tmp_path):
    learner = made(pca, "reconstruction", tmp_path)
    found = learner.excerpts("test")
    with h5py.File(tmp_path / "rows.hdf5") as file:
        rows = file["test/values"][:]
    std = np.asarray(learner.interface.statistics.std["values"])
    for e in found:
        row = rows[e.row - 1]
        np.testing.assert_allclose(e.measured[:, 0], row, rtol=1e-6)
        assert not (e.known & e.scored).any() and e.scored.any()
        assert (e.known | e.scored)[:, 0].tolist() == (~np.isnan(row)).tolist()
        # the model was given exactly what is marked as known
        given = np.where(e.known[:, 0], row, np.nan)
        told = learner.predict({"values": given})["values"]
        np.testing.assert_allclose(
            e.predicted[e.scored[:, 0], 0], told[e.scored[:, 0]], rtol=1e-5
        )
        apart = ((told - row) / std)[e.scored[:, 0]]
        assert e.value == pytest.approx(float(np.sqrt(np.mean(apart**2))), rel=1e-5)
        assert e.unit == "sd" and e.rate is None


def test_rows_of_time_and_channels_are_drawn_along_time():
    shape = (2, 4, 3)
    reference = Reference(
        name="ward", path="/ward", kind="samples", roles={"vitals": ("vitals",)}
    )
    measured = np.arange(24.0).reshape(shape)
    told = compared(
        "vitals",
        measured=measured,
        predicted=measured + 1,
        masks=(True, None, np.arange(3) < 2),
        reference=reference,
        std=np.array([1.0, 2.0, 4.0]),
    )
    assert told.names == ("vitals 0", "vitals 1", "vitals 2") and len(told.units) == 3
    found = excerpts([source(told)])
    assert found[0].value == pytest.approx(math.sqrt((1 + 1 / 4) / 2))
    assert found[0].measured.shape == (4, 3) and not found[0].known.any()
    image = np.zeros((2, 4, 4, 1))
    masks = (True, None, True)
    assert compared("vitals", measured=image, predicted=image, masks=masks,
                    reference=reference, std=None) is None  # fmt: skip


@pytest.mark.slow
def test_a_forecast_shows_the_past_as_given_and_the_horizon_as_scored(tmp_path):
    learner = made(table_forecast, "forecast", tmp_path)
    found = learner.excerpts("valid")
    horizon = learner.interface.task.horizon
    assert len(found) == 3 and found[0].value <= found[1].value <= found[2].value
    for e in found:
        assert e.known[:-horizon].sum() == np.isfinite(e.measured[:-horizon]).sum()
        assert not e.known[-horizon:].any() and not e.scored[:-horizon].any()
        assert e.names == ("first", "second")


@pytest.mark.slow
def test_draws_of_a_distribution_are_not_drawn_as_a_line(tmp_path):
    learner = families.make(flow_posterior, "posterior", tmp_path)
    assert learner.excerpts("valid") == ()


def test_a_record_too_short_for_a_window_is_left_out(tmp_path):
    """It is of the score of the whole part; of the scores by record it must be, too."""
    made(rnn, "prediction", tmp_path)  # writes the data
    for name, length in (("short", 9), ("long", 80)):
        with h5py.File(tmp_path / "test" / f"{name}.hdf5", "w") as file:
            random = np.random.default_rng(length)
            file.attrs["fs"] = 100.0
            file["u0"], file["y0"] = random.normal(size=(2, length))
    example = rnn.example("prediction")
    context = Context(
        task=example.described.to_json(),
        data=prepare({"path": str(tmp_path)}).to_json(),
        epochs=1,
    )
    learner = rnn.create(example.config, context)
    assert "short" in open_dataset(context.data).part("test").names
    assert set(learner.evaluate_records("test")) == {"long", "test_0"}
    assert {e.record for e in learner.excerpts("test")} <= {"long", "test_0"}


def test_what_is_no_excerpt_is_refused_and_a_damaged_file_named(tmp_path):
    from hpo.errors import RunError

    piece = excerpts([source(comparison(1, 5))])[0]
    wrong = files.Excerpts(
        part="test",
        pieces=(type(piece)(**{**vars(piece), "known": np.zeros(5, bool)}),),
    )
    with pytest.raises(ValueError, match="`known` of an excerpt"):
        files.write(tmp_path / "a.npz", wrong)
    assert files.read(tmp_path / "a.npz") is None
    (tmp_path / "b.npz").write_bytes(b"no zip")
    with pytest.raises(RunError, match=r"b\.npz holds no excerpts"):
        files.read(tmp_path / "b.npz")


def test_a_large_part_is_not_held_in_memory():
    """Every batch is made twice, and none is kept: at most one lives at a time."""
    alive = []

    def compare(seed):
        import weakref

        made = comparison(2, 4, seed=seed)
        assert sum(ref() is not None for ref in alive) <= 1
        alive.append(weakref.ref(made))
        return made

    sources = [
        Source(record="a", first=2 * i, rows=20, compare=partial(compare, i))
        for i in range(10)
    ]
    assert len(excerpts(sources)) == 3 and len(alive) == 13
