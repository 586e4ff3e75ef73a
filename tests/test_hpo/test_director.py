"""The Director's decisions, case by case."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from hpo.director import Director, replay
from hpo.director.decisions import Continue, Done, Start, Stop, Wait
from hpo.errors import RunError, StudyError
from hpo.ledger.events import (
    CheckpointEvent,
    Completed,
    Event,
    Paused,
    Proposed,
    Started,
)
from hpo.ledger.lines import from_line
from hpo.seeds import derive
from hpo.study import Budget, Family, Objective, Rule, Study
from models.training.protocol import Epoch
from search_spaces.space import Space
from tests.test_hpo.simulated import SPACE, SimulatedLoop, study

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

NAN = math.nan


def simple(**changes) -> Study:
    """One family, no rules, four epochs."""
    settings = {
        "name": "simple",
        "families": (Family(name="rnn", space=SPACE),),
        "budget": Budget(trials=3, epochs=4),
        "sampler": Rule(name="random"),
        "stopping": (),
    }
    return Study(**{**settings, **changes})


class Table:
    """A Director and the events so far."""

    def __init__(self, a_study, workers=1) -> None:
        self.study, self.workers = a_study, workers
        self.director = Director(a_study, workers=workers)
        self.events: list[Event] = []

    def write(self, events) -> list[Event]:
        for event in events:
            stamped = structs.replace(event, n=len(self.events) + 1)
            self.events.append(from_line(stamped.to_line().encode()))
            self.director.apply(self.events[-1])
        return list(events)

    def next(self, elapsed=0.0):
        decision, events = self.director.next(elapsed)
        self.write(events)
        return decision

    def report(self, trial, number, value=1.0, *, attempt=1, elapsed=0.0, loss=1.0):
        epoch = Epoch(number, {"loss": loss}, {"rmse": value}, 1.0, 0.5)
        decision, events = self.director.judge(trial, attempt, epoch, elapsed)
        return decision, self.write(events)

    def saved(self, trial, attempt, epoch) -> None:
        data = {"epoch": epoch}
        self.write([CheckpointEvent(trial=trial, attempt=attempt, **data)])

    def sources(self, trial) -> list[int | None]:
        """The attempt of whose checkpoint the ledger knew, at each start of a trial."""
        started = (e for e in self.events if e.event == "started" and e.trial == trial)
        return [e.from_attempt for e in started]

    def state(self, trial) -> str:
        return self.director.trials[trial].state


# -- starting -----------------------------------------------------------------------------


def test_a_start_says_all_a_worker_needs():
    first = {"kind": "gru", "rate": 0.01, "layers": 1}
    family = Family(name="rnn", space=SPACE, initial_points=(first,), epochs=30)
    table = Table(simple(families=(family,), stopping=(Rule(name="asha"),), seed=4))
    start = table.next()
    assert start == Start(
        trial=1,
        attempt=1,
        family="rnn",
        params=first,
        seed=derive(4, "rnn", "trial", 0),
        epochs=30,
        known=0,
        rungs=(1, 3, 9, 27),
    )
    assert [e.event for e in table.events] == ["proposed", "started"]
    assert table.director.trials[1].origin == "first"
    table.write(table.director.exhausted(1, 1, 0.0))
    assert table.next().params != first
    assert table.director.trials[2].origin == "random"


def test_not_now_while_every_worker_is_busy():
    table = Table(simple(), workers=2)
    assert [type(table.next()) for _ in range(3)] == [Start, Start, Wait]
    for number in range(1, 5):
        table.report(1, number)
    assert table.state(1) == "completed"
    assert [type(table.next()) for _ in range(2)] == [Start, Wait]
    for trial in (2, 3):
        for number in range(1, 5):
            table.report(trial, number)
        expected = Wait() if trial == 2 else Done("budget")
        assert table.next() == expected, "a running trial may die and need a worker"
    assert table.director.counts() == {"completed": 3}


@settings(max_examples=100, deadline=None, suppress_health_check=[SLOW])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_families_advance_in_proportion(trials):
    """Every family's first trial comes first; then none is a trial ahead of its share."""
    space = Space({"k": 1})
    families = [
        Family(name=f"f{i}", space=space, trials=n, epochs=1)
        for i, n in enumerate(trials)
    ]
    table = Table(simple(families=families))
    order = []
    while isinstance(start := table.next(), Start):
        order.append(int(start.family[1:]))
        table.report(start.trial, 1)
    assert order[: len(trials)] == list(range(len(trials)))
    assert [order.count(i) for i in range(len(trials))] == trials
    for length in range(1, len(order) + 1):
        for i, n in enumerate(trials):
            ideal = n * length / sum(trials)
            assert abs(order[:length].count(i) - ideal) <= len(trials)


