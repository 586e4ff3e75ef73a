"""The live view: its running sums against a scan of the whole ledger, and its looks."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from msgspec import structs

from hpo.director import Director
from hpo.ledger.events import (
    Completed,
    EpochEvent,
    Failed,
    Paused,
    Proposed,
    RunEvent,
    Started,
    Stopped,
)
from hpo.live import terminal
from hpo.live.frame import Frame
from hpo.live.progress import Progress
from hpo.live.statistics import LiveStatistics
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.trials.reducer import Reducer
from tests.test_hpo import sample_run, simulated


def simulated_run(study=None, *, workers=2, seed=1):
    """A run with retries, stops, divergences and two workers, to its end."""
    loop = simulated.SimulatedLoop(study or simulated.study(), workers=workers)
    loop.run(random.Random(seed).choice)
    return loop


class Counted:
    """Statistics beside the records they are told of."""

    def __init__(self, study):
        self.statistics, self.reducer = LiveStatistics(study), Reducer.of(study)

    def apply(self, event):
        self.statistics.apply(event, self.reducer.apply(event))


def statistics_of(study, events):
    counted = Counted(study)
    for event in events:
        counted.apply(event)
    return counted.statistics


def scanned(events, director):
    """The oracle: everything counted anew from all events and trials."""
    trials = director.trials.values()
    reached = Counter()
    for t in trials:
        rungs = director._state.rung_table(t.family).rungs(t.index)
        reached.update((t.family, e) for e in t.epochs if e in rungs)
    return {
        "ended": sum(t.ended for t in trials),
        "training": sum(t.seconds for t in trials),
        "compiling": sum(t.compile_seconds for t in trials),
        "reached": dict(reached),
        "done": sum(1.0 if t.ended else t.last / t.budget for t in trials),
        "paused": sum(t.state == "paused" for t in trials),
        "elapsed": max((e.elapsed for e in events), default=0.0),
    }


def summed(statistics):
    families = statistics.families.items()
    return {
        "ended": statistics.ended,
        "training": pytest.approx(statistics.training),
        "compiling": pytest.approx(statistics.compiling),
        "reached": {(n, e): c for n, f in families for e, c in f.reached.items() if c},
        "done": pytest.approx(sum(f.done for _, f in families)),
        "paused": sum(f.paused for _, f in families),
        "elapsed": statistics.elapsed,
    }


SCREENED = simulated.study(
    stopping=(
        Rule(name="divergence"),
        Rule(name="screening", options={"epochs": 3, "keep": 2}),
    )
)
BRACKETS = simulated.study(stopping=(Rule(name="hyperband"),))


@pytest.mark.parametrize("study", [simulated.study(), SCREENED, BRACKETS])
def test_the_sums_are_those_of_a_scan_after_every_event(study):
    loop = simulated_run(study)
    events, director, statistics = loop.ledger.events, Director(study, workers=2), None
    statistics = LiveStatistics(study)
    for i, event in enumerate(events):
        director.apply(event)
        statistics.apply(event, director.trials.get(event.trial))
        if i % 5 == 0 or i == len(events) - 1:
            assert scanned(events[: i + 1], director) == summed(statistics)
    assert statistics.fraction == 1.0 and statistics.left().seconds == 0.0


def test_killed_and_resumed_the_sums_are_the_same():
    loop = simulated.SimulatedLoop(simulated.study(), workers=2)
    loop.ledger.last = 40
    with pytest.raises(simulated.Killed):
        loop.run()
    loop.resume()
    loop.run()
    statistics = statistics_of(loop.study, loop.ledger.events)
    assert scanned(loop.ledger.events, loop.director) == summed(statistics)


def drawn(progress, director, capsys=None):
    """A frame's lines, and the head with the bar as text."""
    group = progress._view(director)
    return [str(line) for line in group.renderables[1:]]


