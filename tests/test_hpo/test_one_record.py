"""State, value, best epoch and rank of every trial: one record, read by everybody.

Studies and ledgers are generated: families with budgets of their own, one or two objectives with
limits in both directions, rules that stop and pause, learners that skip epochs, report them late,
again, or past their budget, values that are not finite, processes that die, drivers that die, and
surplus epochs as ledgers of before may hold them. What the Director, the table, the live view and
the exports say is compared with `known`, which reads the lines of JSON and shares no code with
them.

Each of these mutations was run and failed here: the budget not looked at by anybody, not by the
Director (what was once: epoch 6 of 5 there, 4 in the table), not by the table; infinite values
let through; of equal epochs the one that came first, or last, instead of the earliest; the
direction ignored; a second report of an epoch believed; a trial without a value ranked.
"""

from __future__ import annotations

import csv
import json
import math
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from optuna.distributions import FloatDistribution

from hpo.director import Director, replay
from hpo.director.decisions import Continue, Done, Start
from hpo.errors import StudyError
from hpo.export import optuna_storage
from hpo.export.exporting import export
from hpo.export.source import load_source
from hpo.ledger.events import (
    CheckpointEvent,
    Completed,
    EpochEvent,
    Nondeterminism,
    Note,
    Proposed,
    RunEvent,
    Started,
)
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import from_line
from hpo.ledger.log import read_events
from hpo.live.frame import Frame
from hpo.live.statistics import LiveStatistics
from hpo.objectives import ranking
from hpo.report import index
from hpo.report.summary import load_summary, summarize
from hpo.stopping.population import changed_keys
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.trials.best import best_epoch
from models.training.protocol import Epoch
from search_spaces.space import Space

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]  # the machine may be
SPACE = Space({"rate": FloatDistribution(0.1, 1.0)})
VALUES = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0, math.nan, math.inf, -math.inf)
WHAT = (("next",) * 5 + ("skip",) * 3 + ("late",) * 4
    + ("any", "old", "again", "end", "beside"))  # fmt: skip
RULES = (
    (),
    (Rule(name="divergence"),),
    (Rule(name="divergence"), Rule(name="asha", options={"grace": 1, "eta": 2})),
    (Rule(name="screening", options={"epochs": 2, "keep": 1}),),
    (Rule(name="patience", options={"epochs": 2}),),
    (Rule(name="pbt", options={"interval": 2, "quantile": 0.5}),),
)


@st.composite
def studies(draw):
    """Few trials of one to three families under any objectives and rules."""
    names = ("rnn", "tcn", "linear")[: draw(st.integers(1, 3))]
    budgets = {n: draw(st.sampled_from([None, 1, 3])) for n in names}
    objectives = tuple(
        Objective(
            metric=metric,
            direction=draw(st.sampled_from(["minimize", "maximize"])),
            limit=draw(st.sampled_from([None, None, 1.5])),
        )
        for metric in ("rmse", "fit")[: draw(st.integers(1, 2))]
    )
    study = Study(
        name="any",
        families=tuple(Family(name=n, space=SPACE, epochs=budgets[n]) for n in names),
        objectives=objectives,
        budget=Budget(
            trials=draw(st.integers(len(names), 7)),
            epochs=5,
            total_epochs=draw(st.sampled_from([None, None, 12])),
        ),
        sampler=Rule(name="random"),
        stopping=draw(st.sampled_from(RULES)),
    )
    try:
        changed_keys(study)
    except StudyError:  # nobody is a population
        study = study.replace(stopping=())
    return study