def test_the_order_of_families_is_the_logs():
    """Which family comes next depends on how many each has had, and on nothing else."""
    whole, other = SimulatedLoop(study()), SimulatedLoop(study(), workers=3)
    whole.run()
    other.run(choose=max)
    proposed = [
        [e.family for e in h.ledger.events if e.event == "proposed"]
        for h in (whole, other)
    ]
    assert proposed[0] == proposed[1]
    assert proposed[0][:3] == ["rnn", "tcn", "linear"]


# -- endings ------------------------------------------------------------------------------


def test_the_value_is_the_best_epochs():
    table = Table(simple())
    table.next()
    for number, value in enumerate([3.0, 1.0, NAN, 2.0], 1):
        decision, _ = table.report(1, number, value)
    assert decision == Stop(state="completed")
    trial = table.director.trials[1]
    assert (trial.value, trial.best_epoch, trial.last) == (1.0, 2, 4)
    assert (trial.seconds, trial.compile_seconds) == (4.0, 2.0)
    assert table.director.best() is trial
    assert table.director.epochs == 4


def test_best_ignores_what_did_not_run_to_its_end():
    table = Table(simple(objectives=(Objective(direction="maximize"),)))
    for values in ([1.0, 9.0, None], [1.0, 2.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0]):
        start = table.next()
        for number, value in enumerate(values, 1):
            if value is None:
                table.write(table.director.lost(start.trial, 1, "x", 0.0, retry=False))
            else:
                table.report(start.trial, number, value)
    assert table.director.counts() == {"failed": 1, "completed": 2}
    assert table.director.best().number == 2, "the earliest of equals"
    assert table.director.best("rnn").value == 2.0
    assert table.director.best("tcn") is None


def test_a_learner_may_end_early_but_not_empty_handed():
    table = Table(simple())
    table.next()
    table.report(1, 1)
    assert [e.event for e in table.write(table.director.exhausted(1, 1, 0.0))] == [
        "completed"
    ]
    table.next()
    table.write(table.director.exhausted(2, 1, 0.0))
    assert table.state(2) == "failed"
    assert "without a single epoch" in table.director.trials[2].reason
    assert table.director.exhausted(2, 1, 0.0) == ()


def test_a_missing_metric_fails_the_trial_and_says_what_there_is():
    table = Table(simple())
    table.next()
    epoch = Epoch(1, {"loss": 1.0}, {"rsme": 1.0, "mae": 2.0})
    decision, events = table.director.judge(1, 1, epoch, 0.0)
    table.write(events)
    assert decision == Stop(state="failed")
    assert table.director.trials[1].reason == (
        "the learner reports no `rmse` but mae, rsme"
    )


def test_divergence_comes_first_even_at_the_last_epoch():
    rules = (Rule(name="asha"), Rule(name="patience"), Rule(name="divergence"))
    table = Table(simple(stopping=rules))
    table.next()
    assert table.report(1, 1, NAN)[0] == Stop(state="diverged", rule="divergence")
    table.next()
    for number in (1, 2, 3):
        assert table.report(2, number)[0] == Continue()
    assert table.report(2, 4, NAN)[0] == Stop(state="diverged", rule="divergence")
    table.next()
    decision, events = table.report(3, 1, 1.0, loss=math.inf)
    assert decision.state == "diverged"
    assert [e.event for e in events] == ["epoch", "diverged"]
    assert events[1].epoch == 1


def test_the_last_epoch_completes_whatever_patience_says():
    rules = (Rule(name="patience", options={"epochs": 3}),)
    table = Table(simple(stopping=rules))
    table.next()
    states = [table.report(1, n)[0] for n in range(1, 5)]
    assert states == [*[Continue()] * 3, Stop(state="completed")]


# -- attempts -----------------------------------------------------------------------------


def test_a_dead_process_is_retried_twice_from_the_latest_checkpoint():
    table = Table(simple())
    table.next()
    table.report(1, 1)
    table.saved(1, 1, 1)
    table.report(1, 2)
    for attempt in (1, 2, 3):
        table.write(table.director.lost(1, attempt, "killed", 0.0, retry=True))
        if attempt < 3:
            start = table.next()
            assert (start.trial, start.attempt, start.known) == (1, attempt + 1, 2)
    assert table.sources(1) == [None, 1, 1], "attempt 2 saved nothing"
    assert table.state(1) == "failed"
    why = [e.attempt_of for e in table.events if e.event == "started"]
    assert why == ["first", "retry", "retry"]
    assert table.next().trial == 2


