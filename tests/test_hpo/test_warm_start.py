"""Trials taken over from earlier runs: told, checked, and kept through a resume."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from msgspec import UNSET
from optuna.distributions import FloatDistribution, IntDistribution

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers

from hpo.errors import RunError, StudyError
from hpo.ledger.events import KINDS
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger, read_events
from hpo.report.summary import load_summary
from hpo.run.carried import carried_trials
from hpo.run.extend import Extension, extend
from hpo.run.launch import launch, resume
from hpo.run.rerun import opened
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.trials.reducer import Reducer
from hpo.warm_start import WarmStart

sys.path.pop(0)


def prepared(data, *, root=None):
    return {"path": "x", "hashes": {"train": data or "first"}}


def run(results, study, **options):
    return launch(study, results=results, prepare=prepared, **options)


def events_of(outcome):
    return read_events(outcome.folder / "events.jsonl")[0]


def notes_of(outcome):
    return [e.text for e in events_of(outcome) if e.event == "note"]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A finished run of six trials in a results folder of its own."""
    results = tmp_path_factory.mktemp("earlier")
    rule = Rule(name="percentile", options={"keep": 60, "startup": 2})
    outcome = run(results, helpers.study("earlier", seed=1, stopping=(rule,)))
    assert load_summary(outcome.folder).counts() == {"completed": 3, "stopped": 3}
    return results, outcome


