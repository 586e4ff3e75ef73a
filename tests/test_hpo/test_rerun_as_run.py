"""Re-runs are runs: any executor, killed and resumed, watched and stopped, told by record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from hpo.director import Director
from hpo.errors import StudyError
from hpo.fixed import FixedTrial
from hpo.ledger.events import EpochEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import read_event
from hpo.ledger.log import read_events
from hpo.report.repeats import Repeat, further_cells
from hpo.report.reruns import fresh_text
from hpo.report.summary import load_summary
from hpo.report.verdicts import Fresh, Seeded, compare
from hpo.run.active import ActiveRun
from hpo.run.launch import launch
from hpo.run.rerun import Reruns, opened
from hpo.run.rerun_study import rerun_study
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.testing import directed
from hpo.testing.steady import EVALUATED, Steady, trained
from models.training.protocol import Epoch
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parents[2]
STUDY = Study(
    name="steady",
    families=(
        Family(
            name="steady",
            space={"rate": FloatDistribution(0.05, 0.9), "start": 1.0, "pause": 0.0},
            create="hpo.testing.steady:create",
        ),
    ),
    budget=Budget(trials=2, epochs=6, seconds=600.0),
    stopping=(Rule(name="divergence"), Rule(name="asha")),
    resources=Resources(executor="local", workers=1),
    seed=3,
)
# A re-run in a process of its own that is killed right after an event of its ledger.
KILLED = """
import os, sys
from contextlib import nullcontext
from pathlib import Path
from hpo.run.observer import Silent
from hpo.run.rerun import opened

class KillAt(Silent):
    def event(self, event, director):
        if event.n == int(sys.argv[2]):
            os.kill(os.getpid(), 9)

with opened(Path(sys.argv[1])) as reruns:
    rows = [reruns.summary.ranked(1)]
    observe = lambda study: nullcontext(KillAt())
    if sys.argv[3] == "exact":
        reruns.exact(rows, observe=observe)
    else:
        reruns.fresh(rows, count=2, workers=1, observe=observe)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run."""
    return launch(STUDY, results=tmp_path_factory.mktemp("steady")).folder


@pytest.fixture(scope="module")
def undisturbed(folder):
    """Two fresh seeds of its best trial, trained in one go."""
    (result,) = fresh(folder).results
    return result


def fresh(folder, **options):
    with opened(folder) as reruns:
        return reruns.fresh([reruns.summary.ranked(1)], count=2, **options)


def numbers(result):
    """A re-run without what depends on clock and place."""
    return [
        (r.seed, r.objective, r.best_epoch, r.epochs, r.test, r.records, r.error)
        for r in result.runs
    ]


def events_of(folder):
    return read_events(Path(folder) / "events.jsonl")[0]


def told(folder, place):
    """The events of the run's own ledger on one of its re-runs."""
    return [
        e.event for e in events_of(folder) if getattr(e, "folder", None) == place.name
    ]


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def killed_at(folder, moment, kind="seeds"):
    """The folder of a re-run that was killed right after that event of its ledger."""
    before = {*folder.glob("reruns/*")}
    process = started("-c", KILLED, folder, moment, kind)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGKILL, err
    (place,) = {*folder.glob("reruns/*")} - before
    return place


def check_killed(folder, undisturbed, moment):
    place = killed_at(folder, moment)
    assert not (place / "result.json").exists()
    ended = {e.trial for e in events_of(place) if e.event == "completed"}
    known = {e.trial for e in events_of(place) if e.event == "evaluated"}
    before = trained(place), trained(place, EVALUATED)
    outcome = fresh(folder)
    assert outcome.outcome.folder == place, "another folder was begun"
    (again,) = outcome.results
    assert numbers(again) == numbers(undisturbed)
    after = trained(place), trained(place, EVALUATED)
    for number in ended:
        assert after[0][number] == before[0][number], "an ended seed was trained again"
    scored = [e.trial for e in events_of(place) if e.event == "evaluated"]
    assert sorted(scored) == [1, 2]
    for number in known:
        assert after[1][number] == before[1][number], "the test part was read again"
    assert told(folder, place) == ["test_read", "rerun"]


@pytest.mark.parametrize("moment", [5, 22])
def test_a_killed_rerun_goes_on_where_it_stopped(folder, undisturbed, moment):
    check_killed(folder, undisturbed, moment)


def test_a_rerun_killed_before_its_result_is_written_trains_nothing(
    folder, undisturbed
):
    last = len(events_of(undisturbed.folder))
    check_killed(folder, undisturbed, last)


@pytest.mark.slow
def test_a_rerun_killed_at_any_event(folder, undisturbed):
    for moment in range(1, len(events_of(undisturbed.folder)) + 1):
        check_killed(folder, undisturbed, moment)


