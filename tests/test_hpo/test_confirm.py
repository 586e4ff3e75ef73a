"""Confirmations are runs: killed at every event and gone on with, watched, told in words."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from scipy import stats

from hpo import seeds
from hpo.confirmation.reading import load_confirmation
from hpo.confirmation.record import Verdict
from hpo.confirmation.stages import stages
from hpo.errors import RunError, RunLocked, StudyError
from hpo.ledger import events
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger, read_events
from hpo.objective import Matters, Objective
from hpo.report.summary import load_summary
from hpo.run.confirm import Asked, _Confirming, confirm
from hpo.run.launch import launch
from hpo.run.parent import Manner, Parent
from hpo.run.rerun import opened
from hpo.run.rerun_folder import at_work, command
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.testing.steady import EVALUATED, trained
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parents[2]


def family(name, **constants):
    space = {"rate": FloatDistribution(0.05, 0.9), "start": 1.0, **constants}
    return Family(name=name, space=space, create="hpo.testing.steady:create")


STUDY = Study(
    name="pair",
    families=(family("first"), family("second", size=5)),
    budget=Budget(trials=6, epochs=3),
    sampler=Rule(name="random"),
    stopping=(Rule(name="divergence"),),
    resources=Resources(executor="local", workers=1),
    seed=3,
)
SMALL = STUDY.replace(families=(family("first"),), budget=Budget(trials=2, epochs=1))
# A confirmation in a process of its own, killed right after an event of one of its ledgers.
KILLED = """
import os, sys
from contextlib import nullcontext
from pathlib import Path
from hpo.run.confirm import Asked, confirm
from hpo.run.observer import Silent
from hpo.run.parent import Manner, Parent

class KillAt(Silent):
    seen = 0
    def event(self, event, director):
        KillAt.seen += 1
        if KillAt.seen == int(sys.argv[2]):
            os.kill(os.getpid(), 9)

manner = Manner(workers=1, observe=lambda study: nullcontext(KillAt()))
confirm(Path(sys.argv[1]), Asked(top=2, seeds=2), manner=manner, tell=print)
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search over two families; nobody writes into it."""
    return launch(STUDY, results=tmp_path_factory.mktemp("pair")).folder


@pytest.fixture
def folder(searched, tmp_path):
    """A copy of it."""
    copy = tmp_path / "results" / searched.parent.name / searched.name
    shutil.copytree(searched, copy)
    return copy


@pytest.fixture(scope="module")
def undisturbed(searched, tmp_path_factory):
    """The folder of the same search, confirmed in one go."""
    copy = tmp_path_factory.mktemp("confirmed") / searched.parent.name / searched.name
    shutil.copytree(searched, copy)
    confirmed(copy)
    return copy


@pytest.fixture
def done(undisturbed, tmp_path):
    """A copy of that one."""
    copy = tmp_path / "done" / undisturbed.parent.name / undisturbed.name
    shutil.copytree(undisturbed, copy)
    return copy


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A smaller search, and the same one confirmed in one go."""
    root = tmp_path_factory.mktemp("small")
    folder = launch(SMALL, results=root / "searched").folder
    copy = root / "confirmed" / folder.parent.name / folder.name
    shutil.copytree(folder, copy)
    confirmed(copy, top=2, seeds=2)
    return folder, copy


def confirmed(folder, **asked):
    outcome = confirm(
        folder,
        Asked(**(asked or {"top": 2, "seeds": 5})),
        manner=Manner(workers=1),
        tell=lambda text: None,
    )
    return outcome, load_confirmation(folder)


def events_of(folder):
    return read_events(Path(folder) / "events.jsonl")[0]


def kinds(folder):
    return [e.event for e in events_of(folder)]


def numbers(folder):
    """What every seed of every stage came to, without what depends on clock and place."""
    found = stages(RunFolder(folder))
    return [
        (s.look, trial, r.seed, r.objective, r.best_epoch, r.epochs, r.test, r.error)
        for s in (found.choose, *found.looks)
        for trial, runs in s.found.items()
        for r in runs
    ]


