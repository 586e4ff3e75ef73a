"""What a report shows of predictions: the median seed's file as it is, and nobody's code run."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from hpo.ledger import excerpts
from hpo.report import formats
from hpo.report.page import content, draw_windows, html, parts, sections, style, text
from hpo.report.page.excerpts import shown
from hpo.run.launch import launch
from hpo.study import Budget
from models.training.protocol import Excerpt
from tests.test_hpo.test_confirm import STUDY, confirmed, events_of, family


@pytest.fixture(scope="module")
def confirmed_run(tmp_path_factory):
    """A search over two families whose winners were confirmed with three seeds each."""
    study = STUDY.replace(
        families=(family("first"), family("second", size=5)),
        budget=Budget(trials=2, epochs=1),
    )
    folder = launch(study, results=tmp_path_factory.mktemp("windows")).folder
    confirmed(folder, top=1, seeds=3)
    return folder


@pytest.fixture
def place(confirmed_run, tmp_path):
    copy = tmp_path / confirmed_run.parent.name / confirmed_run.name
    shutil.copytree(confirmed_run, copy)
    return copy


def drawn(place):
    """Every row of the figures' CSV files, by figure."""
    told = content.load(place)
    looks = style.looks([f.name for f in told.summary.study.families])
    return {
        d.name: list(csv.DictReader(io.StringIO(formats.csv_text(d.rows, d.heads))))
        for d in draw_windows.windows(told, looks)
    }


def test_the_median_seed_of_each_winner_is_shown(place):
    (stage,) = place.glob("reruns/*-confirm-*")
    scores = {
        e.trial: e.metrics["rmse"] for e in events_of(stage) if e.event == "evaluated"
    }
    families = json.loads((stage / "study.json").read_text())["study"]["fixed"]
    names = [f["family"] for f in families]
    assert len(scores) == 6 and set(drawn(place)) == {"windows-first", "windows-second"}
    for figure, rows in drawn(place).items():
        mine = {t: v for t, v in scores.items() if f"windows-{names[t - 1]}" == figure}
        middle = statistics.median_low(mine.values())
        # `Steady` predicts by as much too high as a row's number times half its test score
        for row in rows:
            if row["scored"] == "1":
                apart = float(row["predicted"]) - float(row["measured"])
                assert apart == pytest.approx(int(row["window"]) * middle / 2, rel=1e-5)
        assert [r["given"] for r in rows] == ["1", "0", "0", "0"] * 3
        assert [r["predicted"] for r in rows if r["given"] == "1"] == [""] * 3


def test_page_and_markdown_show_them_with_a_table(place):
    told = content.load(place)
    looks = style.looks([f.name for f in told.summary.study.families])
    made = tuple(draw_windows.windows(told, looks))
    figures = {d.name: d.files(["svg"])["svg"] for d in made}
    for drawing in made:
        svg = figures[drawing.name]
        assert "the median of 3 seeds, over the test part" in drawing.caption
        assert "In the darker stretch it was given" in drawing.caption
        words = "".join(ElementTree.fromstring(svg).itertext())
        assert "best, rmse" in words and "y0 [V]" in words and "[s]" in words
    part = replace(parts.of_run(told), drawings=made)
    page = html.render([part], figures)
    assert 'id="figure-windows-first"' in page
    assert "Predictions beside measurements" in text.render([parts.of_run(told)])
    (section,) = [s for s in sections.sections(told) if s.name == "windows"]
    lines = [
        dict(zip(section.table.heads, row, strict=True)) for row in section.table.rows
    ]
    assert [line["which"] for line in lines] == ["best", "median", "worst"] * 2
    assert {line["window"] for line in lines} == {"1 of 3", "2 of 3", "3 of 3"}


def test_a_damaged_file_is_named_and_costs_its_picture_alone(place):
    for path in place.glob("reruns/*-confirm-*/trials/000[123]/excerpts.npz"):
        path.write_bytes(path.read_bytes()[:100])
    told = content.load(place)
    assert [bool(s.remark) for s in told.windows].count(True) == 1
    (section,) = [s for s in sections.sections(told) if s.name == "windows"]
    assert "holds no excerpts" in section.points[0] and len(section.table.rows) == 3