def test_an_exact_rerun_goes_on_too(folder):
    place = killed_at(folder, 6, "exact")
    with opened(folder) as reruns:
        outcome = reruns.exact([reruns.summary.ranked(1)])
    assert outcome.outcome.folder == place and outcome.results[0].equal
    kinds = [e.event for e in events_of(place)]
    assert kinds.count("epoch") == 6 and "nondeterminism" not in kinds


def test_two_workers_give_what_one_gives(folder, undisturbed):
    (two,) = fresh(folder, workers=2).results
    assert numbers(two) == numbers(undisturbed)
    record = json.loads((Path(two.folder) / "study.json").read_text())
    assert record["rerun"]["parent"] == "../.." and record["rerun"]["seeds"] == 2
    assert record["study"]["resources"]["workers"] == 2
    assert record["study"]["budget"]["seconds"] is None, (
        "the search's budget is its own"
    )


@pytest.mark.slow
def test_ray_gives_what_local_gives(folder, undisturbed):
    how = ("--executor", "ray", "--workers", 2, "--format", "json")

    def again(*options):  # a process without JAX, whose threads Ray must not fork
        process = started("-m", "hpo.cli.main", "rerun", folder, *options, *how)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return json.loads(out)

    runs = again("--seeds", 2)["runs"]
    assert [r["test"] for r in runs] == [r.test for r in undisturbed.runs]
    assert again("--exact")["equal"]


