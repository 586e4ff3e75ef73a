"""Re-runs: equal when they must be, unequal when something changed, honest statistics."""

from __future__ import annotations

import json
import math
import statistics

import pytest
from typer.testing import CliRunner

from hpo import seeds
from hpo.cli.main import app
from hpo.errors import RunError
from hpo.ledger.events import EpochEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.report.summary import load_summary
from hpo.report.verdicts import compare
from hpo.run import reproducibility
from hpo.run.rerun import opened
from hpo.statistics.means import mean_interval
from models.training.protocol import Epoch
from tests.test_hpo import sample_run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One finished run of the walking learner, and its study file."""
    folder = tmp_path_factory.mktemp("rerun")
    study = folder / "walk.py"
    study.write_text(sample_run.WALK)
    result = run("launch", study, "--trials", 5, "--results", folder / "out")
    assert result.exit_code == 0, result.stderr
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="hpo")


def rerun(place, *options):
    return run("rerun", "walks", *options, "--results", place / "out")


def folder_of(place):
    return RunFolder.find(place / "out", "walks")


def test_an_exact_rerun_is_equal_for_a_completed_and_a_stopped_trial(place):
    summary = load_summary(folder_of(place).path)
    stopped = next(r for r in summary.rows if r.state == "stopped")
    for row in (summary.best, stopped):
        result = rerun(place, "--trial", row.trial, "--exact", "--format", "json")
        assert result.exit_code == 0, result.stderr
        answer = json.loads(result.stdout)
        assert answer["equal"] is True
        assert answer["epochs"] == row.epochs
        assert answer["max_difference"] == 0.0


def test_an_exact_rerun_of_changed_code_exits_with_3(place):
    study = place / "walk.py"
    study.write_text(sample_run.WALK.replace("JITTER = 0", "JITTER = 1"))
    try:
        result = rerun(place, "--exact", "--format", "json")
    finally:
        study.write_text(sample_run.WALK)
    assert result.exit_code == 3
    answer = json.loads(result.stdout)
    assert answer["equal"] is False and answer["max_difference"] > 0
    assert "epoch 1" in answer["first_difference"]
    assert "did not give the same numbers" in result.stderr


def test_fresh_seeds_are_disjoint_reproducible_and_read_the_test_part_on_record(place):
    folder = folder_of(place)
    before = len(read_events(folder.events_file)[0])
    result = rerun(place, "--seeds", 4, "--format", "json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    summary = load_summary(folder.path)
    got = [r["seed"] for r in answer["runs"]]
    assert got == [seeds.derive(0, "walk", "rerun", i) for i in range(4)]
    assert not set(got) & {row.seed for row in summary.rows}
    new = read_events(folder.events_file)[0][before:]
    assert [e.event for e in new] == ["test_read", "rerun"]
    assert new[1].kind == "seeds" and new[1].seeds == got
    stored = folder.reruns / new[1].folder / "result.json"
    assert json.loads(stored.read_text())[0]["runs"] == answer["runs"]
    again = json.loads(rerun(place, "--seeds", 2, "--format", "json").stdout)
    assert [r["test"] for r in again["runs"]] == [r["test"] for r in answer["runs"][:2]]


def test_the_statistics_are_students(place):
    from scipy import stats

    answer = json.loads(rerun(place, "--seeds", 5, "--format", "json").stdout)
    tests = [r["test"]["rmse"] for r in answer["runs"]]
    low, high = stats.t.interval(
        0.95, 4, loc=statistics.fmean(tests), scale=stats.sem(tests)
    )
    assert answer["test"]["mean"] == pytest.approx(statistics.fmean(tests))
    assert answer["test"]["low"] == pytest.approx(low)
    assert answer["test"]["high"] == pytest.approx(high)
    valid = statistics.fmean(r["objective"] for r in answer["runs"])
    best = load_summary(folder_of(place).path).best
    assert answer["optimism"] == pytest.approx(valid - best.objective)
    for r in answer["runs"]:  # the walker's test is 1.1 times its best validation
        assert r["test"]["rmse"] == pytest.approx(1.1 * r["objective"])


def test_one_seed_gives_no_interval_and_nan_is_left_out():
    assert mean_interval([]) is None and mean_interval([math.nan]) is None
    one = mean_interval([2.0, math.nan])
    assert (one.mean, one.low, one.count) == (2.0, None, 1)


def test_top_reruns_several(place):
    answer = json.loads(
        rerun(place, "--top", 2, "--seeds", 1, "--format", "json").stdout
    )
    assert [a["rank"] for a in answer] == [1, 2]
    text = rerun(place, "--rank", 2, "--seeds", 2).stdout
    assert "(rank 2)" in text and "95 % interval" in text and "optimism" in text


def test_what_cannot_be_rerun_is_refused(place):
    for options, words in (
        (("--rank", 99), "no trial of rank 99"),
        (("--trial", 99), "no trial 99"),
        (("--rank", 1, "--trial", 1), "not several"),
        (("--exact", "--seeds", 2), "not both"),
    ):
        result = rerun(place, *options)
        assert result.exit_code == 1
        assert words in result.stderr and result.stdout == ""


def test_a_key_that_no_family_knows_suggests_none_that_is_refused(place):
    result = rerun(place, "--set", "nosuch=3")
    assert result.exit_code == 1 and "no family knows the key `nosuch`" in result.stderr
    assert "hint: " in result.stderr
    assert "budget" not in result.stderr and "sampler" not in result.stderr


def test_a_missing_study_file_is_told(place):
    study = place / "walk.py"
    text = study.read_text()
    study.unlink()
    try:
        result = rerun(place, "--exact")
    finally:
        study.write_text(text)
    assert result.exit_code == 1 and "cannot be imported" in result.stderr


def test_a_trial_that_never_trained_cannot_be_repeated(tmp_path):
    path = sample_run.write(tmp_path)
    sources = json.loads((path / "study.json").read_text())
    sources["study"]["data"] = None
    (path / "study.json").write_text(json.dumps(sources))
    with opened(path) as workshop, pytest.raises(RunError, match="no epoch to repeat"):
        workshop.exact([workshop.summary.row(5)])


def epoch(number, loss, rmse):
    data = {"epoch": number, "train": {"loss": loss}, "valid": {"rmse": rmse}}
    return EpochEvent(trial=1, **data, seconds=0.0, compile_seconds=0.0)


def test_comparing_finds_the_first_and_the_largest_difference():
    recorded = {1: epoch(1, 1.0, math.nan), 2: epoch(2, 0.5, 0.25)}
    same = [
        Epoch(1, {"loss": 1.0}, {"rmse": math.nan}),
        Epoch(2, {"loss": 0.5}, {"rmse": 0.25}),
    ]
    assert compare(1, recorded, same).equal
    other = [same[0], Epoch(2, {"loss": 0.5 + 2**-52}, {"rmse": 0.75})]
    result = compare(1, recorded, other)
    assert not result.equal and result.max_difference == 0.5 and result.epochs == 2
    assert result.first_difference.startswith("epoch 2, train loss")
    short = compare(1, recorded, same[:1])
    assert (
        not short.equal
        and short.epochs == 1
        and "not reached" in short.first_difference
    )
    turned = [Epoch(1, {"loss": 1.0}, {"rmse": 3.0}), same[1]]
    assert not compare(1, recorded, turned).equal
    assert not compare(1, recorded, [Epoch(1, {"loss": 1.0}, {}), same[1]]).equal


def test_changed_versions_are_named():
    before = {
        "versions": {"jax": "1", "ray": "2"},
        "cpu": "A",
        "instructions": "1",
        "git": {"commit": "a" * 40},
    }
    now = {
        "versions": {"jax": "1", "ray": "3"},
        "cpu": "A",
        "instructions": "2",
        "git": {"commit": "b" * 40},
    }
    assert reproducibility.differences(before, now) == (
        "ray was 2, is 3",
        "instructions was 1, is 2",
        "commit was aaaaaaaa, is bbbbbbbb",
    )
    assert reproducibility.differences({}, now) == ()


def test_changed_data_is_refused(tmp_path, monkeypatch):
    from hpo.run.sources import Sources

    then = Sources(data={"name": "x", "hashes": {"train": "1", "test": "2"}})
    monkeypatch.setattr(
        "hpo.packages.prepare_data",
        lambda data, root: {"name": "x", "hashes": {"train": "1", "test": "3"}},
    )
    with pytest.raises(RunError, match=r"part test"):
        reproducibility.reload_data(then, sample_run.STUDY, None)
