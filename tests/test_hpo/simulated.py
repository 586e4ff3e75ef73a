"""A trainer that is a pure function of (params, seed, epoch), and a trial loop that can be killed.

`create` is a learner like anybody's (`fit_iter`, `save`, `restore`), for tests of executors.
`SimulatedLoop` drives a Director over an in-memory ledger on a simulated clock: every event goes
through its line of JSON, and `kill` ends everything after (or just before) a given event.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from msgspec import structs
from optuna.distributions import FloatDistribution

from hpo.director import Director, replay
from hpo.director.decisions import Continue, Done, Pause, Start, Stop
from hpo.ledger.events import CheckpointEvent, Event
from hpo.ledger.lines import from_line
from hpo.seeds import derive
from hpo.study import Budget, Family, Rule, Study
from hpo.testing.samplers import SPACE
from models.training.protocol import Epoch
from search_spaces.space import Space


def curve(params, seed: int, number: int) -> Epoch:
    """The epoch that a trial of these parameters and this seed has, always."""
    rate = float(params.get("rate", 0.1))
    level = abs(math.log10(rate) + 2) + 0.3 * params.get("layers", 1)
    level += {"gru": 0.0, "lstm": 0.4, None: 1.0}[params.get("kind")]
    noise = derive(seed, "noise", number) / 2**32
    settled = min(number, 2 + derive(seed, "settles") % 9)
    value = level + 3.0 / settled + 0.2 * noise + params.get("dropout", 0.0)
    if derive(seed, "nan") % 9 == 0 and number > derive(seed, "when") % 7:
        value = math.nan
    if derive(seed, "explodes") % 11 == 0 and number > 2:
        value = value * 1e6
    return Epoch(number, {"loss": value * 2}, {"rmse": value, "fit": -value}, 0.25, 0.0)


class SimulatedLearner:
    """Walks along `curve`; what it saves is the number of its last epoch."""

    def __init__(self, config, context) -> None:
        self.config, self.context, self.done = dict(config), context, 0

    def fit_iter(self, epochs):
        stored, self.done = self.done, 0
        while self.done < max(epochs, stored):
            self.done += 1
            yield curve(self.config, self.context.seed, self.done)

    def save(self, directory) -> None:
        (Path(directory) / "checkpoint.json").write_text(json.dumps(self.done))

    def restore(self, directory) -> None:
        self.done = json.loads((Path(directory) / "checkpoint.json").read_text())

    @property
    def parameters(self) -> int:
        return 7 * int(self.config.get("layers", 1))

    @property
    def configuration(self):
        return self.config


def create(config, context) -> SimulatedLearner:
    return SimulatedLearner(config, context)


def study(**changes) -> Study:
    """Two families that search and one that does not; a third of the trials goes bad."""
    families = (
        Family(
            name="rnn",
            space=SPACE,
            create="tests.test_hpo.simulated:create",
            initial_points=({"kind": "gru", "rate": 0.01, "layers": 1},),
        ),
        Family(
            name="tcn",
            space=Space({"rate": FloatDistribution(1e-3, 1.0, log=True), "depth": 4}),
            create="tests.test_hpo.simulated:create",
            share=0.5,
        ),
        Family(
            name="linear",
            space=Space({"order": 5}),
            create="tests.test_hpo.simulated:create",
            trials=1,
            epochs=1,
        ),
    )
    settings = {
        "name": "simulated",
        "families": families,
        "budget": Budget(trials=12, epochs=9),
        "sampler": Rule(name="tpe", options={"startup": 3}),
        "stopping": (
            Rule(name="divergence"),
            Rule(name="asha"),
            Rule(name="patience", options={"epochs": 3, "min_delta": 0.01}),
        ),
        "seed": 5,
    }
    return Study(**{**settings, **changes})


class Killed(BaseException):
    """The driver is gone."""


class MemoryLedger:
    """Lines in a list; dies when told to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last: int | None = None  # the last event that still reaches the disk
        self.mercy = False  # whether death waits for the next write

    @property
    def events(self) -> list[Event]:
        return [from_line(line.encode()) for line in self.lines]

    def append(self, event: Event) -> Event:
        if self.last is not None and len(self.lines) >= self.last:
            raise Killed
        stamped = structs.replace(event, n=len(self.lines) + 1, time=0.0)
        self.lines.append(stamped.to_line())
        if self.last == len(self.lines) and not self.mercy:
            raise Killed
        return from_line(self.lines[-1].encode())