class AnyRun:
    """A driver whose learners do whatever `choose` says; keeps the ledger's lines."""

    def __init__(self, study, choose) -> None:
        self.study, self.choose = study, choose
        self.lines: list[str] = []
        self.director, self.time = Director(study, workers=2), 0.0

    def write(self, events) -> None:
        for event in events:
            line = structs.replace(event, n=len(self.lines) + 1, time=1.0).to_line()
            self.lines.append(line)
            self.director.apply(from_line(line.encode()))

    def go(self, steps) -> None:
        """So many steps, or to the end."""
        self.write([RunEvent(action="launch")])
        for _ in range(steps):
            decision = self.fill()
            if isinstance(decision, Done):
                self.write([RunEvent(action="finish", reason=decision.reason)])
                return
            self.time += 1.0
            self.step(self.director.trials[self.choose(self.director.running)])
            self.write(self.director.expire(self.time))

    def fill(self):
        """Start what may be started; the decision that starts nothing."""
        while True:
            decision, events = self.director.next(self.time)
            self.write(events)
            if not isinstance(decision, Start):
                return decision

    def step(self, trial) -> None:
        """Anything that may happen to a running trial."""
        number, attempt = trial.number, trial.attempt
        mine = {"trial": number, "attempt": attempt, "elapsed": self.time}
        what = self.choose(WHAT)
        more = {"train": {}, "seconds": 1.0, "compile_seconds": 0.0}
        if what == "old":  # a version of before let a surplus epoch through
            valid = self.epoch(0).valid
            epoch = EpochEvent(**mine, epoch=trial.budget + 1, valid=valid, **more)
            self.write([epoch, Completed(**mine, epoch=trial.budget + 1)])
        elif what == "again" and trial.last:  # in the ledger, not by the Director
            valid = self.epoch(0).valid
            self.write([EpochEvent(**mine, epoch=trial.last, valid=valid, **more)])
        elif what == "end":
            ended = self.choose(("exhausted", "died", "raised", "driver"))
            if ended == "exhausted":
                self.write(self.director.exhausted(number, attempt, self.time))
            elif ended == "driver":
                self.write(self.director.interrupt("the driver died", self.time))
                events = [from_line(line.encode()) for line in self.lines]
                self.director = replay(self.study, events, workers=2)
            else:
                died = ended == "died"
                self.write(
                    self.director.lost(number, attempt, "why", self.time, retry=died)
                )
        elif what == "beside":
            self.write([CheckpointEvent(**mine, epoch=trial.last)])
            self.write([Note(trial=number, text="hm"), Note(text="hm")])
            if trial.last:
                two = {"metric": "valid.rmse", "first": 1.0, "second": math.nan}
                self.write([Nondeterminism(**mine, epoch=trial.last, **two)])
        else:
            last, budget = trial.last, trial.budget
            numbers = {
                "next": [last + 1],
                "skip": [last + 2],
                "late": [n for n in range(1, last) if n not in trial.epochs],
            }.get(what)
            epoch = self.epoch(self.choose(numbers or range(1, budget + 3)))
            decision, events = self.director.judge(number, attempt, epoch, self.time)
            self.write(events)
            assert isinstance(decision, Continue) == (trial.state == "running")

    def epoch(self, number) -> Epoch:
        """An epoch that may lack what the second objective needs."""
        valid = {"rmse": self.choose(VALUES), "fit": self.choose(VALUES)}
        return Epoch(number, {"loss": 1.0}, valid, 1.0, 0.0)


ENDINGS = ("completed", "converged", "stopped", "diverged", "failed", "cancelled")


def known(study, lines):
    """Read off the JSON of the lines: (state, value, best epoch, rank) of each trial.

    And of the ranked ones, sorting best first: beyond a limit?, values, number.
    """
    trials = {}
    for event in map(json.loads, lines):
        number, kind = event["trial"], event["event"]
        if kind == "proposed":
            budget = study.epochs_of(event["family"])
            trials[number] = {"state": "pending", "budget": budget, "epochs": {}}
        elif kind == "epoch":
            valid = {k: float(v) for k, v in event["valid"].items()}
            if event["epoch"] <= trials[number]["budget"]:
                trials[number]["epochs"].setdefault(event["epoch"], valid)
        elif kind == "exploited":
            trials[number]["epochs"] = dict(trials[event["donor"]]["epochs"])
        elif kind in ("started", "interrupted", "paused", *ENDINGS):
            state = {"started": "running", "interrupted": "pending"}.get(kind, kind)
            trials[number]["state"] = state
    first, *more = study.objectives
    for trial in trials.values():
        finite = {
            n: valid["rmse"]
            for n, valid in trial["epochs"].items()
            if math.isfinite(valid["rmse"])
        }
        wanted = (max if first.direction == "maximize" else min)(
            finite.values(), default=None
        )
        trial["value"] = wanted
        trial["best"] = min((n for n, v in finite.items() if v == wanted), default=None)
        if wanted is not None:
            valid = trial["epochs"][trial["best"]]
            trial["all"] = [signed(valid[o.metric], o) for o in study.objectives]
            trial["over"] = any(
                o.limit is not None and not key <= signed(o.limit, o)
                for o, key in zip(study.objectives, trial["all"], strict=True)
            )
    ends = ("completed", "converged")
    ranked = [
        n for n, t in trials.items() if t["state"] in ends and t["value"] is not None
    ]
    order = []
    within = [n for n in ranked if not trials[n]["over"]]
    while rest := [n for n in within if n not in order]:  # front by front
        keys = {n: trials[n]["all"] for n in rest}
        front = [n for n in rest if not any(beats(keys[m], keys[n]) for m in rest)]
        order += sorted(front, key=lambda n: (trials[n]["all"], n))
    over = [n for n in ranked if trials[n]["over"]]
    order += sorted(over, key=lambda n: (trials[n]["all"], n))
    told = {
        n: (
            t["state"],
            t["value"],
            t["best"],
            order.index(n) + 1 if n in order else None,
        )
        for n, t in trials.items()
    }
    return told, {n: (trials[n]["over"], trials[n]["all"], n) for n in ranked}


