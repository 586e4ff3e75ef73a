"""Runs that go on with more than they were launched with: local executor, one child."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from msgspec import structs
from optuna.distributions import CategoricalDistribution, FloatDistribution

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers
import run_processes as processes

from hpo.chaos import Chaos
from hpo.cli.launch import finish
from hpo.director import Director, replay
from hpo.errors import RunError, RunLocked, StudyError
from hpo.export import optuna_storage
from hpo.export.source import load_source
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.live.statistics import LiveStatistics
from hpo.report.configuration import configuration
from hpo.report.edges import edges
from hpo.report.families import standings
from hpo.report.importance import importances
from hpo.report.page.panels import slices
from hpo.report.page.sentences import important
from hpo.report.summary import load_summary
from hpo.run.active import ActiveRun, how_it_ended
from hpo.run.extend import Extension, extend, extended
from hpo.run.launch import launch, resume
from hpo.run.rerun import opened
from hpo.simulate import own
from hpo.study import Budget, Rule, Study
from hpo.trials.reducer import Reducer
from search_spaces import rnn, vae
from tests.test_hpo.command_line import refused
from tests.test_hpo.command_line import run as run_hpo

sys.path.pop(0)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


def run(results, **changes):
    study = helpers.study(**{"sampler": Rule(name="random"), **changes})
    return launch(study, results=results, create=helpers.create).folder


def more(folder, **changes):
    return extend(folder, Extension(**changes), create=helpers.create)


def events_of(folder, kind=None):
    found = read_events(Path(folder) / "events.jsonl")[0]
    return [e for e in found if kind in (None, e.event)]


def decided(folder):
    """What was proposed, trained and decided, without attempts and times."""
    told = []
    for e in events_of(folder):
        if e.event == "proposed":
            told.append((e.event, e.trial, repr(e.params), e.seed))
        elif e.event == "epoch":
            told.append((e.event, e.trial, e.epoch, repr(e.valid)))
        elif e.event in ("completed", "stopped", "paused", "diverged"):
            told.append((e.event, e.trial, e.epoch))
    return told


def never_twice(folder):
    counts = Counter((e.trial, e.epoch) for e in events_of(folder, "epoch"))
    return max(counts.values()) == 1


def agrees(folder):
    """The live view's sums and the Director's decisions, taken once more."""
    place = RunFolder(folder)
    study = Study.from_json(place.read_study()["study"])
    reducer, view = Reducer.of(study), LiveStatistics(study)
    for event in events_of(folder):
        view.apply(event, reducer.apply(event))
    trials = reducer.record.trials.values()
    assert view.ended == sum(t.ended for t in trials)
    for name, family in view.families.items():
        mine = [t for t in trials if t.family == name]
        assert family.proposed == len(mine)
        assert family.trained == sum(t.ended and t.last > 0 for t in mine)
        assert family.open_epochs == sum(t.last for t in mine if not t.ended)
        cost = sum(t.seconds + t.compile_seconds for t in mine if t.ended)
        assert family.cost == pytest.approx(cost)
    assert own.retrace(own.read(place)).differing == ()


def test_more_trials_are_those_of_a_larger_run(tmp_path):
    """Rules that do not plan by the budget: 4 trials and 4 more are 8 trials."""
    folder = run(tmp_path / "a", budget=Budget(trials=4, epochs=4))
    first = decided(folder)
    outcome = more(folder, trials=4)
    assert outcome.state == "finished"
    whole = run(tmp_path / "b", budget=Budget(trials=8, epochs=4))
    assert decided(folder) == decided(whole)
    assert decided(folder)[: len(first)] == first
    assert [getattr(e, "extension", None) for e in events_of(folder, "proposed")][
        4:
    ] == [1, 1, 1, 1]
    (note,) = load_summary(folder).notes
    assert note == "extended after 4 trials: 4 more trials, 8 in all"
    agrees(folder)


@pytest.mark.parametrize("left", [None, b""])
def test_a_run_whose_ledger_is_gone_is_not_begun_again(tmp_path, left):
    """Its trials are what a search from the beginning would overwrite."""
    folder = run(tmp_path, budget=Budget(trials=2, epochs=2))
    ledger, copy = folder / "events.jsonl", tmp_path / "copy"
    shutil.move(ledger, copy)
    if left is not None:
        ledger.write_bytes(left)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for again in (lambda: resume(folder, create=helpers.create),
                  lambda: more(folder, trials=1)):  # fmt: skip
        with pytest.raises(RunError, match="2 of its trials are there") as caught:
            again()
        assert "restore it from a copy" in caught.value.hint
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert after == before
    shutil.copy(copy, ledger)
    assert resume(folder, create=helpers.create).state == "finished"
    assert ledger.read_bytes() == copy.read_bytes()


@pytest.mark.parametrize("left", [None, b""])
def test_a_run_that_died_before_its_first_event_begins(tmp_path, left):
    folder = run(tmp_path, budget=Budget(trials=2, epochs=2))
    shutil.rmtree(folder / "trials")
    (folder / "events.jsonl").unlink()
    if left is not None:
        (folder / "events.jsonl").write_bytes(left)
    assert resume(folder, create=helpers.create).state == "finished"
    assert len(load_summary(folder).rows) == 2


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """8 epochs a trial, rungs 1 and 2, three full runs' worth of epochs."""
    folder = run(
        tmp_path_factory.mktemp("halved"),
        budget=Budget(trials=9, epochs=8, total_epochs=24),
        stopping=(Rule(name="divergence"), Rule(name="halving")),
    )
    processes.end_all()
    return folder