@pytest.mark.parametrize("kept", [0, 17, 60])
def test_a_view_attached_later_shows_the_same(kept):
    loop = simulated_run()
    events = loop.ledger.events
    director = Director(loop.study, workers=2)
    early, late = (Progress(loop.study, live=False, wall=lambda: 0.0) for _ in range(2))
    for i, event in enumerate(events[: len(events) * 2 // 3]):
        director.apply(event)
        early.event(event, director)
        if i < kept:
            late.recall(event, director)
        else:
            late.event(event, director)
    assert drawn(early, director) == drawn(late, director)
    assert early._frame.status(director) == late._frame.status(director)


class Unscannable(dict):
    """Trials by number that nobody may walk through."""

    asked = 0

    def __getitem__(self, key):
        self.asked += 1
        return super().__getitem__(key)

    def _refuse(self, *_):
        raise AssertionError("a refresh must not scan the trials")

    __iter__ = items = values = keys = __len__ = _refuse


def test_a_refresh_looks_at_no_more_trials_than_it_shows(monkeypatch):
    loop = simulated_run()
    events = loop.ledger.events[:-30]
    director, progress = Director(loop.study, workers=2), None
    progress = Progress(loop.study, live=False)
    for event in events:
        director.apply(event)
        progress.recall(event, director)
    trials = Unscannable(director.trials)
    monkeypatch.setattr(Director, "trials", property(lambda self: trials))
    progress._view(director)
    progress._frame.status(director)
    progress._ended(dict.__getitem__(trials, 1), director)
    assert trials.asked <= len(director.running)


# -- pace, shares, time left --------------------------------------------------------------


def steady(*, budget=None, stopping=(), workers=2):
    return Study(
        name="steady",
        families=(Family(name="rnn", space=simulated.SPACE),),
        budget=budget or Budget(trials=10, epochs=4),
        stopping=stopping,
        resources=Resources(workers=workers),
    )


def rounds(count, *, epochs=4, workers=2, seconds=1.5, compiling=0.5, gap=1.0):
    """Trials side by side: each begins after a gap, compiles once, trains its epochs."""
    out, now, number = [], 0.0, 0
    for _ in range(count):
        numbers = [number + i + 1 for i in range(workers)]
        number += workers
        for n in numbers:
            head = {"family": "rnn", "number": n - 1, "params": {}, "seed": 1}
            out.append(Proposed(trial=n, elapsed=now, **head))
            begin = {"attempt_of": "first", "epoch": 0}
            out.append(Started(trial=n, attempt=1, elapsed=now, **begin))
        now += gap
        for epoch in range(1, epochs + 1):
            first = compiling if epoch == 1 else 0.0
            now += seconds + first
            for n in numbers:
                data = {
                    "epoch": epoch,
                    "train": {},
                    "valid": {"rmse": 1.0 / epoch},
                    "seconds": seconds,
                    "compile_seconds": first,
                }
                out.append(EpochEvent(trial=n, attempt=1, elapsed=now, **data))
        for n in numbers:
            end = {"epoch": epochs}
            out.append(Completed(trial=n, attempt=1, elapsed=now, **end))
    return out


def test_shares_of_the_workers_time_add_up():
    shares = statistics_of(
        steady(), rounds(3)
    ).shares()  # 7.5 s: 6 train, 0.5 compile, 1 idle
    assert shares.training == pytest.approx(6 / 7.5)
    assert shares.compiling == pytest.approx(0.5 / 7.5)
    assert shares.idle == pytest.approx(1 / 7.5)


def test_an_epoch_in_progress_is_no_idleness():
    events = rounds(1)
    cut = [e for e in events if e.elapsed <= 3.0 or e.trial == 1]
    statistics = statistics_of(
        steady(), cut[:-1]
    )  # the other one has been silent since second 3
    assert statistics.elapsed == 7.5
    assert statistics.shares().idle == pytest.approx(2 * 1.0 / 15)


def test_pace_is_that_of_the_last_minutes():
    statistics = statistics_of(steady(budget=Budget(trials=400, epochs=4)), rounds(100))
    assert statistics.epochs_per_minute == pytest.approx(8 / 7.5 * 60, rel=0.05)
    assert statistics.trials_per_hour == pytest.approx(2 / 7.5 * 3600)
    events = rounds(100)
    end = events[-1].elapsed
    for event in rounds(30, seconds=15.0, gap=0.0, compiling=0.0):
        changes = {"trial": event.trial + 200, "elapsed": event.elapsed + end}
        if event.event == "proposed":
            changes["number"] = event.number + 200
        events.append(structs.replace(event, **changes))
    slow = statistics_of(steady(budget=Budget(trials=400, epochs=4)), events)
    assert slow.epochs_per_minute == pytest.approx(2 / 15 * 60, rel=0.1)
    assert slow.trials_per_hour > 3600 * 260 / slow.elapsed * 0.99


def test_time_left_is_what_the_run_then_takes():
    events = rounds(5)
    for done in (1, 2, 3, 4):
        part = [e for e in events if (e.trial or 0) <= 2 * done]
        left = statistics_of(steady(), part).left()
        assert left.kind == "about"
        assert left.seconds == pytest.approx((5 - done) * 7.5)


def test_who_outlived_the_average_goes_on_to_the_end():
    long = rounds(1, epochs=8)
    short = [
        Stopped(trial=1, attempt=1, elapsed=e.elapsed, epoch=2, rule="asha")
        if e.event == "epoch" and e.epoch == 3
        else e
        for e in long
        if e.trial == 1
        and (e.event in ("proposed", "started") or e.epoch <= 3)
        and e.event != "completed"
    ]
    study = steady(budget=Budget(trials=2, epochs=8))
    other = [e for e in long if e.trial == 2 and e.event != "completed"][:-2]
    left = statistics_of(
        study, sorted([*short, *other], key=lambda e: e.elapsed)
    ).left()
    # six epochs of 1.5 s are done, the ended one took 3.5 s: two more epochs to go
    each = (3.5 + 9.5) / 8
    busy = statistics_of(
        study, sorted([*short, *other], key=lambda e: e.elapsed)
    ).shares()
    assert left.kind == "about"
    assert left.seconds == pytest.approx(2 * each / (1 - busy.idle))


def test_a_trial_that_fails_at_once_says_nothing_of_the_others():
    events = rounds(1)[:4]
    failed = Failed(trial=1, attempt=1, reason="ValueError", epoch=0)
    assert statistics_of(steady(), [*events, failed]).left().seconds is None


def test_time_left_is_unknown_then_bounded_then_known():
    events, study = rounds(1), steady()
    assert statistics_of(study, []).left().seconds is None
    assert statistics_of(study, events[:4]).left().seconds is None
    first = [e for e in events if e.elapsed <= 3.0]
    bound = statistics_of(study, first).left()
    assert bound.kind == "at most"
    # 39 epochs at 2 s each, compiling included; the second is on its way, 1 s of 3 idle
    assert bound.seconds >= 5 * 7.5 - 3.0
    assert statistics_of(study, events).left().kind == "about"


def test_paused_trials_leave_only_a_bound():
    study = steady(stopping=(Rule(name="screening", options={"epochs": 4, "keep": 1}),))
    paused = [
        Paused(trial=e.trial, attempt=1, elapsed=e.elapsed, epoch=4, rule="screening")
        if e.event == "completed" and e.trial == 1
        else e
        for e in rounds(2)
    ]
    assert statistics_of(study, paused).left().kind == "at most"


def test_limits_of_the_run_end_it_earlier():
    seconds = steady(budget=Budget(trials=10, epochs=4, seconds=20.0))
    left = statistics_of(seconds, rounds(2)).left()
    assert (left.kind, left.seconds) == ("limit", 5.0)
    epochs = steady(budget=Budget(trials=10, epochs=4, total_epochs=24))
    left = statistics_of(epochs, rounds(2)).left()
    assert left.kind == "limit" and left.seconds == pytest.approx(7.5)
    far = steady(budget=Budget(trials=10, epochs=4, seconds=1e6))
    assert statistics_of(far, rounds(2)).left().kind == "about"


def test_trials_carried_over_took_no_time_of_this_run():
    carried = [
        structs.replace(
            e,
            elapsed=0.0,
            **({"origin": "carried"} if e.event == "proposed" else {}),
        )
        for e in rounds(1)
    ]
    statistics = statistics_of(steady(), carried)
    assert (statistics.ended, statistics.training, statistics.trials_per_hour) == (
        2,
        0.0,
        None,
    )
    assert statistics.shares() is None and statistics.left().seconds is None
    assert statistics.fraction == pytest.approx(0.2)


# -- looks --------------------------------------------------------------------------------


def frame(study, events, *, width, now=47.0, workers=2):
    director = Director(study, workers=workers)
    statistics = LiveStatistics(study)
    for event in events:
        director.apply(event)
        statistics.apply(event, director.trials.get(event.trial))
    drawing = Frame(study, statistics)
    return [*drawing.lines(director, width=width, now=now), drawing.status(director)]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_frames_look_as_they_should(width):
    study = sample_run.STUDY.replace(resources=Resources(workers=1))
    events = [structs.replace(e, time=e.elapsed) for e in sample_run.events()]
    one = frame(study, events, width=width, now=150.0)
    loop = simulated_run(simulated.study(resources=Resources(workers=2)), seed=3)
    events = loop.ledger.events[: len(loop.ledger.events) * 2 // 3]
    two = frame(loop.study, events, width=width)
    assert all(len(line) <= width for line in (*one[:-1], *two[:-1]))
    text = "\n".join([*one, "", *two]) + "\n"
    sample_run.check_golden(f"watch-{width}.txt", text)


def test_a_run_that_has_only_begun_has_a_frame():
    study = simulated.study()
    lines = frame(study, [RunEvent(action="launch")], width=80)
    assert lines[0] == "12 to come" and lines[-1].endswith("time left unknown")


def test_colour_and_bars_are_those_the_stream_can_take(monkeypatch, tmp_path):
    import io

    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    utf = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    bars = "▁▂▃▄▅▆▇█× 43 µV – 1 … 3"
    for name in ("LC_ALL", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert terminal.encodable(bars, utf) == bars
    told = terminal.encodable(bars, plain)
    assert told == "_.:-=+*#x 43 uV - 1 ~ 3" and len(told) == len(bars)
    monkeypatch.setenv("LANG", "C")
    assert terminal.encodable(bars, utf) == told
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert terminal.encodable(bars, utf) == bars
    assert terminal.encodable("größe", plain) == "gr\\xf6\\xdfe"


def test_the_workers_of_a_cluster_are_those_that_are_there():
    from hpo.ledger.events import Capacity
    from hpo.live.statistics import LiveStatistics
    from hpo.testing import executors as suite

    study = suite._study("ray", ("none",), workers=3)
    statistics = LiveStatistics(study)
    assert statistics.workers == 3
    for workers, told in ((5, 5), (0, 1)):
        event = Capacity(n=1, workers=workers, nodes={}, reason="a test")
        statistics.apply(event, None)
        assert statistics.workers == told
