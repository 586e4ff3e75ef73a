"""`hpo clean`: exactly the losers' checkpoints go, and nothing a later command needs."""

from __future__ import annotations

import csv
import io
import json

import pytest

from hpo.ledger.folder import RunFolder
from hpo.report import numbers
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run


@pytest.fixture
def sample(tmp_path):
    """The sample run with a checkpoint for every attempt, 1000 + trial bytes each."""
    path = sample_run.write(tmp_path / "results")
    folder = RunFolder(path)
    for trial in range(1, 11):
        for attempt in (1, 2) if trial == 7 else (1,):
            place = folder.attempt(trial, attempt)
            (place / "deep").mkdir(parents=True)
            (place / "saved").touch()
            (place / "deep" / "checkpoint").write_bytes(b"x" * (1000 + trial))
        folder.write_json(folder.config_file(trial), {"config": {"a": 1}})
    folder.error_file(5).write_text("ValueError\n")
    return path


def clean(sample, *options):
    return run("clean", "sample", *options, "--results", sample.parents[1])


def checkpoints(sample):
    found = (sample / "trials").glob("*/attempt-*/saved")
    return {f"{int(p.parts[-3])}.{p.parts[-2][-1]}" for p in found}


def others(sample):
    return {
        p: p.read_bytes()
        for p in sample.rglob("*")
        if p.is_file() and "attempt-" not in str(p) and p.name != ".lock"
    }


# ranked: 1, 6, 7 (rnn) and 2 (linear); unfinished: 9 (running), 10 (interrupted)
@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (0, {"9.1", "10.1"}),
        (1, {"1.1", "2.1", "9.1", "10.1"}),
        (2, {"1.1", "6.1", "2.1", "9.1", "10.1"}),
        (9, {"1.1", "6.1", "7.2", "2.1", "9.1", "10.1"}),
    ],
)
def test_losers_go_and_the_rest_stays(keep, left, sample):
    before, kept = checkpoints(sample), others(sample)
    result = clean(sample, "--keep", keep, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert checkpoints(sample) == left
    rows = json.loads(result.stdout)
    assert {f"{r['trial']}.{r['attempt']}" for r in rows} == before - left
    assert all(r["bytes"] == 1000 + r["trial"] for r in rows)
    total = sum(r["bytes"] for r in rows)
    assert f"freed {numbers.size(total)} ({total:,} bytes)" in result.stderr
    assert others(sample) == kept
    again = clean(sample, "--keep", keep)
    assert again.stdout == "" and "freed 0 B" in again.stderr


def test_a_dry_run_deletes_nothing_and_says_the_same(sample):
    before = checkpoints(sample)
    dry = clean(sample, "--dry-run", "--format", "csv")
    assert checkpoints(sample) == before
    assert "would free" in dry.stderr
    wet = clean(sample, "--format", "csv")
    assert wet.stdout == dry.stdout
    trials = [r["trial"] for r in csv.DictReader(io.StringIO(wet.stdout))]
    assert trials == ["3", "4", "5", "6", "7", "7", "8"]


def test_a_winner_without_a_whole_checkpoint_keeps_what_it_has(sample):
    (RunFolder(sample).attempt(1, 1) / "saved").unlink()
    clean(sample)
    assert (RunFolder(sample).attempt(1, 1) / "deep" / "checkpoint").exists()


def test_strangers_in_the_folder_are_left_alone(sample, tmp_path):
    place = RunFolder(sample).trial(3)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("x")
    (place / "attempt-7").symlink_to(tmp_path / "elsewhere")
    (place / "attempt-best").mkdir()
    (sample / "trials" / "0099" / "attempt-1").mkdir(parents=True)
    clean(sample)
    assert (tmp_path / "elsewhere" / "precious").exists()
    assert (place / "attempt-best").exists()
    assert (sample / "trials" / "0099" / "attempt-1").exists()


def test_mistakes_delete_nothing(sample):
    before = checkpoints(sample)
    refused(clean(sample, "--keep", "-1"), "--keep", status=2)
    refused(run("clean", "smaple", "--results", sample.parents[1]), "`sample`")
    with RunFolder(sample).acquire():
        refused(clean(sample), "another driver")
        refused(clean(sample, "--dry-run"), "another driver")
    path = sample / "events.jsonl"
    path.write_text(path.read_text().replace('"trial": 1,', '"trial": "one",', 1))
    refused(clean(sample), "events.jsonl, line 2")
    assert checkpoints(sample) == before


def test_what_cannot_be_deleted_is_named(sample, monkeypatch):
    monkeypatch.setattr("hpo.worker.session.shutil.rmtree", lambda *a, **k: None)
    refused(clean(sample), "7 of 7 folders could not be deleted", "0003/attempt-1")


def test_sizes_read_well():
    told = [numbers.size(v) for v in (0, 512, 999.6, 8150, 1.3e9, 2.5e12, 5e16)]
    assert told == ["0 B", "512 B", "1 kB", "8.15 kB", "1.3 GB", "2.5 TB", "50,000 TB"]