def test_a_rerun_is_watched_stopped_and_gone_on_with(tmp_path):
    slow = STUDY.families[0].space.replace({"pause": 0.25})
    family = Family(name="steady", space=slow, create="hpo.testing.steady:create")
    study = STUDY.replace(families=(family,), budget=Budget(trials=1, epochs=6))
    folder = launch(study, results=tmp_path).folder
    order = ("rerun", folder, "--seeds", 2, "--workers", 1)
    process = started("-m", "hpo.cli.main", *order)
    try:
        deadline = time.monotonic() + 30
        while not any(p.stat().st_size for p in folder.glob("reruns/*/events.jsonl")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        refused(run("rerun", folder), "another driver")
        stopped = run("stop", folder)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert stopped.exit_code == 0, stopped.stderr
    assert process.returncode == 130 and out == ""
    assert "the same command goes on" in err
    (place,) = folder.glob("reruns/*")
    way = f"hpo rerun {folder} --trial 1 --seeds 2"
    assert way in stopped.stderr
    assert way in run("results", place).stderr
    refused(run("resume", place), "re-run", way)
    again = started("-m", "hpo.cli.main", *order)
    try:
        while len(told_epochs(place)) < 8:
            assert again.poll() is None, again.stderr.read()
            time.sleep(0.05)
        watched = run("watch", folder)
    finally:
        out, err = again.communicate(timeout=30)
    assert again.returncode == 0, err
    assert "fresh seeds" in out and f"going on with the re-run in {place}" in err
    assert "trial 2 steady: completed" in watched.stderr
    assert "2 of 2 trials ended" in watched.stdout
    for lines in trained(place).values():
        assert len(lines) == len(set(lines)), "what was done is saved"


def told_epochs(place):
    """Epochs so far; the ledger is being written to."""
    lines = (place / "events.jsonl").read_bytes().splitlines(keepends=True)
    read = (read_event(x, n) for n, x in enumerate(lines, 1) if x.endswith(b"\n"))
    return [e for e in read if e.event == "epoch"]


def test_each_record_of_the_test_part_is_told(folder, undisturbed):
    best = [r.objective for r in undisturbed.runs]
    assert [r.records["b"]["rmse"] for r in undisturbed.runs] == [3 * b for b in best]
    where = ("--results", folder.parents[1])
    result = run("rerun", folder, "--seeds", 2, "--by-record", *where)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    head = lines.index("test part by record, rmse")
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["a", "b", "the"]
    plain = run("rerun", folder, "--seeds", 2, *where)
    assert "by record" not in plain.stdout and "further" not in plain.stdout
    named = run("rerun", folder, "--seeds", 2, "--metrics", "rmse,rmze", *where).stdout
    lines = named.splitlines()
    head = lines.index("test part, further metrics")
    assert lines[head + 1].split()[:3] == ["rmse", "mean", f"{sum(best):.4f},"]
    assert "did you mean `rmse`" in lines[head + 2], "a name that there is not"
    answer = json.loads(
        run("rerun", folder, "--seeds", 2, "--format", "json", *where).stdout
    )
    assert answer["records"]["a"]["mean"] == pytest.approx(sum(best) / 2)
    assert answer["test"]["mean"] == pytest.approx(sum(best))  # twice each of the two
    refused(run("rerun", folder, "--exact", "--by-record"), "--by-record")
    refused(run("rerun", folder, "--exact", "--metrics", "rmse"), "--metrics")


def test_what_no_epoch_tells_stands_below_the_reruns():
    """Means over the seeds that did not fail; of single parameters and rows there is too much."""
    plain = {"objective": 1.0, "best_epoch": 1, "epochs": 1, "seconds": 1.0}
    runs = [
        Seeded(seed=1, test={"rmse": 2.0, "c2st": 0.5, "c2st.1": 0.4}, **plain),
        Seeded(seed=2, test={"rmse": 2.0, "c2st": 0.6, "tarp": 0.1}, **plain),
        Seeded(seed=3, test={"c2st": 0.9}, error="diverged at epoch 1", **plain),
    ]
    shown = {"kind": "seeds", "look": 0, "asked": 3, "finished": True, "equal": None}
    shown |= {"changed": "", "valid": None, "test": None}
    one, none = (
        Repeat(folder=Path(name), trial=4, runs=tuple(of), of_epochs=known, **shown)
        for name, of, known in (
            ("b", runs, frozenset({"rmse"})),
            ("a", runs, frozenset({"rmse", "c2st", "tarp"})),
        )
    )
    assert further_cells([none]) == []
    assert further_cells([none, one]) == [
        {"trial": "4", "c2st": "0.550 ± 0.071", "tarp": "0.100", "in reruns/": "b"}
    ]


def test_p_values_have_a_median_and_no_interval():
    plain = {"objective": 1.0, "best_epoch": 1, "epochs": 1, "seconds": 1.0}
    found = [0.9, 0.02, 0.4]
    result = Fresh(
        trial=1,
        rank=1,
        family="any",
        metric="rmse",
        unit="",
        search=1.0,
        runs=tuple(
            Seeded(seed=i, test={"rank_p": p, "rank_p.b": p, "c2st": p}, **plain)
            for i, p in enumerate(found)
        ),
        valid=None,
        test=None,
        optimism=None,
    )
    lines = fresh_text(result, metrics=("rank_p", "rank_p.b", "c2st")).splitlines()
    told = lines[lines.index("test part, further metrics") + 1 :][:3]
    for name, line in zip(("rank_p", "rank_p.b"), told[:2], strict=True):
        assert line.split(maxsplit=1) == [name, "median 0.4000, smallest 0.0200 of 3"]
    assert "interval" in told[2]


def test_reruns_of_earlier_versions_are_left_alone(folder):
    old = folder / "reruns" / "20250101-101500-seeds-0001"
    old.mkdir(parents=True)
    (old / "result.json").write_text('{"trial": 1, "runs": []}')
    (old / "seed-1").mkdir()
    assert run("rerun", folder, "--exact").exit_code == 0
    refused(run("stop", folder), "nobody is at work")
    assert run("watch", folder).exit_code == 0
    assert {p.name for p in old.iterdir()} == {"result.json", "seed-1"}


def test_several_trials_are_one_rerun(folder):
    with opened(folder) as reruns:
        rows = [r for r in reruns.summary.rows if r.epochs]
        outcome = reruns.exact(rows)
    assert [r.trial for r in outcome.results] == [r.trial for r in rows]
    assert all(r.equal for r in outcome.results)
    assert len({r.folder for r in outcome.results}) == 1
    cut = [r for r in rows if r.state == "stopped"]
    counts = [len(lines) for lines in trained(outcome.outcome.folder).values()]
    assert counts == [r.epochs for r in rows] and (not cut or min(counts) < 6)


class OfTwoKinds(Steady):
    """Computes with one of two kernels, as its seed has it."""

    @property
    def kernel_choice(self):
        return "a:1" if self.context.seed % 2 else "b:1"


def test_of_an_interrupted_rerun_what_had_ended_is_not_trained_again(
    tmp_path, monkeypatch
):
    """Trials of two kernels are two runs; Ctrl-C in the second leaves the first."""
    study = STUDY.replace(budget=Budget(trials=6, epochs=2))
    folder = launch(study, results=tmp_path, create=OfTwoKinds).folder
    rows = [r for r in load_summary(folder).rows if r.rank is not None]
    assert {r.kernels for r in rows} == {"a:1", "b:1"}
    train, calls = Reruns._train, []

    def interrupted(self, wanted, *rest, **options):
        calls.append(wanted.trials)
        if len(calls) == 2:
            options["finished"] = False
            monkeypatch.setattr(ActiveRun, "until_it_ends", dies)
        return train(self, wanted, *rest, **options)

    def dies(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reruns, "_train", interrupted)
        with (
            pytest.raises(KeyboardInterrupt),
            opened(folder, create=OfTwoKinds) as again,
        ):
            again.fresh(rows, count=2)
    monkeypatch.undo()
    before = {*folder.glob("reruns/*")}
    assert len(before) == 2
    with opened(folder, create=OfTwoKinds) as again:
        found = again.fresh(rows, count=2)
    assert len(found.results) == len(rows) and {*folder.glob("reruns/*")} == before
    events, _ = read_events(folder / "events.jsonl")
    told = Counter(
        (e.event, e.trial) for e in events if e.event in ("rerun", "test_read")
    )
    assert len(told) == 2 * len(rows) and set(told.values()) == {1}
    with opened(folder, create=OfTwoKinds) as again:
        again.fresh(rows, count=2)  # asked for once more, all is trained once more
    assert len({*folder.glob("reruns/*")}) == 4


def test_only_rules_that_compare_nothing_apply():
    names = ("divergence", "asha", "patience", "hyperband", "screening", "percentile")
    study = STUDY.replace(stopping=tuple(Rule(name=n) for n in names))
    fixed = [FixedTrial(family="steady", params={"rate": 0.1}, seed=s) for s in (1, 2)]
    left = rerun_study(study, fixed, exact=False).stopping
    assert [rule.name for rule in left] == ["divergence", "patience"]
    assert rerun_study(study, fixed, exact=True).stopping == ()


def test_what_a_later_version_reports_beside_is_no_difference():
    numbers = {"train": {"loss": 1.0}, "valid": {"rmse": 0.5}}
    event = EpochEvent(
        trial=1, attempt=1, epoch=1, **numbers, seconds=0.0, compile_seconds=0.0
    )
    more = Epoch(1, {"loss": 1.0, "penalty": 0.1}, {"rmse": 0.5, "fit": 90.0})
    assert compare(1, {1: event}, [more]).equal
    less = Epoch(1, {"loss": 1.0}, {"fit": 90.0})
    assert not compare(1, {1: event}, [less]).equal


# -- studies of fixed trials --------------------------------------------------------------


def fixed_study(*trials, **changes):
    return STUDY.replace(
        fixed=trials, stopping=(), budget=Budget(trials=99, epochs=5), **changes
    )


def curve(trial, number):
    return Epoch(number, {"loss": 1.0}, {"rmse": trial.params["rate"] / number})


def test_fixed_trials_come_in_their_order_with_their_seeds_and_epochs():
    rates = (0.5, 0.1, 0.5)
    trials = [
        FixedTrial(family="steady", params={"rate": r}, seed=n, epochs=last)
        for n, (r, last) in enumerate(zip(rates, (None, 2, 5), strict=True), 7)
    ]
    study = Study.from_json(json.loads(json.dumps(fixed_study(*trials).to_json())))
    assert study.fixed == tuple(trials) and study.trials_of() == {"steady": 3}
    events = directed.check_resumed(study, curve, every=2)
    proposed = [e for e in events if e.event == "proposed"]
    assert [(p.seed, p.params["rate"]) for p in proposed] == [
        (7, 0.5),
        (8, 0.1),
        (9, 0.5),
    ]
    assert {p.origin for p in proposed} == {"fixed"}
    ends = [(e.trial, e.epoch) for e in events if e.event == "completed"]
    assert ends == [(1, 5), (2, 2), (3, 5)]
    assert Director(study, workers=1).total == 3
    wide = directed.run(study, curve, workers=3)
    assert sorted(directed.story(wide)) == sorted(directed.story(events))


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        ({"family": "stedy", "params": {"rate": 0.1}, "seed": 1}, "no family `stedy`"),
        ({"family": "steady", "params": {"rate": 7.0}, "seed": 1}, "lies outside"),
        ({"family": "steady", "params": {}, "seed": 1}, "no value for `rate`"),
        ({"family": "steady", "params": {"rate": 0.1}, "seed": -1}, "seed"),
        (
            {"family": "steady", "params": {"rate": 0.1}, "seed": 1, "epochs": 0},
            "epoch",
        ),
    ],
)
def test_wrong_fixed_trials_are_refused(trial, words):
    with pytest.raises(StudyError, match=words):
        fixed_study(FixedTrial(**trial))


def test_fixed_trials_follow_no_earlier_run():
    trial = FixedTrial(family="steady", params={"rate": 0.2}, seed=1)
    with pytest.raises(StudyError, match="no earlier run"):
        Director(fixed_study(trial, warm_start=("latest",)), workers=1)


def test_a_launched_study_of_fixed_trials_says_that_it_reads_the_test_part(tmp_path):
    trial = FixedTrial(family="steady", params={"rate": 0.2}, seed=1)
    outcome = launch(fixed_study(trial, evaluate="test"), results=tmp_path)
    kinds = [e.event for e in events_of(outcome.folder)]
    assert kinds.count("test_read") == kinds.count("evaluated") == 1
    assert kinds.index("completed") < kinds.index("test_read")
    assert os.listdir(tmp_path) == ["steady"]
    assert RunFolder(outcome.folder).read_study()["study"]["evaluate"] == "test"
