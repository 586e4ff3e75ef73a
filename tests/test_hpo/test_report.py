"""The summary against numbers known by hand; the renderings against golden files."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from msgspec import structs

from hpo.errors import RunError, StudyError
from hpo.report import details, files, formats, numbers, table
from hpo.report.summary import load_summary, summarize
from tests.test_hpo import sample_run

FOLDER = Path("results/sample/20260101-120000-0123abcd")


@pytest.fixture
def summary():
    return summarize(sample_run.STUDY, sample_run.events(), folder=FOLDER)


def test_ranking_is_completed_and_converged_by_value_then_the_others(summary):
    ranked = [(r.rank, r.trial, r.state) for r in summary.rows if r.rank]
    assert ranked == [
        (1, 1, "completed"),
        (2, 6, "converged"),
        (3, 7, "completed"),
        (4, 2, "completed"),
    ]
    others = [(r.trial, r.state) for r in summary.rows[4:]]
    assert others == [
        (9, "running"),
        (10, "pending"),
        (11, "pending"),
        (3, "stopped"),
        (4, "diverged"),
        (5, "failed"),
        (8, "cancelled"),
    ]


def test_a_value_is_that_of_the_best_epoch_and_seconds_exclude_compiling(summary):
    row = summary.row(6)
    assert (row.objective, row.best_epoch, row.epochs) == (0.0011, 3, 5)
    assert row.seconds == 2.5
    assert row.compile_seconds == 1.0
    assert row.parameters == 6689


def test_nan_is_no_value_and_stays_in_the_curve(summary):
    row = summary.row(4)
    assert row.objective is None and row.rank is None
    assert math.isnan(row.curve[0].value)


def test_a_repeated_epoch_keeps_its_first_value_and_is_counted_once():
    events = sample_run.events()
    mine = [e.event == "epoch" and e.trial == 7 for e in events]
    place = mine.index(True) + 1
    other = structs.replace(events[place - 1], valid={"rmse": 0.0})
    one = summarize(sample_run.STUDY, events, folder=FOLDER)
    edited = [*events[:place], other, *events[place:]]
    two = summarize(sample_run.STUDY, edited, folder=FOLDER)
    assert one.row(7) == two.row(7)


def test_attempts_tell_how_each_go_ended(summary):
    first, second = summary.row(7).attempts
    assert (first.why, first.epoch, second.why, second.epoch) == (
        "first",
        0,
        "retry",
        3,
    )
    assert "SIGKILL" in first.end
    assert second.end == "completed"
    assert summary.row(7).nondeterminism == (3,)


def test_maximized_objectives_rank_the_largest_first():
    import dataclasses

    objective = dataclasses.replace(
        sample_run.STUDY.objectives[0], direction="maximize"
    )
    study = sample_run.STUDY.replace(objectives=(objective,))
    turned = summarize(study, sample_run.events(), folder=FOLDER)
    assert [r.trial for r in turned.rows[:4]] == [1, 7, 2, 6]
    assert turned.best.objective == 0.05


def test_selecting_keeps_the_ranks_of_the_run(summary):
    assert [r.rank for r in summary.select(family="linear").rows] == [4]
    by_size = summary.select(sort="hidden_size", top=2).rows
    assert [r.params["model.hidden_size"] for r in by_size] == [10, 12]
    assert summary.select(sort="rmse").rows[0].trial == 1
    assert summary.select(sort="seconds").rows[-1].seconds == 4.0
    with pytest.raises(StudyError, match="unknown column `hidden_siz`"):
        summary.select(sort="hidden_siz")
    with pytest.raises(StudyError, match="no family `rn`"):
        summary.select(family="rn")
    with pytest.raises(RunError, match="no trial 99"):
        summary.row(99)
    with pytest.raises(RunError, match="no trial of rank 5"):
        summary.ranked(5)


def test_json_is_strict_and_has_the_documented_fields(summary):
    rows = json.loads(formats.to_json(summary), parse_constant=pytest.fail)
    wanted = {
        *("rank", "trial", "family", "state", "objective", "metric", "epochs"),
        *("epoch_budget", "seconds", "parameters", "seed", "params", "unit"),
    }
    assert all(wanted <= set(row) for row in rows)
    assert [row["trial"] for row in rows] == [r.trial for r in summary.rows]
    by_trial = {row["trial"]: row for row in rows}
    assert by_trial[1]["objective"] == 0.00097 and by_trial[1]["unit"] == "V"
    assert by_trial[4]["rank"] is None and by_trial[4]["objective"] is None
    assert by_trial[3]["rank"] is None and by_trial[3]["objective"] == 0.08
    assert by_trial[5]["parameters"] is None
    assert by_trial[2]["params"] == {"model.order": 12}


def test_csv_has_a_column_per_hyperparameter(summary):
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(summary))))
    assert len(rows) == 11
    assert rows[0]["params.model.cell"] == "gru"
    assert float(rows[0]["objective"]) == 0.00097
    assert rows[3]["params.model.order"] == "12" and rows[3]["params.model.cell"] == ""


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_tables_look_as_they_should(summary, width):
    text = table.render(summary, width=width).plain
    assert max(map(len, text.splitlines())) <= width
    sample_run.check_golden(f"table-{width}.txt", text + "\n")


def test_markdown_looks_as_it_should(summary):
    sample_run.check_golden("report.md", files.markdown(summary))


@pytest.mark.parametrize("trial", [5, 7])
def test_details_look_as_they_should(summary, trial):
    text = details.render(summary, summary.row(trial), width=80).plain
    sample_run.check_golden(f"show-{trial}.txt", text + "\n")


def test_a_table_with_styles_says_the_same_as_one_without(summary):
    from rich.console import Console

    text = table.render(summary, width=100)
    out = io.StringIO()
    Console(file=out, width=100, no_color=True, force_terminal=False).print(text)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        line.rstrip() for line in text.plain.splitlines()
    ]


def test_reports_are_written_and_can_be_written_again(tmp_path):
    summary = load_summary(sample_run.write(tmp_path))
    folder = files.write_report(summary)
    names = ("leaderboard.csv", "leaderboard.json", "report.md")
    before = [(folder / n).read_bytes() for n in names]
    files.write_report(summary)
    assert before == [(folder / n).read_bytes() for n in names]


def test_a_torn_line_is_reported_and_a_damaged_one_refused(tmp_path):
    run = sample_run.write(tmp_path)
    path = run / "events.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-20])
    assert any("torn" in note for note in load_summary(run).notes)
    path.write_text(whole.replace('"event": "started"', '"event": "begun"', 1))
    with pytest.raises(RunError, match="line 3"):
        load_summary(run)
    (run / "study.json").write_text("{")
    with pytest.raises(RunError, match="study.json"):
        load_summary(run)


@pytest.mark.parametrize(
    ("value", "unit", "printed"),
    [
        (0.00097, "V", ("mV", "0.970")),
        (0.0434, "V", ("mV", "43.40")),
        (0.83e-4, "V", ("µV", "83.00")),
        (0.2, "V", ("V", "0.200")),
        (12.0, "V", ("V", "12.00")),
        (4200.0, "Pa", ("kPa", "4.200")),
        (0.00097, "", ("", "9.70e-04")),
        (0.02, "%", ("%", "0.0200")),
    ],
)
def test_units_get_the_prefix_a_person_expects(value, unit, printed):
    scale = numbers.scale_for([value, None, math.nan], unit)
    assert scale.unit == printed[0]
    assert float(scale.format(value)) == pytest.approx(float(printed[1]), rel=1e-3)


def test_short_numbers_and_names():
    assert [numbers.short(v) for v in (0.0031234, 1.25e-5, 250, "gru", True, 0.5)] == [
        *("0.00312", "1.25e-5", "250", "gru", "True", "0.5"),
    ]
    keys = ["model.size", "data.size", "optimizer.rate"]
    assert numbers.short_names(keys) == {
        "model.size": "model.size",
        "data.size": "data.size",
        "optimizer.rate": "rate",
    }
    assert numbers.duration(3725) == "1 h 02 min"


def test_sparklines_mark_what_is_no_number():
    assert numbers.sparkline([3.0, 2.0, math.nan, 1.0]) == "█▅×▁"
    assert len(numbers.sparkline(list(range(1, 500)), width=40)) == 40
    assert numbers.sparkline([math.nan]) == "×"