def test_candidates_are_chosen_confirmed_and_scored_once(undisturbed):
    found, summary = load_confirmation(undisturbed), load_summary(undisturbed)
    assert found.finished and found.look == 1 and found.part == "test"
    for contender in found.contenders:
        members = [r for r in summary.rows if r.family == contender.family]
        winner = contender.winner
        # chosen: the best of two by the mean of three fresh seeds over the validation part
        tried = {c.trial: c.values for c in winner.candidates}
        assert list(tried) == [r.trial for r in members[:2]]
        assert all(len(v) == 3 for v in tried.values())
        assert winner.trial == min(tried, key=lambda t: statistics.fmean(tried[t]))
        assert [c.trial for c in winner.candidates if c.chosen] == [winner.trial]
        # confirmed: five others, the test part being twice the validation part here
        assert len(winner.seeds) == 5 and not contender.failed
        values = [s.objective for s in winner.seeds]
        assert contender.values == pytest.approx([2 * v for v in values])
        low, high = stats.t.interval(
            0.95, 4, loc=statistics.fmean(values), scale=stats.sem(values)
        )
        assert (winner.valid.low, winner.valid.high) == pytest.approx((low, high))
        gap = statistics.fmean(values) - summary.row(winner.trial).objective
        assert winner.optimism.mean == pytest.approx(gap)
        assert winner.trials == 3 and winner.epochs == 9
    place = stages(RunFolder(undisturbed)).looks[0].folder
    stage = kinds(place.path)
    assert stage.count("test_read") == 1 and stage.count("evaluated") == 10
    last = max(i for i, kind in enumerate(stage) if kind == "completed")
    assert last < stage.index("test_read") < stage.index("evaluated")
    own = kinds(undisturbed)
    assert own.count("test_read") == 1 and own.count("rerun") == 4 + 2
    choosing = stages(RunFolder(undisturbed)).choose.folder
    assert "evaluated" not in kinds(choosing.path), "choosing reads no test part"


def test_the_verdict_is_scipys_interval(undisturbed):
    found = load_confirmation(undisturbed)
    (pair,) = found.pairs
    values = {c.family: [math.log(v) for v in c.values] for c in found.contenders}
    oracle = stats.ttest_ind(values[pair.a], values[pair.b], equal_var=False)
    span = oracle.confidence_interval(1 - 0.04)
    assert (math.log(pair.low), math.log(pair.high)) == pytest.approx(
        (span.low, span.high)
    )
    wins = sum(a < b for a in values[pair.a] for b in values[pair.b])
    assert pair.wins == wins / 25


def test_no_seed_is_used_for_two_purposes(done):
    with opened(done) as reruns:
        fresh = reruns.fresh([reruns.summary.ranked(1)], count=3)
    found, summary = stages(RunFolder(done)), load_summary(done)
    groups = [
        [row.seed for row in summary.rows],
        [t.seed for t in found.choose.fixed if t.family == "first"][:3],
        [t.seed for t in found.looks[0].fixed],
        [r.seed for r in fresh.results[0].runs],
    ]
    every = [seed for group in groups for seed in group]
    assert len(set(every)) == len(every)


def test_streams_of_seeds_are_disjoint_whatever_the_hash_gives(monkeypatch):
    monkeypatch.setattr(seeds, "RESERVED", 20)
    monkeypatch.setattr(seeds, "derive", lambda *parts: hash(parts) % 150)
    taken = {1, 2, 3}
    streams = [
        seeds.fresh(0, "f", purpose, count=10, taken=taken)
        for purpose in seeds.PURPOSES
    ]
    more = seeds.fresh(0, "f", "confirm", count=5, start=10, taken=taken)
    every = [s for stream in (*streams, more, taken) for s in stream]
    assert len(set(every)) == len(every)


def pictures(folder):
    """The bytes of every file of excerpts of a confirmation, by stage and trial."""
    found = Path(folder).glob("reruns/*/trials/*/excerpts.npz")
    return {(p.parts[-4][16:], p.parts[-2]): p.read_bytes() for p in found}


def killed_at(folder, moment):
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(moment)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return process.returncode == -signal.SIGKILL, process.stderr