def copied(folder, tmp_path):
    """As a second user has it: the folder alone, somewhere else."""
    place = tmp_path / "theirs" / folder.parent.name / folder.name
    shutil.copytree(folder, place)
    return place


def test_trials_that_paused_go_on_from_their_checkpoints(halved, tmp_path):
    folder = copied(halved, tmp_path)
    before = decided(folder)
    stopped = {e.trial for e in events_of(folder, "stopped")}
    assert stopped, "some were left behind by the budget"
    assert more(folder, total_epochs=60).state in ("finished", "time")
    assert decided(folder)[: len(before)] == before
    again = {e.trial: e for e in events_of(folder, "reopened")}
    assert again.keys() == stopped and {e.state for e in again.values()} == {"paused"}
    opened = events_of(folder, "extended")[0].n
    later = [e for e in events_of(folder, "started") if e.n > opened]
    went_on = [e for e in later if e.trial in again]
    assert went_on and all(e.attempt_of == "promoted" for e in went_on)
    assert all(e.from_attempt for e in went_on), "from their checkpoints"
    assert never_twice(folder)
    states = load_summary(folder).counts()
    assert states["completed"] > len([t for t in before if t[0] == "completed"])
    agrees(folder)


@pytest.mark.parametrize("told", [False, True], ids=["killed", "Ctrl-C"])
def test_a_run_that_did_not_end_is_extended_as_it_is(halved, tmp_path, told):
    """A copy that ended in the middle: nothing is lost, nothing trained twice.

    A driver that is killed tells nothing; after Ctrl-C it says whom it interrupted.
    """
    folder = copied(halved, tmp_path)
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    half = next(i for i, t in enumerate(lines) if i > 30 and '"event": "started"' in t)
    (folder / "events.jsonl").write_text("".join(lines[: half + 1]))
    if told:
        study = Study.from_json(RunFolder(folder).read_study()["study"])
        director = replay(study, events_of(folder), workers=1)
        (last,) = director.interrupt("stopped by SIGINT", director.elapsed)
        stamped = structs.replace(last, n=half + 2, time=0.0)
        with (folder / "events.jsonl").open("a") as file:
            file.write(stamped.to_line())
    before = decided(folder)
    assert more(folder, trials=3, total_epochs=40).state in ("finished", "time")
    assert decided(folder)[: len(before)] == before
    assert never_twice(folder)
    assert all(t.ended for t in own.read(RunFolder(folder)).trials.values())


def test_what_a_budget_cut_goes_on_first(tmp_path):
    folder = run(
        tmp_path,
        budget=Budget(trials=3, epochs=6, total_epochs=8),
        stopping=(Rule(name="divergence"),),
    )
    cut = [e.trial for e in events_of(folder, "cancelled")]
    assert cut == [2]
    more(folder, total_epochs=99)
    opened = events_of(folder, "extended")[0].n
    assert [e.trial for e in events_of(folder, "started") if e.n > opened] == [2, 3]
    whole = run(
        tmp_path / "whole",
        budget=Budget(trials=3, epochs=6),
        stopping=(Rule(name="divergence"),),
    )
    ours, theirs = decided(folder), decided(whole)
    assert [t for t in ours if t[0] != "cancelled"] == theirs
    agrees(folder)