@pytest.fixture
def results(earlier, tmp_path):
    """Another results folder in which that run can be found by its name."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/earlier").symlink_to(earlier[0] / "earlier")
    return tmp_path / "results"


def best_of(outcome, count):
    rows = [r for r in load_summary(outcome.folder).rows if r.rank]
    return [dict(r.params) for r in rows[:count]]


def carried(study, **changes):
    return study.replace(
        warm_start=(WarmStart(run="earlier", take="results"),), **changes
    )


# -- configurations -----------------------------------------------------------------------


def test_the_best_configurations_are_trained_again_first(earlier, results):
    first = {"rate": 0.5, "size": 2}
    family = Family(
        name="steady",
        space=helpers.study().families[0].space,
        create=helpers.create,
        initial_points=(first,),
    )
    study = helpers.study(
        "later", families=(family,), warm_start=(WarmStart(run="earlier", top=2),)
    )
    outcome = run(results, study)
    proposed = [e for e in events_of(outcome) if e.event == "proposed"]
    expected = [first, *best_of(earlier[1], 2)]
    assert [p.params for p in proposed[:3]] == expected
    assert [p.origin for p in proposed] == ["first"] * 3 + ["tpe"] * 3
    assert len([e for e in events_of(outcome) if e.event == "epoch"]) > 6
    name = f"earlier/{earlier[1].folder.name}"
    assert notes_of(outcome) == [
        f"warm start: 2 configurations of `{name}` are tried first"
    ]
    stored = Study.from_json(
        json.loads((outcome.folder / "study.json").read_text())["study"]
    )
    assert stored.warm_start == study.warm_start
    assert [dict(p) for p in stored.families[0].initial_points] == expected


def test_another_space_takes_what_fits_and_says_what_does_not(earlier, results):
    """A narrower range, a fixed key, a dimension that used to be a constant."""
    rows = [r for r in load_summary(earlier[1].folder).rows if r.rank]
    limit = sorted(r.params["rate"] for r in rows)[-2] + 1e-9
    space = {
        "rate": FloatDistribution(0.05, limit),
        "size": IntDistribution(1, 4),
        "start": FloatDistribution(0.0, 2.0),
    }
    study = helpers.study(
        "later",
        families=(Family(name="steady", space=space, create=helpers.create),),
        warm_start=(WarmStart(run="earlier", top=9),),
    )
    outcome = run(results, study)
    fitting = [{**r.params, "start": 1.0} for r in rows if r.params["rate"] <= limit]
    assert [dict(p) for p in outcome.study.families[0].initial_points] == fitting
    notes = notes_of(outcome)
    assert f"{len(fitting)} configurations" in notes[0]
    left_out = [n for n in notes[1:] if "is left out: `rate` = " in n]
    assert len(left_out) == len(rows) - len(fitting) == 1


def test_more_points_than_trials_are_not_dropped_in_silence(results):
    study = helpers.study(
        "later", warm_start="earlier", budget=Budget(trials=1, epochs=6)
    )
    outcome = run(results, study)
    assert any("only 1 fit into its trials" in n for n in notes_of(outcome))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"families": (Family(name="other", space={"rate": 1.0}, create="m:c"),)},
            "has no family of this study, but steady",
        ),
        ({"objectives": (Objective(metric="mae"),)}, "no ranked trial of it reports"),
        (
            {
                "families": (
                    Family(name="steady", space={"size": 3}, create=helpers.create),
                )
            },
            "`rate` is not in the space any more",
        ),
    ],
)
def test_a_run_without_anything_that_fits_is_refused(results, changes, message):
    study = helpers.study("later", warm_start="earlier", **changes)
    with pytest.raises(StudyError, match=message) as caught:
        run(results, study, create=helpers.create)
    assert caught.value.hint
    assert not (results / "later").exists(), "nothing was begun"


def test_a_run_that_is_not_there_is_refused(results):
    with pytest.raises(RunError, match="no run `erlier`") as caught:
        run(results, helpers.study("later", warm_start="erlier"))
    assert "`earlier`" in caught.value.hint


# -- results ------------------------------------------------------------------------------


def test_results_are_taken_over_and_the_search_goes_on(earlier, results):
    """Nothing of them is trained again; they are ranked, and numbers go on behind them."""
    old = load_summary(earlier[1].folder).rows
    study = carried(helpers.study("later"), budget=Budget(trials=10, epochs=6))
    outcome = run(results, study)
    summary = load_summary(outcome.folder)
    assert len(summary.rows) == summary.planned == 10
    for row in old:
        new = summary.row(row.trial)
        assert (new.params, new.seed, new.state) == (row.params, row.seed, row.state)
        assert (new.objective, new.curve) == (row.objective, row.curve)
        assert new.parameters == row.parameters
        assert [a.why for a in new.attempts] == ["carried"]
    trained = {p.parent.name for p in outcome.folder.glob("trials/*/trained.txt")}
    assert trained == {f"{n:04d}" for n in range(7, 11)}
    configs = {p.parent.name for p in outcome.folder.glob("trials/*/config.json")}
    assert configs == {f"{n:04d}" for n in range(1, 11)}
    proposed = [e for e in events_of(outcome) if e.event == "proposed"]
    assert [e.number for e in proposed] == list(range(10))
    source = f"earlier/{earlier[1].folder.name}"
    assert proposed[0].carried == f"{source}#1"
    assert notes_of(outcome)[0] == f"warm start: 6 trials of `{source}` are taken over"


def test_the_sampler_learns_from_what_is_taken_over(earlier, results):
    """The first new proposal is what TPE proposes after these very trials."""
    from hpo import seeds
    from hpo.director import replay
    from hpo.search.registry import Request, make

    study = carried(helpers.study("later"), budget=Budget(trials=7, epochs=6))
    outcome = run(results, study)
    proposed = [e for e in events_of(outcome) if e.event == "proposed"][6]
    before = replay(
        outcome.study, [e for e in events_of(outcome) if e.n < proposed.n], workers=1
    )
    asked = Request(
        space=study.families[0].space,
        seed=seeds.derive(3, "steady", "sampler", 6),
        family_seed=seeds.derive(3, "steady", "sampler"),
        index=0,
        history=list(before.trials.values()),
        objective=Objective(),
    )
    assert len(asked.carried) == 6
    assert make(study.sampler).propose(asked) == proposed.params
    untaught = Request(**{**vars(asked), "history": ()})
    assert make(study.sampler).propose(untaught) != proposed.params


def test_a_trial_that_ended_twice_is_taken_over_with_its_last_end(tmp_path):
    """Cut by a budget, then finished by an extension: carried as if it had never been cut."""
    short = {"sampler": Rule(name="random"), "stopping": ()}
    cut = Budget(trials=2, epochs=3, total_epochs=4)
    earlier = run(tmp_path, helpers.study("earlier", budget=cut, **short))
    again = {"prepare": prepared, "create": helpers.create}
    extend(earlier.folder, Extension(total_epochs=9), **again)
    ends = [e.event for e in events_of(earlier) if e.trial == 2]
    assert ends.count("cancelled") == ends.count("completed") == 1
    whole = Budget(trials=3, epochs=3)
    outcome = run(tmp_path, carried(helpers.study("later", budget=whole, **short)))
    proposed = [e for e in events_of(outcome) if e.event == "proposed"]
    assert [e.extension for e in proposed] == [UNSET] * 3
    apart = run(tmp_path, helpers.study("whole", budget=whole, **short))
    assert helpers.story(outcome.folder) == helpers.story(apart.folder)
    assert resume(outcome.folder, **again).state == "finished"


AGAIN = [("reopened", 2), ("started", 2)]


@pytest.mark.parametrize(
    ("later", "states"),
    [
        ([], {1: "completed", 2: "stopped"}),
        (AGAIN[:1], {1: "completed"}),
        (AGAIN, {1: "completed"}),
        ([*AGAIN, ("epoch", 3), ("cancelled", 3)], {1: "completed"}),
        ([*AGAIN, ("epoch", 3), ("stopped", 3)], {1: "completed", 2: "stopped"}),
    ],
    ids=["stopped", "waits", "runs", "cut", "stopped-again"],
)
def test_what_became_of_a_reopened_trial_decides(tmp_path, later, states):
    """Trial 1 completed, trial 2 was stopped at epoch 2, and an extension took it up."""
    study = helpers.study("earlier", budget=Budget(trials=2, epochs=4))
    earlier = RunFolder.create(tmp_path, study)
    earlier.write_study(study, provenance={}, extra={"data": prepared(None)})
    whole = [("started", 0), *(("epoch", n) for n in range(1, 5)), ("completed", 4)]
    cut = [("started", 0), ("epoch", 1), ("epoch", 2), ("stopped", 2), *later]
    with Ledger.open(earlier.events_file, write=True) as ledger:
        for event in (*told_of(1, whole), *told_of(2, cut)):
            ledger.append(event)
    study = carried(study.replace(name="later"), budget=Budget(trials=4, epochs=4))
    found = carried_trials(study, results=tmp_path, data=prepared(None))
    reducer = Reducer.of(study)
    for event in found.events:  # refuses what contradicts the events before it
        reducer.apply(event)
    trials = reducer.record.trials
    assert {n: str(t.state) for n, t in trials.items()} == states
    if 2 in trials:
        assert trials[2].last == max(n for kind, n in cut if kind == "epoch")


def test_trials_of_an_earlier_space_are_no_results_of_another(tmp_path):
    """An extension fixed another `start` for those after it, and narrowed `size`."""
    old = helpers.study("earlier", budget=Budget(trials=3, epochs=1))
    new = old.replace(
        families=helpers.study(
            constants={"start": 0.5, "size": IntDistribution(1, 2)}
        ).families
    )
    earlier = RunFolder.create(tmp_path, new)
    earlier.write_study(new, provenance={}, extra={"data": prepared(None)})
    story = [("started", 0), ("epoch", 1), ("completed", 1)]
    with Ledger.open(earlier.events_file, write=True) as ledger:
        for event in (
            *told_of(1, story),
            KINDS["extended"](said=["another space"], before=old.to_json()),
            *told_of(2, story, extension=1),
        ):
            ledger.append(event)
    study = carried(new.replace(name="later"))
    found = carried_trials(study, results=tmp_path, data=prepared(None))
    assert [e.params["rate"] for e in found.events if e.event == "proposed"] == [0.2]
    assert "1 trials of an earlier space are left out" in found.notes[1]
    wider = helpers.study(constants={"start": FloatDistribution(0.0, 2.0)})
    first = carried_trials(
        wider.replace(warm_start="earlier"), results=tmp_path, data=prepared(None)
    )
    points = {p["rate"]: p["start"] for p in first.study.families[0].initial_points}
    assert points == {0.1: 1.0, 0.2: 0.5}, "each with the constant it was trained with"


def told_of(trial, story, **more):
    """The events of a trial from kinds and epochs."""
    params, attempt = {"rate": trial / 10, "size": 1}, 0
    proposed = {"family": "steady", "number": trial - 1, "params": params, **more}
    yield KINDS["proposed"](trial=trial, seed=trial, **proposed)
    numbers = {"train": {}, "valid": {"rmse": 1.0}, "seconds": 1, "compile_seconds": 0}
    fields = {
        "started": {"attempt_of": "first"},
        "epoch": numbers,
        "reopened": {"state": "paused", "rule": "asha"},
        "stopped": {"rule": "asha"},
        "cancelled": {"reason": "budget"},
    }
    for kind, epoch in story:
        attempt += kind == "started"
        head = {"trial": trial, "attempt": attempt, "epoch": epoch}
        yield KINDS[kind](**head, **fields.get(kind, {}))


@pytest.mark.parametrize("name", ["grid", "qmc"])
def test_points_by_index_go_on_where_they_were(tmp_path, name):
    """Six points, then six more, are the twelve of one run."""
    rule = Rule(name=name, options={"steps": 4} if name == "grid" else {})
    study = helpers.study(
        "earlier", sampler=rule, stopping=(), budget=Budget(trials=6, epochs=1)
    )
    run(tmp_path, study)
    twelve = study.budget.__class__(trials=12, epochs=1)
    more = run(tmp_path, carried(study.replace(name="later"), budget=twelve))
    whole = run(tmp_path, study.replace(name="whole", budget=twelve))
    found = [
        [e.params for e in events_of(o) if e.event == "proposed"] for o in (more, whole)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": Budget(trials=9, epochs=7)}, "`steady` had 6 epochs, has 7"),
        ({"objectives": (Objective(metric="loss"),)}, "the objective differs"),
        ({"objectives": (Objective(direction="maximize"),)}, "the objective differs"),
        ({"data": "second"}, "the data differs"),
        ({"settings": {"trouble": "nan"}}, "the settings differ"),
        ({"constants": {"pause": 0.001}}, "the space of family `steady` differs"),
        ({"create": helpers.create_foreign}, "was run_helpers:create"),
        (
            {"budget": Budget(trials=5, epochs=6)},
            "with 6 earlier trials, but may have 5",
        ),
    ],
)
def test_results_of_something_else_are_refused(results, changes, message):
    special = {k: changes.pop(k) for k in ("constants", "create") if k in changes}
    study = carried(helpers.study("later", **special), **changes)
    with pytest.raises(StudyError, match=message) as caught:
        run(results, study)
    assert caught.value.hint
    assert not (results / "later").exists(), "nothing was begun"


def test_results_of_another_task_are_refused(tmp_path):
    short = {"stopping": (), "budget": Budget(trials=1, epochs=1)}
    run(tmp_path, helpers.study("earlier", **short).replace(task="simulation"))
    later = carried(helpers.study("later", **short), budget=Budget(trials=2, epochs=1))
    words = r"the task was simulation, is prediction \(known 50, horizon 100\)"
    with pytest.raises(StudyError, match=words):
        run(tmp_path, later.replace(task="prediction"))
    assert run(tmp_path, later.replace(task="simulation")).state == "finished"


def test_a_resume_needs_nothing_but_the_runs_own_folder(earlier, results):
    """Interrupted in the first new trial; the earlier run is gone by then."""

    class Interrupt:
        def recall(self, event, director):
            pass

        def event(self, event, director):
            if event.event == "epoch" and event.trial == 8:
                raise KeyboardInterrupt

        def tick(self, director):
            pass

        def message(self, text):
            pass

    study = carried(helpers.study("later"), budget=Budget(trials=9, epochs=6))
    whole = run(results, study.replace(name="whole"))
    stopped = run(results, study, observer=Interrupt())
    assert stopped.state == "interrupted"
    (results / "earlier").unlink()
    again = resume(stopped.folder, prepare=prepared, create=helpers.create)
    assert again.state == "finished"
    assert helpers.story(again.folder) == helpers.story(whole.folder)


def test_a_launch_killed_while_taking_over_leaves_no_run(results, monkeypatch):
    """Carried trials come whole or not at all; without a study.json there is no run."""

    def killed(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("hpo.run.carried.os.replace", killed)
    study = carried(helpers.study("later"), budget=Budget(trials=9, epochs=6))
    with pytest.raises(KeyboardInterrupt):
        run(results, study)
    (left,) = (results / "later").iterdir()
    assert not (left / "study.json").exists() and not (left / "events.jsonl").exists()


def test_a_search_that_pauses_goes_on_after_one_that_did(tmp_path):
    """Whoever has been promoted keeps his place; the run finishes all the same."""
    rule = Rule(name="screening", options={"epochs": 2, "keep": 1})
    study = helpers.study("earlier", stopping=(rule,))
    run(tmp_path, study)
    for count, seed in ((8, 3), (10, 4)):
        later = carried(
            study,
            name=f"later{count}",
            budget=Budget(trials=count, epochs=6),
            seed=seed,
        )
        outcome = run(tmp_path, later)
        assert outcome.state == "finished"
        counts = load_summary(outcome.folder).counts()
        assert set(counts) == {"completed", "stopped"} and sum(counts.values()) == count
    assert counts["completed"] <= 2


def test_settings_of_the_command_line_name_earlier_runs(results):
    from hpo.cli.overrides import apply_settings, parse_settings

    for text in ('["earlier"]', "earlier", '{"run": "earlier"}'):
        settings = parse_settings([f"warm_start={text}"])
        study = apply_settings(helpers.study(), settings)
        assert study.warm_start == (WarmStart(run="earlier"),)


def test_a_trial_taken_over_can_be_trained_again_exactly(results, monkeypatch):
    monkeypatch.setattr("hpo.packages.prepare_data", prepared)
    study = carried(helpers.study("later"), budget=Budget(trials=6, epochs=6))
    outcome = run(results, study)
    with opened(outcome.folder, create=helpers.create) as reruns:
        best = reruns.summary.best
        (again,) = reruns.exact([best]).results
        assert again.equal


# -- how it is said -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "latest",
        ["latest"],
        {"run": "latest"},
        WarmStart(run="latest"),
        [{"run": "latest"}],
    ],
)
def test_a_name_stands_for_its_best_configurations(given):
    study = helpers.study(warm_start=given)
    assert study.warm_start == (WarmStart(run="latest"),)
    again = Study.from_json(json.loads(json.dumps(study.to_json())))
    assert again.warm_start == study.warm_start


def test_runs_from_before_warm_starts_can_be_read():
    record = helpers.study().to_json()
    del record["warm_start"]
    assert Study.from_json(record).warm_start == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([3], "a warm start names a run, got 3"),
        (3, "a warm start names a run, got 3"),
        (None, "a warm start names a run, got None"),
        ([{"run": 3}], "a warm start names a run, got 3"),
        ([{"run": None}], "a warm start names a run, got None"),
        ([{"take": "results"}], "names a run"),
        ([{"run": "x", "tops": 3}], "names a run"),
        ([{"run": "x", "take": "result"}], "`take` is `configurations` or `results`"),
        ([{"run": "x", "top": 0}], "top must be an integer from 1"),
        ([{"run": "x", "take": "results", "top": 3}], "taken over whole"),
    ],
)
def test_a_wrong_warm_start_is_refused(given, message):
    with pytest.raises(StudyError, match=message):
        helpers.study(warm_start=given)
