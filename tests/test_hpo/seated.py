"""A run in virtual order with simulated workers: any number, any delays, deaths and kills."""

from __future__ import annotations

import random

from hpo.director import Director, replay
from hpo.director.decisions import Continue, Done, Start
from hpo.director.virtual import VirtualOrder
from hpo.ledger.events import CheckpointEvent
from hpo.study import Study
from tests.test_hpo.simulated import SimulatedLoop, curve


class Died(Exception):
    """A worker's process is gone."""


class SeatedLoop(SimulatedLoop):
    """`SimulatedLoop` in virtual order.

    Workers train ahead; who reports next is drawn. A worker dies with probability `deaths` before
    a step (never for the third time in a trial), and what it has not saved is gone with it.
    """

    def __init__(
        self,
        study: Study,
        *,
        workers: int = 1,
        cadence: int = 2,
        deaths: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(study, workers=workers, cadence=cadence)
        self.chance, self.deaths = random.Random(seed), deaths
        self.ends: dict[int, int] = {}  # trials whose learner ends by itself, and when
        self.failing: dict[int, int] = {}  # trials that raise, and when
        self.director = Director(study, workers=study.resources.seats)
        self._seat()

    def _seat(self) -> None:
        self.order = VirtualOrder(
            self.director, take=self.take, write=self.write, elapsed=lambda: self.time
        )

    def resume(self) -> None:
        self.ledger.last, self.active = None, {}
        seats = self.study.resources.seats
        self.director = replay(self.study, self.ledger.events, workers=seats)
        self.time = self.director.elapsed
        self._seat()
        self.taken_up()
        self.write(self.director.interrupt("the driver died", self.time))

    def taken_up(self) -> None:
        """What a new driver writes first."""

    def newest(self, start: Start) -> int:
        """What the newest checkpoint of a trial's training holds, on the disk."""
        for attempt in range(start.attempt - 1, start.since - 1, -1):
            if (start.trial, attempt) in self.files:
                return self.files[start.trial, attempt]
        return self.files.get(start.donor, 0) if start.donor else 0

    def epochs(self, start: Start):
        saved = self.newest(start)
        for number in range(min(start.known, saved) + 1, start.epochs + 1):
            if number <= saved and number <= start.known:
                continue
            if number == self.ends.get(start.trial):
                return
            if number == self.failing.get(start.trial):
                raise ValueError("as it was told to")
            if number > saved:
                self.trained.append((start.trial, number))
                self.suffer(start, number)
                if number % self.cadence == 0 or number in start.rungs:
                    self.files[start.trial, start.attempt] = number
            yield self.curve(start, number)

    def suffer(self, start: Start, number: int) -> None:
        """What happens at the end of an epoch, before anything of it is saved."""

    def curve(self, start: Start, number: int):
        return curve(start.params, start.seed, number)

    def take(self, trial: int, held) -> None:
        attempt, epoch, saved, reason = held
        if reason is not None:
            retry = reason == "died"
            self.write(
                self.director.lost(trial, attempt, reason, self.time, retry=retry)
            )
            return
        if epoch is None:
            self.write(self.director.exhausted(trial, attempt, self.time))
            return
        _, events = self.director.judge(trial, attempt, epoch, self.time)
        told = [e for e in events if e.event in ("epoch", "nondeterminism")]
        self.write(told)
        if saved is not None:
            event = CheckpointEvent(
                trial=trial, attempt=attempt, elapsed=self.time, epoch=saved
            )
            self.write([event])
        self.write(events[len(told) :])

    def running_still(self, start: Start) -> bool:
        trial = self.director.trials[start.trial]
        return trial.state == "running" and trial.attempt == start.attempt

    def step(self, trial: int) -> None:
        start, epochs = self.active[trial]
        self.time += self.chance.choice((0.25, 0.5, 7.0))
        deaths = self.director.trials[trial].deaths
        if deaths < 2 and self.chance.random() < self.deaths:
            self.die(trial, start)
            return
        before, reason = self.files.get((trial, start.attempt)), None
        try:
            epoch = next(epochs, None)
        except Died:
            self.die(trial, start)
            return
        except ValueError as error:
            epoch, reason = None, str(error)
        after = self.files.get((trial, start.attempt))
        saved = after if after != before else None
        if not self.running_still(start):
            del self.active[trial]
            return
        held = (start.attempt, epoch, saved, reason)
        answer = self.order.report(trial, epoch, held)
        if isinstance(answer, Continue):
            return
        if epoch is not None:  # the session is closed, which saves it
            done = max(n for t, n in self.trained if t == trial)
            self.files[trial, start.attempt] = max(done, self.newest(start))
        del self.active[trial]

    def die(self, trial: int, start: Start) -> None:
        """A worker's process is gone, and with it what was not saved."""
        del self.active[trial]
        if self.running_still(start):
            self.take(trial, (start.attempt, None, None, "died"))
            self.order.lost(trial)

    def fill(self) -> bool:
        while len(self.active) < self.workers:
            decision = self.order.next()
            if not isinstance(decision, Start):
                assert self.active or isinstance(decision, Done), "nobody can go on"
                break
            assert decision.trial not in self.active, "it has a worker"
            self.active[decision.trial] = decision, self.epochs(decision)
        return bool(self.active)

    def run(self, choose=None) -> None:
        choose = choose or self.chance.choice
        while self.fill():
            self.step(choose(sorted(self.active)))
        assert all(t.ended for t in self.director.trials.values())


def decided(events) -> list[tuple]:
    """What is the same with any number of workers, in the order of the ledger.

    Configurations, epochs, ends, pauses, promotions and exploits; without attempts, interruptions,
    checkpoints, times and words.
    """
    told = []
    for event in events:
        if event.event == "started" and event.attempt_of == "promoted":
            told.append((event.event, event.trial, event.epoch))
        elif event.event == "epoch":
            numbers = repr(sorted((event.train | event.valid).items()))
            told.append((event.event, event.trial, event.epoch, numbers))
        elif event.event not in ("started", "interrupted", "checkpoint", "run", "note"):
            data = {k: v for k, v in event.details().items() if k != "reason"}
            told.append((event.event, event.trial, repr(sorted(data.items()))))
    return told