def test_a_wider_space_and_a_new_family_join(halved, tmp_path):
    folder = copied(halved, tmp_path)
    before = decided(folder)
    family = helpers.study().families[0]
    wider = family.space.replace({"rate": FloatDistribution(0.01, 0.99)})
    new = dataclasses.replace(family, name="other")
    outcome = more(
        folder, trials=9, total_epochs=60, families=(new,), spaces={"steady": wider}
    )
    assert outcome.state in ("finished", "time")
    assert decided(folder)[: len(before)] == before
    (note,) = load_summary(folder).notes
    assert "family `other` joins" in note
    assert "family `steady` has another space, which 9 of its 9 trials fit" in note
    assert {e.family for e in events_of(folder, "proposed")} == {"steady", "other"}
    agrees(folder)
    resumed = resume(folder, create=helpers.create)
    assert resumed.state == outcome.state, "a resume finds a run that is over"


KINDS = ("a", "b", "c")
OLD = {"kind": CategoricalDistribution(KINDS), "size": 2}
NEW = {"kind": CategoricalDistribution(KINDS[:2]), "size": 3}


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory):
    """Nine trials of 3 epochs, the third cut, then another space; and the trials before it.

    The new space lacks a choice, and has another constant, which every value depends on.
    """
    plain = {"constants": OLD, "stopping": ()}
    budget = Budget(trials=9, epochs=3, total_epochs=23)
    folder = run(tmp_path_factory.mktemp("narrowed"), budget=budget, **plain)
    old = {e.trial: e.params["kind"] for e in events_of(folder, "proposed")}
    assert {*old.values()} == {*KINDS} and len(old) == 8
    space = helpers.study(constants=NEW).families[0].space
    more(folder, trials=2, total_epochs=99, spaces={"steady": space})
    processes.end_all()
    assert len(events_of(folder, "proposed")) == 11
    return folder, old


def test_a_trial_is_trained_again_in_the_space_it_was_proposed_in(narrowed, tmp_path):
    folder, old = copied(narrowed[0], tmp_path), narrowed[1]
    summary = load_summary(folder)
    gone = next(n for n, kind in old.items() if kind == "c")
    kept = next(n for n, kind in old.items() if kind != "c")
    cut, new = 8, 10  # trained in part before the extension; proposed after it
    assert [e.trial for e in events_of(folder, "reopened")] == [cut]
    rows = [summary.row(n) for n in (gone, kept, cut, new)]
    sizes = [configuration(summary, row)["size"] for row in rows]
    assert sizes == [2, 2, 2, 3]
    with opened(folder, create=helpers.create) as reruns:
        again = reruns.exact(rows).results
        assert [(a.trial, a.equal) for a in again] == [(r.trial, True) for r in rows]
        spread = reruns.fresh(rows[:1], count=2).results
        assert not any(seed.error for seed in spread[0].runs)
    stored = RunFolder(Path(again[0].folder)).read_study()["study"]["fixed"]
    assert ["space" in trial for trial in stored] == [True, True, True, False]


def test_what_another_space_does_not_hold_is_left_out(narrowed, monkeypatch):
    folder, old = narrowed
    summary, record = load_summary(folder), own.read(RunFolder(folder))
    outside = sum(kind == "c" for kind in old.values())
    (found,) = importances(summary)
    assert (found.trials, found.outside) == (11 - outside, outside)
    assert f" {outside} more trials outside the space of today." in important(found)
    task = own.as_pool(record)
    assert sum(c.size for c in task.curves.values()) == 11 - outside
    told = f"left out, of an earlier space that today's does not hold: {outside}"
    assert told in task.remarks
    assert record.left_out() == {}
    shown = standings(summary)
    points = [p for s in slices(summary, shown) for p in s.points]
    assert {n for n, *_ in points} == {n for n in range(1, 12) if old.get(n) != "c"}
    assert {e.name for e in edges(summary, shown)} <= {"rate"}