class SimulatedLoop:
    """Carries out decisions with `workers` simulated workers; survives `Killed`.

    `files` is the disk with the checkpoints: (trial, attempt) → epoch, saved before the
    report as a worker does, every `cadence` epochs and at rungs.
    """

    def __init__(self, study: Study, *, workers: int = 1, cadence: int = 2) -> None:
        self.study, self.workers, self.cadence = study, workers, cadence
        self.ledger, self.files, self.trained = MemoryLedger(), {}, []
        self.director = Director(study, workers=workers)
        self.active: dict[int, tuple[Start, object]] = {}
        self.time = 0.0

    def write(self, events) -> None:
        for event in events:
            self.director.apply(self.ledger.append(event))

    def resume(self) -> None:
        """Go on with the ledger of a killed driver, as a new one does."""
        self.ledger.last = None
        self.active = {}
        self.director = replay(self.study, self.ledger.events, workers=self.workers)
        self.time = self.director.elapsed
        self.write(self.director.interrupt("the driver died", self.time))

    def epochs(self, start: Start):
        """The epochs an attempt reports: those its checkpoint carries, then new ones."""
        saved = 0
        source = self.director.trials[start.trial].restore_from
        if source is not None:
            saved = self.files[start.trial, source]
        for number in range(min(start.known, saved) + 1, start.epochs + 1):
            if number <= saved and number <= start.known:
                continue
            if number > saved:
                self.trained.append((start.trial, number))
                if number % self.cadence == 0 or number in start.rungs:
                    self.files[start.trial, start.attempt] = number
            yield curve(start.params, start.seed, number)

    def fill(self) -> bool:
        """Start what may be started; False when the run is done."""
        while True:
            decision, events = self.director.next(self.time)
            self.write(events)
            if not isinstance(decision, Start):
                return not isinstance(decision, Done)
            self.active[decision.trial] = decision, self.epochs(decision)

    def step(self, trial: int) -> None:
        """One epoch of one running trial."""
        start, epochs = self.active[trial]
        self.time += 0.25
        before = self.files.get((trial, start.attempt))
        epoch = next(epochs, None)
        if epoch is None:
            self.write(self.director.exhausted(trial, start.attempt, self.time))
            del self.active[trial]
            return
        decision, events = self.director.judge(trial, start.attempt, epoch, self.time)
        told = [e for e in events if e.event in ("epoch", "nondeterminism")]
        self.write(told)
        after = self.files.get((trial, start.attempt))
        if after != before:
            data = {"epoch": after}
            self.write(
                [CheckpointEvent(trial=trial, attempt=start.attempt, elapsed=self.time, **data)]
            )  # fmt: skip
        self.write(events[len(told) :])
        if isinstance(decision, (Pause, Stop)):
            del self.active[trial]
        else:
            assert isinstance(decision, Continue)

    def run(self, choose=min) -> None:
        """Until done; `choose` picks the running trial that reports next."""
        while self.fill():
            self.step(choose(sorted(self.active)))
            self.write(self.director.expire(self.time))
            self.active = {n: a for n, a in self.active.items() if n in self.running}

    @property
    def running(self):
        return self.director.running


def story(events) -> list[tuple]:
    """The decisions and numbers of a ledger, without attempts, checkpoints and times."""
    told = []
    for event in events:
        if event.event in ("started", "interrupted", "checkpoint", "run", "note"):
            continue
        data = {k: v for k, v in event.details().items() if k != "reason"}
        told.append((event.event, event.trial, repr(sorted(data.items()))))
    return told


def outcome(director: Director) -> list[tuple]:
    """Configurations, states and values of all trials, comparable with `==`."""
    return [
        (t.number, t.family, t.index, repr(t.params), t.seed, t.state, t.rule, t.origin,
         t.last, t.best_epoch, repr(t.value), repr(sorted(t.values.items())))
        for t in director.trials.values()
    ]  # fmt: skip