def check_killed(small, place, moment):
    searched, undisturbed = small
    folder = place / str(moment) / searched.parent.name / searched.name
    shutil.copytree(searched, folder)
    died, err = killed_at(folder, moment)
    assert died, err
    before = {}
    for stage in folder.glob("reruns/*"):
        ended = {e.trial for e in events_of(stage) if e.event == "completed"}
        lines = trained(stage)
        before[stage] = {n: lines[n] for n in ended}
    confirmed(folder, top=2, seeds=2)
    assert numbers(folder) == numbers(undisturbed)
    assert pictures(folder) == pictures(undisturbed) and len(pictures(folder)) == 2
    for stage, lines in before.items():
        after = trained(stage)
        for number, told in lines.items():
            assert after[number] == told, "an ended seed was trained again"
    assert len([*folder.glob("reruns/*")]) == 2, "another stage was begun"
    look = stages(RunFolder(folder)).looks[0].folder.path
    for told in trained(look, EVALUATED).values():
        assert len(told) <= 2, (
            "the test part was read again"
        )  # one may be killed on its way
    assert kinds(look).count("evaluated") == 2
    assert kinds(look).count("test_read") == kinds(folder).count("test_read") == 1


def count_of(small):
    return sum(len(events_of(place)) for place in small[1].glob("reruns/*"))