def test_the_driver_dying_spends_no_retry():
    table = Table(simple())
    start = table.next()
    for attempt in range(1, 6):
        assert start.attempt == attempt
        table.write(table.director.interrupt("the driver died", 0.0))
        assert table.state(1) == "pending"
        start = table.next()
    table.write(table.director.lost(1, 6, "killed", 0.0, retry=True))
    assert table.next().attempt == 7
    why = [e.attempt_of for e in table.events if e.event == "started"]
    assert why == ["first", *["resume"] * 5, "retry"]


def test_exceptions_and_stalls_are_not_retried():
    table = Table(simple())
    table.next()
    events = table.write(table.director.lost(1, 1, "stalled", 0.0, retry=False))
    assert [e.event for e in events] == ["failed"]
    assert table.director.trials[1].reason == "stalled"
    assert table.next().trial == 2


def test_interrupted_trials_are_handed_out_first_in_order():
    table = Table(simple(), workers=2)
    table.next(), table.next()
    table.report(2, 1)
    table.saved(2, 1, 1)
    table.write(table.director.interrupt("Ctrl-C", 1.0))
    again = replay(table.study, table.events, workers=1)
    first, _ = again.next(1.0)
    assert (first.trial, first.attempt, first.known) == (1, 2, 0)
    table.next()
    second = table.next()
    assert (second.trial, second.known) == (2, 1)
    assert (table.sources(1), table.sources(2)) == ([None, None], [None, 1])


def test_late_reports_change_nothing():
    table = Table(simple())
    table.next()
    table.write(table.director.lost(1, 1, "killed", 0.0, retry=True))
    table.next()
    assert table.report(1, 1, attempt=1) == (Stop(state="running"), [])
    assert table.director.lost(1, 1, "killed again", 0.0, retry=True) == ()
    for number in range(1, 5):
        table.report(1, number, attempt=2)
    assert table.report(1, 5, attempt=2) == (Stop(state="completed"), [])


# -- epochs trained again -----------------------------------------------------------------


def test_a_known_epoch_is_not_written_again():
    table = Table(simple())
    table.next()
    table.report(1, 1, NAN)
    table.report(1, 2, 2.0)
    table.write(table.director.interrupt("Ctrl-C", 0.0))
    table.next()
    assert table.report(1, 1, NAN, attempt=2) == (Continue(), [])
    assert table.report(1, 2, 2.0, attempt=2) == (Continue(), [])
    assert [e.event for e in table.report(1, 3, 3.0, attempt=2)[1]] == ["epoch"]


def test_another_number_is_noted_once_and_the_first_stands():
    table = Table(simple())
    table.next()
    table.report(1, 1, 2.0)
    for attempt in (2, 3):
        table.write(table.director.interrupt("Ctrl-C", 0.0))
        table.next()
        decision, events = table.report(1, 1, 2.5, attempt=attempt)
        assert decision == Continue()
        assert [e.event for e in events] == ["nondeterminism"] * (attempt == 2)
    noted = next(e for e in table.events if e.event == "nondeterminism")
    assert noted.details() == {
        "epoch": 1, "metric": "valid.rmse", "first": 2.0, "second": 2.5
    }  # fmt: skip
    assert table.director.trials[1].value == 2.0
    assert table.director.trials[1].unequal == [1]


@pytest.mark.parametrize("resumed_by", ["interrupt", "judge"])
def test_a_decision_cut_off_by_death_is_taken_then(resumed_by):
    """The epoch reached the disk, the stop that follows it did not."""
    table = Table(simple(stopping=(Rule(name="asha"),)))
    table.next()
    for number in range(1, 5):
        table.report(1, number, 1.0)
    table.next()
    _, (written, lost) = table.report(2, 1, 2.0)
    assert (written.event, lost.event) == ("epoch", "stopped")
    table.director = replay(table.study, table.events[:-1], workers=1)
    if resumed_by == "interrupt":
        (event,) = table.director.interrupt("the driver died", 0.0)
    else:
        epoch = Epoch(1, {"loss": 1.0}, {"rmse": 2.0})
        decision, (event,) = table.director.judge(2, 1, epoch, 0.0)
        assert decision == Stop(state="stopped", rule="asha")
    assert structs.replace(event, n=lost.n) == lost