def signed(value, objective):
    """Small is good; what is not finite is worst."""
    if not math.isfinite(value):
        return math.inf
    return value if objective.direction == "minimize" else -value


def beats(a, b):
    """Nowhere worse, somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def told_by_director(study, folder):
    director = replay(study, read_events(folder / "events.jsonl")[0], workers=2)
    trials = director.trials
    places = ranking(trials.values(), study.objectives)
    best = director.best()
    assert (best and best.number) == next(iter(places), None)
    return {
        n: (t.state, t.value, t.best_epoch, places[n].rank if n in places else None)
        for n, t in trials.items()
    }


def told_by(summary):
    return {r.trial: (r.state, r.objective, r.best_epoch, r.rank) for r in summary.rows}


def told_by_csv(folder):
    with export(folder, to="csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        int(r["trial"]): (
            r["state"],
            float(r["objective"]) if r["objective"] else None,
            int(r["best_epoch"]) if r["best_epoch"] else None,
            int(r["rank"]) if r["rank"] else None,
        )
        for r in rows
    }


def told_by_optuna(source):
    """The attributes and values of the trials of an Optuna storage."""
    found = {}
    for row in source.summary.rows:
        frozen = optuna_storage._frozen(source, row)
        about = frozen.user_attrs
        curve = [v for v in frozen.intermediate_values.values() if math.isfinite(v)]
        best = frozen.intermediate_values.get(about.get("best_epoch"))
        assert (best is None) == (not curve)
        if frozen.state.name == "COMPLETE":
            assert frozen.values[0] == best
        key = (about["state"], best, about.get("best_epoch"), about.get("rank"))
        found[about["trial"]] = key
    return found


def check_live_view(study, folder, expected, merits):
    """The states, each family's ended trials and its best one, as the view prints them."""
    director, statistics = Director(study, workers=2), LiveStatistics(study)
    for event in read_events(folder / "events.jsonl")[0]:
        director.apply(event)
        statistics.apply(event, director.trials.get(event.trial or 0))
    frame = Frame(study, statistics)
    counts = Counter(state for state, *_ in expected.values())
    told = dict(
        reversed(part.split(" ", 1)) for part in frame.counts(director).split(", ")
    )
    waiting = director.total - len(expected) + counts.pop("pending", 0)
    assert told == {k: str(n) for k, n in counts.items()} | (
        {"to come": str(waiting)} if waiting else {}
    )
    lines = [line.split() for line in frame.lines(director, width=200, now=0.0)]
    for name, family in statistics.families.items():
        mine = {n: e for n, e in expected.items() if director.trials[n].family == name}
        ended = sum(state in ENDINGS for state, *_ in mine.values())
        # The best by the first objective within the limits; of all families' fronts, which
        # ranks follow from, a family of its own knows nothing.
        best = min((merits[n] for n in mine if n in merits), default=(0, 0, None))[2]
        (line,) = [words for words in lines if words[0] == name]
        assert line[1] == f"{ended}/{max(family.planned, family.proposed)}"
        assert line[3] == (str(best) if best else "–")
        assert best is None or float(line[2]) == pytest.approx(mine[best][1], rel=1e-3)
        assert family.paused == sum(state == "paused" for state, *_ in mine.values())