def test_a_killed_confirmation_goes_on(small, tmp_path):
    check_killed(small, tmp_path, count_of(small) - 3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_confirmation_killed_at_any_event(small, tmp_path):
    for moment in range(1, count_of(small) + 1):
        check_killed(small, tmp_path, moment)


def test_a_confirmed_run_is_not_trained_again_and_can_be_extended(done):
    folder = done
    before = numbers(folder)
    outcome, found = confirmed(folder, top=2)
    assert outcome is None and numbers(folder) == before
    _, found = confirmed(folder, extend=2)
    assert found.look == 2 and {c.count for c in found.contenders} == {7}
    assert [s.look for s in stages(RunFolder(folder)).looks] == [1, 2]
    assert found.contenders[0].winner.looks == (1,) * 5 + (2,) * 2
    (pair,) = found.pairs
    error = 0.008 if pair.look == 2 else 0.04
    decided = pair.look == 1
    assert decided or pair.confidence == pytest.approx(1 - error)
    assert kinds(folder).count("test_read") == 2
    assert found.reads == 0, "its own looks are no earlier reads"


def test_earlier_reads_and_changed_sizes_are_told(folder):
    with opened(folder) as reruns:
        reruns.fresh(reruns.summary.rows[:2], count=2)
    assert kinds(folder).count("test_read") == 2  # one a trial, at one time
    _, found = confirmed(folder, top=1, seeds=2)
    assert found.reads == 1
    text = run("confirm", folder).stdout
    assert "Not blind: the test part was read once before." in text
    changed = run("confirm", folder, "--matters", "10%").stdout
    assert "Changed after a look: 5% mattered at the first look" in changed
    assert (
        "Changed" not in text and "nothing was trained" in run("confirm", folder).stderr
    )


def test_failed_seeds_are_the_worst_and_no_mean_is_told(tmp_path):
    study = STUDY.replace(
        families=(family("first"), family("second", trouble="raise late")),
        budget=Budget(trials=2, epochs=3),
    )
    folder = launch(study, results=tmp_path).folder
    _, found = confirmed(folder, seeds=5)
    bad = found.contenders[-1]
    assert bad.family == "second" and bad.failed == 5 and bad.mean is None
    (pair,) = found.pairs
    oracle = stats.mannwhitneyu(range(5), range(5, 10), method="exact").pvalue
    assert pair.p == pytest.approx(oracle) and pair.effect is None and pair.wins == 1
    assert pair.verdict is Verdict.BETTER_OPEN
    text = run("confirm", folder).stdout
    assert "5 of 5 failed" in text and "by ranks" in text


def test_what_matters_is_a_share_or_a_size():
    assert Matters.parse("5%") == Matters(amount=0.05, relative=True)
    assert Matters.parse(0.002) == Matters(amount=0.002, relative=False)
    assert str(Matters.parse(" 2.5% ")) == "2.5%"
    for wrong in ("0", "0%", "-1", "100%", "nan", "inf", "five", ""):
        with pytest.raises(StudyError, match="positive"):
            Matters.parse(wrong)
    with pytest.raises(StudyError, match="positive"):
        Objective(matters="0%")
    study = STUDY.replace(objectives=(Objective(matters="2%"),))
    assert Study.from_json(json.loads(json.dumps(study.to_json()))) is not None
    assert study.to_json()["objectives"][0]["matters"] == "2%"
    assert "matters" not in STUDY.to_json()["objectives"][0], (
        "as runs of before have it"
    )


# -- refused, by rule, value and remedy ------------------------------------------------------


def test_what_cannot_be_confirmed_is_refused(folder, tmp_path):
    refused(run("confirm", folder, "--matters", "0"), "positive", "'0'", "hint")
    refused(run("confirm", folder, "--seeds", "1"), "from 2", "got 1")
    refused(run("confirm", folder, "--top", "0"), "got 0")
    refused(run("confirm", folder, "--seeds", "5", "--extend", "5"), "not both")
    refused(run("confirm", folder, "--extend", "5"), "there is none", "--seeds 5")
    assert not [*folder.glob("reruns/*")], "nothing half done"
    with RunFolder(folder).acquire():
        refused(run("confirm", folder), "another driver")
        with pytest.raises(RunLocked):
            confirmed(folder)
    broken = STUDY.replace(
        families=(family("first", trouble="nan"), family("second", trouble="raise")),
    )
    place = launch(broken, results=tmp_path / "broken").folder
    refused(run("confirm", place), "no ranked trial", "hpo results")


def test_candidates_keep_to_the_limits_where_they_can(tmp_path, monkeypatch):
    """`small` has two trials of three within them, `large` none; told before it begins."""
    limit = Objective(metric="parameters", limit=1000)
    goals = (Objective(metric="rmse"), limit)
    study = STUDY.replace(families=(family("small"), family("large")), objectives=goals)
    # family, rmse, parameters: the best values are those of too large a model
    told = [
        *(("small", 1.0, 500), ("small", 0.9, 1000), ("small", 0.4, 9000)),
        *(("large", 0.3, 7000), ("large", 0.2, 8000)),
    ]
    place = RunFolder.create(tmp_path, study)
    place.write_study(study, provenance={})
    with Ledger.open(place.events_file, write=True) as ledger:
        for n, (name, value, size) in enumerate(told, 1):
            number = [f for f, *_ in told[: n - 1]].count(name)
            head = {"trial": n, "attempt": 1, "epoch": 3}
            numbers = {"train": {"loss": 1.0}, "valid": {"rmse": value}}
            clock = {"seconds": 1.0, "compile_seconds": 0.0, "parameters": size}
            for event in (
                events.Proposed(
                    trial=n, family=name, number=number, params={"rate": 0.5}, seed=n
                ),
                events.Started(trial=n, attempt=1, attempt_of="first", epoch=0),
                events.EpochEvent(**head, **numbers, **clock),
                events.Completed(**head),
            ):
                ledger.append(event)
        ledger.append(events.RunEvent(action="finish", reason="budget"))
    asked, said = [], []

    def nobody_trains(self, wanted, study, **_):
        asked.append(wanted.trials)
        raise KeyboardInterrupt

    monkeypatch.setattr(Parent, "train", nobody_trains)
    monkeypatch.setattr("hpo.run.parent.creates_of", lambda *_: {})
    with pytest.raises(KeyboardInterrupt):
        confirm(place.path, Asked(), manner=Manner(), tell=said.append)
    assert set(asked[0]) == {1, 2, 4, 5}
    (warned,) = [text for text in said if "limits" in text]
    assert "`large` keeps to the limits (parameters small (at most 1000))" in warned


def test_a_wish_that_comes_too_late_is_refused(done):
    folder = done
    refused(run("confirm", folder, "--top", "3"), "`--top 2`", "another search")
    refused(run("confirm", folder, "--seeds", "9"), "5 seeds each", "--extend")


def test_a_look_behind_an_unfinished_one_is_refused(folder, monkeypatch):
    store = _Confirming._store

    def cut_off(self, place):
        if "confirm" in place.name:
            raise KeyboardInterrupt
        store(self, place)

    with monkeypatch.context() as patch:
        patch.setattr(_Confirming, "_store", cut_off)
        with pytest.raises(KeyboardInterrupt):
            confirmed(folder, top=1, seeds=2)
    refused(
        run("confirm", folder, "--extend", "5"), "look 1", "unfinished", "--extend 5"
    )
    confirmed(folder, top=1)
    confirmed(folder, extend=3)
    assert [s.seeds for s in stages(RunFolder(folder)).looks] == [2, 3]


def test_an_unfinished_search_is_refused(folder):
    ledger = folder / "events.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RunError, match="has ended"):
        confirmed(folder)


def test_one_family_and_few_seeds_give_no_verdict(tmp_path):
    study = STUDY.replace(
        families=(family("first"),), budget=Budget(trials=1, epochs=3)
    )
    folder = launch(study, results=tmp_path).folder
    result = run("confirm", folder, "--seeds", "2")
    assert result.exit_code == 0, result.stderr
    assert "nobody to compare it with" in result.stdout
    assert not list(folder.glob("reruns/*choose*")), "nothing to choose from"


def test_too_few_seeds_give_no_verdict(folder):
    result = run("confirm", folder, "--seeds", "2", "--top", "1")
    assert result.exit_code == 0, result.stderr
    assert "no verdict below 5 seeds each, got 2" in result.stdout
    assert "--extend 3" in result.stderr


# -- listed where a run is looked at -----------------------------------------------------------


def test_results_and_show_list_what_was_trained_again(done):
    with opened(done) as reruns:
        best = reruns.summary.ranked(1)
        reruns.exact([best])
        again = reruns.fresh([best], count=2).results[0]
    shown = run("results", done, columns=200).stdout
    table = [line.split() for line in shown.partition("reruns/\n")[2].splitlines()]
    # two configurations of each family chosen from, two confirmed, two re-runs of the best
    assert [line[0] for line in table].count(str(best.trial)) >= 3
    assert len(table) == 4 + 2 + 2
    (seeds_line,) = [line for line in table if line[1:4] == ["2", "fresh", "seeds"]]
    mean = statistics.fmean(r.objective for r in again.runs)
    assert float(seeds_line[4]) == pytest.approx(mean, rel=1e-3)
    assert "exactly, equal" in shown and "new seeds, look 1" in shown
    (found,) = [
        c for c in load_confirmation(done).contenders if c.family == best.family
    ]
    one = run("show", done, found.winner.trial, columns=200).stdout
    told = one.partition("trained again")[2]
    assert "5 new seeds, look 1" in told and "3 fresh seeds, to choose" in told


def test_a_rerun_tells_of_failed_seeds_and_of_few(tmp_path):
    study = STUDY.replace(
        families=(family("first", trouble="raise late"),),
        budget=Budget(trials=1, epochs=3),
    )
    folder = launch(study, results=tmp_path).folder
    lines = run("rerun", folder, "--seeds", "2").stdout
    assert "2 of 2 seeds, which the means leave out" in lines
    good = launch(SMALL, results=tmp_path / "good").folder
    text = run("rerun", good, "--seeds", "2").stdout
    assert "2 values are few: take 5" in text
    assert "means leave out" not in text
    many = run("rerun", good, "--seeds", "5").stdout
    assert "are few" not in many


def test_an_unfinished_stage_names_the_command_that_goes_on(done):
    found = stages(RunFolder(done))
    assert command(found.choose.folder) == f"hpo confirm {done}"
    assert command(found.looks[0].folder) == f"hpo confirm {done}"
    confirmed(done, extend=2)
    (_, second) = stages(RunFolder(done)).looks
    assert command(second.folder) == f"hpo confirm {done} --extend 2"
    refused(run("resume", second.folder.path), "--extend 2")


def test_a_stage_at_work_is_what_watch_and_stop_mean(done):
    place = stages(RunFolder(done)).looks[0].folder
    with RunFolder(done).acquire(), place.acquire():
        assert at_work(RunFolder(done)) == place
    assert at_work(RunFolder(done)) == RunFolder(done)