def test_a_decision_once_taken_is_not_taken_again():
    """Two workers: what others reached later does not stop a trial at an old rung."""
    table = Table(simple(stopping=(Rule(name="asha"),)), workers=2)
    table.next(), table.next()
    assert table.report(1, 1, 2.0)[0] == Continue()
    assert table.report(2, 1, 1.0)[0] == Continue(), (
        "now trial 1 would be second of two"
    )
    table.write(table.director.interrupt("Ctrl-C", 0.0))
    assert {table.state(1), table.state(2)} == {"pending"}
    table.next(), table.next()
    assert table.report(1, 1, 2.0, attempt=2)[0] == Continue()


# -- budgets ------------------------------------------------------------------------------


def test_total_epochs_end_the_run_exactly():
    table = Table(simple(budget=Budget(trials=9, epochs=4, total_epochs=6)))
    for _ in range(2):
        start = table.next()
        for number in range(1, 5):
            decision, _ = table.report(start.trial, number)
            if isinstance(decision, Stop):
                break
    assert table.director.epochs == 6
    assert decision.state == "cancelled"
    assert "epochs" in table.director.trials[2].reason
    assert table.next() == Done("epochs")


def test_time_cancels_what_runs_and_what_waits():
    table = Table(simple(budget=Budget(trials=9, epochs=4, seconds=10)), workers=2)
    table.next(1.0), table.next(1.0)
    table.write(table.director.lost(2, 1, "killed", 2.0, retry=True))
    assert table.director.expire(9.9) == ()
    assert table.next(10.0) == Wait(), "nothing starts, though a worker is free"
    assert len(table.write(table.director.expire(10.0))) == 2
    assert table.director.counts() == {"cancelled": 2}
    assert table.next(10.0) == Done("time")
    assert table.director.elapsed == 10.0


def test_time_used_up_between_two_drivers():
    table = Table(simple(budget=Budget(trials=9, epochs=4, seconds=10)))
    table.next(1.0)
    table.write(table.director.interrupt("Ctrl-C", 11.0))
    table.director = replay(table.study, table.events, workers=1)
    assert table.next(table.director.elapsed) == Done("time")
    assert table.director.counts() == {"cancelled": 1}, (
        "a finished run waits for nothing"
    )


def test_a_report_after_time_is_up_is_kept():
    table = Table(simple(budget=Budget(trials=9, epochs=4, seconds=10)))
    table.next(1.0)
    decision, events = table.report(1, 1, elapsed=10.5)
    assert [e.event for e in events] == ["epoch", "cancelled"]
    assert decision.state == "cancelled"


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ((Objective(), Objective()), "name a metric twice"),
        ((Objective(metric="parameters"),), "best epoch, which `parameters` cannot"),
    ],
)
def test_objectives_it_cannot_weigh_are_refused(objectives, message):
    with pytest.raises(StudyError, match=message):
        Director(simple(objectives=objectives), workers=1)


@pytest.mark.parametrize(
    "event",
    [
        CheckpointEvent(trial=9, attempt=1, epoch=1),
        Started(trial=1, attempt=3, attempt_of="x", epoch=0),
        Started(trial=1, attempt=2, attempt_of="x", epoch=0),
        Completed(trial=1, attempt=2, epoch=1),
        Paused(trial=1, attempt=1, epoch=1),
        Proposed(trial=2, family="cnn", number=0, params={}, seed=1),
        Proposed(trial=3, family="rnn", number=1, params={}, seed=1),
        Proposed(trial=2, family="rnn", number=5, params={}, seed=1),
    ],
)
def test_events_that_cannot_follow_are_refused(event):
    table = Table(simple())
    table.next()
    before = dict(table.director.trials)
    with pytest.raises(RunError, match="line 3 of the ledger contradicts") as caught:
        table.director.apply(structs.replace(event, n=3))
    assert caught.value.hint
    assert dict(table.director.trials) == before


def test_the_view_of_the_trials_is_read_only():
    table = Table(simple())
    table.next()
    with pytest.raises(TypeError):
        table.director.trials[1] = None


# -- cost ---------------------------------------------------------------------------------


def test_an_event_costs_the_same_in_a_long_run():
    """2,000 trials × 10 epochs: the last fifth takes no longer than twice the first."""
    table = Table(simple(budget=Budget(trials=2000, epochs=10)))
    laps, begun = [], time.process_time()
    while isinstance(start := table.next(), Start):
        for number in range(1, 11):
            table.report(start.trial, number, 1.0 / start.trial)
        if start.trial % 400 == 0:
            now = time.process_time()
            laps.append(now - begun)
            begun = now
    assert table.director.counts() == {"completed": 2000}
    assert laps[-1] < 2 * laps[0] + 0.2, laps