def check(study, lines, folder):
    """Everybody says what the lines say."""
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).write_study(study, provenance={})
    (folder / "events.jsonl").write_text("".join(lines))
    expected, merits = known(study, lines)
    assert told_by_director(study, folder) == expected
    half = "".join(lines[: len(lines) // 2])
    (folder / "events.jsonl").write_text(half)
    load_summary(folder)  # leaves an index, from which the rest goes on
    (folder / "events.jsonl").write_text("".join(lines))
    assert told_by(load_summary(folder)) == expected
    events = read_events(folder / "events.jsonl")[0]
    assert told_by(summarize(study, events, folder=folder)) == expected
    assert told_by_csv(folder) == expected
    source = load_source(folder)
    assert told_by(source.summary) == expected
    assert told_by_optuna(source) == expected
    check_live_view(study, folder, expected, merits)
    return expected


@pytest.fixture(autouse=True)
def any_ledger_gets_an_index(monkeypatch):
    monkeypatch.setattr(index, "WORTH", 1)


ANY = {"study": studies(), "steps": st.integers(0, 60), "seed": st.integers(0, 10**6)}


@settings(max_examples=120, deadline=None, suppress_health_check=SLOW)
@given(**ANY)
def test_director_table_view_and_exports_agree(tmp_path_factory, study, steps, seed):
    run = AnyRun(study, random.Random(seed).choice)
    run.go(steps)
    check(study, run.lines, tmp_path_factory.mktemp("any") / "run")


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=SLOW)
@given(**ANY)
def test_director_table_view_and_exports_agree_on_very_many(
    tmp_path_factory, study, steps, seed
):
    run = AnyRun(study, random.Random(seed).choice)
    run.go(steps)
    check(study, run.lines, tmp_path_factory.mktemp("any") / "run")


def test_generated_runs_hold_what_they_are_for():
    """Every state, equal values, and epochs late, skipped, past the budget and not finite."""
    held = Counter()
    for seed in range(40):
        chance = random.Random(seed)
        rules = RULES[seed % len(RULES)]
        budget = Budget(trials=4, epochs=5, total_epochs=12 if seed % 2 else None)
        run = AnyRun(one_trial().replace(stopping=rules, budget=budget), chance.choice)
        run.go(chance.randrange(10, 50))
        for trial in run.director.trials.values():
            values, epochs = list(trial.values.values()), list(trial.epochs)
            held["equal"] += values.count(trial.value) > 1
            held["late"] += epochs != sorted(epochs)
            held["skipped"] += len(epochs) < trial.last
            held["not finite"] += not all(map(math.isfinite, values))
        held.update(from_line(line.encode()).event for line in run.lines)
        held["past"] += any('"epoch": 6, "train"' in line for line in run.lines)
    kinds = ("equal", "late", "skipped", "not finite", "past")
    missing = {*kinds, *ENDINGS, "paused", "interrupted"} - {*+held}
    assert not missing


# -- past the budget ------------------------------------------------------------------------


def one_trial():
    family = Family(name="rnn", space=SPACE)
    return Study(
        name="one",
        families=(family,),
        budget=Budget(trials=1, epochs=5),
        sampler=Rule(name="random"),
    )


def reported(run, number, value):
    """One report of trial 1, judged and written; the decision."""
    epoch = Epoch(number, {"loss": 1.0}, {"rmse": value}, 1.0, 0.0)
    decision, events = run.director.judge(1, 1, epoch, 0.0)
    run.write(events)
    return decision


def test_an_epoch_past_the_budget_is_no_part_of_the_record(tmp_path):
    """Budget 5, epochs 2, 4 and 6: the trial has completed with epoch 4."""
    run = AnyRun(one_trial(), None)
    run.write(run.director.next(0.0)[1])
    for number, value in ((2, 3.0), (4, 2.0)):
        assert reported(run, number, value) == Continue()
    decision = reported(run, 6, 1.0)
    assert decision.state == "completed"
    expected = check(run.study, run.lines, tmp_path / "run")
    assert expected == {1: ("completed", 2.0, 4, 1)}
    row = load_summary(tmp_path / "run").row(1)
    assert (row.epochs, row.seconds, len(row.curve)) == (4, 2.0, 2)
    assert row.ended_by == "the learner reported epoch 6 of 5, which is left out"
    assert not any('"epoch": 6' in line for line in run.lines)


def test_a_recorded_epoch_past_the_budget_is_left_out_too(tmp_path):
    """As the version before wrote it down."""
    mine = {"trial": 1, "attempt": 1}
    more = {"train": {"loss": 1.0}, "seconds": 1.0, "compile_seconds": 0.0}
    events = [
        Proposed(trial=1, family="rnn", number=0, params={"rate": 0.5}, seed=1),
        Started(**mine, attempt_of="first", epoch=0),
        *(
            EpochEvent(**mine, epoch=number, valid={"rmse": value}, **more)
            for number, value in ((2, 3.0), (4, 2.0), (6, 1.0))
        ),
        Completed(**mine, epoch=6),
    ]
    lines = [structs.replace(e, n=i).to_line() for i, e in enumerate(events, 1)]
    expected = check(one_trial(), lines, tmp_path / "run")
    assert expected == {1: ("completed", 2.0, 4, 1)}


def test_a_learner_that_begins_past_its_budget_has_failed(tmp_path):
    run = AnyRun(one_trial(), None)
    run.write(run.director.next(0.0)[1])
    assert reported(run, 7, 1.0).state == "failed"
    assert check(run.study, run.lines, tmp_path / "run") == {
        1: ("failed", None, None, None)
    }


@given(
    st.dictionaries(st.integers(1, 9), st.sampled_from(VALUES)),
    st.integers(1, 9),
    st.sampled_from(["minimize", "maximize"]),
)
def test_the_best_epoch_is_the_first_of_the_best_within_budget(
    values, budget, direction
):
    objective = Objective(direction=direction)
    counting = {n: v for n, v in values.items() if n <= budget and math.isfinite(v)}
    best = (min if direction == "minimize" else max)(counting.values(), default=None)
    first = min((n for n, v in counting.items() if v == best), default=None)
    assert best_epoch(values.items(), objective, budget) == first
