"""A run recorded before there were tasks still says and repeats what it did.

`tests/recorded/README.md` says how it was made. What may differ is named where it is left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hpo.ledger.provenance import provenance
from tests.test_hpo.command_line import run as hpo

RECORDED = Path(__file__).parents[1] / "recorded"
INSTRUCTIONS = "b0d420d6"  # of the processor it was recorded on
SAID = RECORDED / "said"
RUN = "20261126-052418-eda5519c"  # as the run's folder was called
COLUMNS = 120


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which the run lies as it lay when it was recorded, compiled as then."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    shutil.copytree(RECORDED / "data", tmp_path / "data")
    shutil.copytree(RECORDED / "run", tmp_path / "results" / "recorded" / RUN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(*arguments):
    done = hpo(*arguments, columns=COLUMNS)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def said(name):
    return (SAID / name).read_text()


@pytest.mark.parametrize(
    "name,options",
    [
        ("results.txt", ()),
        ("results.csv", ("--format", "csv")),
        ("results.json", ("--format", "json")),
        ("rungs.txt", ("--rungs",)),
    ],
)
def test_results(place, name, options):
    assert ask("results", "latest", *options) == said(name)


@pytest.mark.parametrize("trial", [1, 4, 5, 10, 12, 15])
def test_show(place, trial):
    """Completed trials of every family, a stopped one (15) and a failed one (5)."""
    assert ask("show", "latest", trial) == said(f"show-{trial}.txt")


def test_best(place):
    assert ask("best", "latest", "--as", "json") == said("best.json")


def test_export(place):
    ask("export", "latest", "--to", "csv", "--out", "export.csv")
    assert (place / "export.csv").read_text() == said("export.csv")


def test_simulate(place):
    options = ("--seeds", 10, "--format", "json")
    some = ("--stopping", "none,screening", "--sampler", "random")
    found = json.loads(ask("simulate", "latest", *some, *options))
    assert _as_then(found) == nearly(json.loads(said("simulate-screening.json")))


def test_simulate_with_its_own_rules(place):
    """What was `default` is `own`: the former now means what a new study would have.

    The title of a method may differ: it names the options of the run's rules.
    """
    own = ("--stopping", "own,none", "--sampler", "own", "--seeds", 10)
    found = json.loads(ask("simulate", "latest", *own, "--format", "json"))
    recorded = json.loads(said("simulate-default.json"))
    titles = {"random asha": "random asha:grace=1"}
    for row in recorded:
        row["method"] = titles.get(row["method"], row["method"])
    assert _as_then(found) == nearly(recorded)


def nearly(rows):
    """Recorded rows: means that are drawn again are summed in another order since."""
    return [
        {
            key: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in rows
    ]


def _as_then(rows):
    """Rows without what has been told of them since: idle workers, and of which task."""
    since = ("idle", "task")
    return [{k: v for k, v in row.items() if k not in since} for row in rows]


def like_the_recording_one():
    """Whether this machine must give the very bits.

    Processors of one name differ in their instructions, which that version did not record:
    `INSTRUCTIONS` is what it would have.
    """
    then = json.loads((RECORDED / "run" / "study.json").read_text())["provenance"]
    then["instructions"], now = INSTRUCTIONS, provenance()
    compared = ("versions", "machine", "cpu", "instructions")
    return all(then[name] == now[name] for name in compared)


@pytest.mark.parametrize(
    "trial",
    [pytest.param(n, marks=pytest.mark.slow) for n in (1, 12, 10)] + [4],
    ids=["rnn", "tcn", "crnn", "linear"],
)
def test_exact_rerun(place, trial):
    """Equal on a machine like the recording one; elsewhere equal, or why not is said."""
    done = hpo(
        "rerun",
        "latest",
        "--trial",
        trial,
        "--exact",
        "--allow-different",
        "--format",
        "json",
    )
    answer = json.loads(done.stdout)
    assert answer["error"] == ""
    if answer["equal"] or like_the_recording_one():
        assert done.exit_code == 0, done.stderr
        assert answer["equal"] and answer["max_difference"] == 0
    else:
        assert done.exit_code == 3
        told = answer["changed"] and "changed since the launch" in done.stderr
        assert told or provenance()["instructions"] != INSTRUCTIONS


@pytest.mark.slow
def test_rerun_with_fresh_seeds(place):
    """The seeds and their numbers; times, folder and further metrics may differ."""
    options = ("--trial", 1, "--seeds", 2, "--format", "json")
    found = json.loads(ask("rerun", "latest", *options))
    recorded = json.loads(said("seeds-1.json"))
    assert [r["seed"] for r in found["runs"]] == [r["seed"] for r in recorded["runs"]]
    if not like_the_recording_one():
        return
    assert found["valid"] == recorded["valid"] and found["test"] == recorded["test"]
    for now, then in zip(found["runs"], recorded["runs"], strict=True):
        assert then["test"].items() <= now["test"].items()
        for same in ("objective", "best_epoch", "epochs"):
            assert now[same] == then[same]