def test_optuna_gets_the_trials_of_both_spaces(narrowed, tmp_path):
    import optuna

    path = tmp_path / "journal.log"
    optuna_storage.write(load_source(narrowed[0]), path)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    storage = optuna.storages.JournalStorage(backend)
    (study,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=study.study_name, storage=storage).trials
    told = [e.params for e in events_of(narrowed[0], "proposed")]
    assert [t.params for t in trials] == told
    choices = {t.distributions["kind"].choices for t in trials}
    assert choices == {KINDS}


@pytest.mark.parametrize("task", ["prediction", "reconstruction"])
def test_a_family_joins_with_the_space_of_the_runs_task(tmp_path, monkeypatch, task):
    study = helpers.study(task=task)
    place = RunFolder.create(tmp_path, study)
    place.write_study(study, provenance={})
    asked = []

    def stands(folder, extension, **_):
        asked.append(extension)
        raise RunError("nothing is trained here")

    monkeypatch.setattr("hpo.run.extend.extended", stands)
    refused(run_hpo("extend", place.path, "--families", "vae,rnn"), "nothing is")
    spaces = {f.name: f.space for f in asked[0].families}
    known = {"prediction": vae.SPACE, **vae.SPACES}
    assert spaces == {"vae": known[task], "rnn": rnn.SPACE}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "nothing to extend"),
        ({"trials": 5}, "24 epochs of all trials are spent"),
        ({"total_epochs": 24}, "no more than that"),
    ],
)
def test_extensions_that_are_refused(halved, changes, told):
    text = (halved / "events.jsonl").read_bytes()
    with pytest.raises(StudyError) as caught:
        more(halved, **changes)
    assert told in caught.value.message and caught.value.hint
    with pytest.raises(StudyError):
        extended(halved, Extension(**changes))
    assert (halved / "events.jsonl").read_bytes() == text


def test_trials_that_no_family_would_get_are_refused():
    """A fixed number of trials stays what it is, so somebody must have a share."""
    steady = helpers.study().families[0]
    few, one = (
        dataclasses.replace(steady, name=name, trials=count)
        for name, count in (("few", 3), ("one", 1))
    )
    study = helpers.study(families=(few, one))
    director = Director(study, workers=1)
    with pytest.raises(StudyError, match=r"\+20` reaches no family") as caught:
        Extension(trials=20).applied(study, director)
    assert "`few` 3, `one` 1" in caught.value.message
    assert "`--families x`" in caught.value.hint
    longer, _ = Extension(seconds=60).applied(study, director)
    assert longer.trials_of() == {"few": 3, "one": 1}
    joined = Extension(trials=20, families=(steady,))
    larger, said = joined.applied(study, director)
    assert larger.trials_of() == {"few": 3, "one": 1, "steady": 20}
    assert said == ["20 more trials, 24 in all", "family `steady` joins"]


def test_a_family_with_trials_of_its_own_takes_none_from_the_others():
    steady = helpers.study().families[0]
    study = helpers.study(budget=Budget(trials=8, epochs=2))
    director = Director(study, workers=1)
    few = dataclasses.replace(steady, name="few", trials=3)
    for trials, shared in ((0, 8), (20, 28)):
        joined = Extension(trials=trials, families=(few,))
        larger, _ = joined.applied(study, director)
        assert larger.trials_of() == {"steady": shared, "few": 3}
        assert larger.budget.trials == shared + 3
    fixed = study.replace(families=(dataclasses.replace(steady, trials=8),))
    with pytest.raises(StudyError, match=r"\+20` reaches no family"):
        Extension(trials=20, families=(few,)).applied(fixed, director)


def test_no_family_takes_from_a_population():
    steady = helpers.study().families[0]
    pbt = Rule(name="pbt", options={"interval": 1})
    study = helpers.study(budget=Budget(trials=8, epochs=4), stopping=(pbt,))
    director = Director(study, workers=1)
    other = dataclasses.replace(steady, name="other")
    with pytest.raises(
        StudyError, match="one population, and a family that joins .*`st"
    ):
        Extension(families=(other,)).applied(study, director)
    few = dataclasses.replace(other, trials=3)
    larger, _ = Extension(families=(few,)).applied(study, director)
    assert larger.trials_of() == {"steady": 8, "other": 3}