def test_learners_without_excerpts_and_runs_without_a_verdict_show_nothing(place):
    for path in place.glob("reruns/*/trials/*/excerpts.npz"):
        path.unlink()
    told = content.load(place)
    assert told.verdict is not None and told.windows == ()
    assert "Predictions beside" not in text.render([parts.of_run(told)])
    assert shown(None) == () == shown(replace(told.confirmation, look=0))


def test_what_cannot_be_kept_is_a_note_and_the_scores_stand(tmp_path, monkeypatch):
    """Excerpts that a learner makes wrong are told in the ledger."""
    from pathlib import Path

    from hpo.testing.steady import Steady
    from hpo.worker.assignment import Assignment
    from hpo.worker.evaluation import Evaluation

    def excerpts_of(self, part):
        raise ValueError("no colours left")

    monkeypatch.setattr(Steady, "excerpts", excerpts_of)
    report = Evaluation(
        Assignment(
            trial=1,
            attempt=1,
            family="first",
            create="hpo.testing.steady:create",
            config={"rate": 0.5, "start": 1.0},
            epochs=1,
            known=1,
            folder=_made(Path(tmp_path) / "0001"),
            evaluate="test",
        )
    ).step()
    assert report.error is None and report.scores.metrics
    assert report.notes == (
        "no excerpts of the part test: ValueError: no colours left",
    )


def _made(path):
    path.mkdir()
    return path


def piece(states, **changes):
    """An excerpt whose steps are scored (s), given (g), neither (n) or unseen (u)."""
    kinds = np.array(list(states))[:, None]
    plain = Excerpt(
        which="best",
        record="a",
        row=1,
        rows=1,
        start=0,
        pieces=3,
        metric="rmse",
        value=1.0,
        unit="V",
        measured=np.where(kinds == "u", np.nan, 0.0),
        predicted=np.ones(kinds.shape),
        known=kinds == "g",
        scored=kinds == "s",
        names=("y0",),
        units=("V",),
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        ("sssss", [(0, 0, 5)]),
        ("ggsss", [(1, 0, 2), (0, 2, 5)]),
        ("nnnsss", [(2, 0, 3), (0, 3, 6)]),
        ("ssuss", None),  # too short to be seen as lines
        ("gsgsgsgs", None),
        ("gggsssuuu", [(1, 0, 3), (0, 3, 6), (3, 6, 9)]),
    ],
)
def test_stretches_of_a_window(states, wanted):
    found = draw_windows.bands(draw_windows.states_of(piece(states), 0))
    assert found == wanted


def test_a_wild_prediction_does_not_flatten_what_was_measured():
    random = np.random.default_rng(0)
    measured = random.normal(size=(50, 1))
    wild = np.full((50, 1), 1e30)
    low, high = draw_windows._limits(measured[:, 0], wild[:, 0])
    assert high - low < 3 * np.ptp(measured)
    near = draw_windows._limits(measured[:, 0], measured[:, 0] + 0.1)
    assert near[0] < measured.min() and near[1] > measured.max() + 0.1


def test_files_of_a_nan_and_of_an_infinite_error_are_drawn(tmp_path):
    bad = piece("sss", value=float("inf"), predicted=np.full((3, 1), np.nan))
    found = excerpts.Excerpts(part="test", pieces=(bad,))
    excerpts.write(tmp_path / "a.npz", found)
    (back,) = excerpts.read(tmp_path / "a.npz").pieces
    assert back.value == float("inf") and np.isnan(back.predicted).all()
    from hpo.report.page.excerpts import Shown

    told = Shown(family="f", trial=1, seed=2, seeds=1, part="test", pieces=(back,))
    drawing = draw_windows._drawing(told, 0, style.looks(["f"])["f"])
    assert b"inf" in drawing.files(["svg"])["svg"]