RULES = {
    "none": (),
    "asha": (Rule(name="asha"),),
    "halving": (Rule(name="halving"),),
    "asha and virtual": (Rule(name="asha"),),
}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("changes", [{"seconds": 60.0}, {"total_epochs": 1000}])
def test_an_extension_trains_something_or_is_refused(tmp_path, rules, changes):
    """Of a run that had all of its trials: a limit alone leaves nothing to train."""
    if "virtual" in rules and "seconds" in changes:
        return  # which virtual order refuses anyhow
    resources = {"resources": helpers.study().resources}
    if "virtual" in rules:
        resources["resources"] = dataclasses.replace(
            resources["resources"], order="virtual:2"
        )
    budget = Budget(trials=5, epochs=4)
    folder = run(tmp_path, budget=budget, stopping=RULES[rules], **resources)
    before = {p: p.read_bytes() for p in folder.glob("*.json*")}
    trained = len(events_of(folder, "epoch"))
    try:
        more(folder, **changes)
    except StudyError as error:
        assert "all 5 trials have ended" in error.message
        assert error.hint == "add `--trials +20`"
        assert {p: p.read_bytes() for p in folder.glob("*.json*")} == before
        more(folder, trials=1, **changes)
    assert len(events_of(folder, "epoch")) > trained


def test_more_trials_of_a_sampler_without_another_point_are_refused(tmp_path):
    grid = Rule(name="grid", options={"steps": 2})
    folder = run(tmp_path, sampler=grid, budget=Budget(trials=9, epochs=1), stopping=())
    ended = len(events_of(folder, "completed"))
    assert ended < 9
    with pytest.raises(StudyError, match=f"all {ended} trials have ended") as caught:
        more(folder, trials=5)
    assert "--new-spaces" in caught.value.hint


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(trials=3, epochs=6, total_epochs=8), "--epochs-total 16"),
        (Budget(trials=3, epochs=60, seconds=0.4), "--time-budget 1s"),
    ],
)
def test_a_run_that_a_limit_ended_says_how_to_go_on(tmp_path, capsys, budget, words):
    study = helpers.study(
        sampler=Rule(name="random"),
        budget=budget,
        stopping=(),
        constants={"pause": 0.05},
    )
    outcome = launch(study, results=tmp_path / "two words", create=helpers.create)
    assert outcome.state == "time"
    finish(outcome)
    told = capsys.readouterr().err
    (hint,) = [line for line in told.splitlines() if "extend" in line]
    command, *options = shlex.split(hint.split("`")[1])
    assert [command, *options[:2]] == ["hpo", "extend", str(outcome.folder)]
    assert options[2:] == words.split()
    if "epochs" in words:
        more(outcome.folder, total_epochs=16)
        assert len(events_of(outcome.folder, "epoch")) == 16


def test_a_run_at_work_and_a_rerun_are_refused(halved, tmp_path):
    with RunFolder(halved).acquire(), pytest.raises(RunLocked):
        more(halved, trials=5, total_epochs=99)
    folder = copied(halved, tmp_path)
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**record, "rerun": {}}))
    with pytest.raises(RunError, match="trials that were named"):
        more(folder, trials=5, total_epochs=99)


def test_an_extension_whose_driver_died_at_once_goes_on(tmp_path, monkeypatch):
    folder = run(tmp_path, stopping=())

    def dies(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ActiveRun, "until_it_ends", dies)
        with pytest.raises(KeyboardInterrupt):
            more(folder, trials=3)
    assert how_it_ended(RunFolder(folder)) is None
    assert resume(folder, create=helpers.create).state == "finished"
    assert len(load_summary(folder).rows) == 6 + 3
    assert how_it_ended(RunFolder(folder)) == "budget"


def test_an_extension_goes_on_with_the_faults_of_the_launch(tmp_path):
    study = helpers.study(sampler=Rule(name="random"), stopping=())
    chaos = Chaos(seed=2, worker=0.2)
    outcome = launch(study, results=tmp_path, create=helpers.create, chaos=chaos)
    more(outcome.folder, trials=4)
    told = events_of(outcome.folder)
    (behind,) = [e.n for e in told if e.event == "extended"]
    deaths = [e.n for e in told if e.event == "interrupted" and e.death]
    assert min(deaths) < behind < max(deaths)
