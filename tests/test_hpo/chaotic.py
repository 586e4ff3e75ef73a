"""Simulated runs with faults on purpose, so that thousands of them are cheap."""

from __future__ import annotations

import os
from contextlib import suppress

from hpo.chaos import Chaos
from hpo.errors import RunError
from hpo.ledger.events import Event, RunEvent
from hpo.study import Study
from tests.test_hpo.seated import Died, SeatedLoop
from tests.test_hpo.simulated import Killed, MemoryLedger


class FaultyMemory(MemoryLedger):
    """As `hpo.ledger.faulty`, in a list."""

    def __init__(self, chaos: Chaos) -> None:
        super().__init__()
        self.chaos = chaos

    def append(self, event: Event) -> Event:
        number = len(self.lines) + 1
        if number in self.chaos.disk_full and not isinstance(event, RunEvent):
            raise RunError(os.strerror(28))
        written = super().append(event)
        if number in self.chaos.driver:
            raise Killed
        return written


class ChaoticLoop(SeatedLoop):
    """Workers that die, hang and dawdle, epochs that are spoiled, and drivers that end."""

    def __init__(self, study: Study, chaos: Chaos, *, workers: int, seed: int) -> None:
        super().__init__(study, workers=workers, seed=seed)
        self.chaos, self.ledger = chaos, FaultyMemory(chaos)
        self.drivers = 0

    def suffer(self, start, number) -> None:
        self.time += self.chaos.delay(start.trial, number)
        if self.chaos.dies(start.trial, number, deaths=start.deaths):
            raise Died
        if self.chaos.hangs(start.trial, number):
            raise ValueError("stalled")

    def curve(self, start, number):
        return self.chaos.spoiled(start.trial, super().curve(start, number))

    def begin(self, action: str) -> None:
        self.drivers += 1
        self.write([RunEvent(action=action, elapsed=self.time)])

    def taken_up(self) -> None:
        self.begin("resume")

    def to_the_end(self) -> None:
        """Resumed as often as it takes."""
        step = self.launched
        while True:
            try:
                step()
                self.run()
                return
            except Killed:
                pass
            except RunError:
                with suppress(RunError, Killed):
                    self.write(self.director.interrupt("the driver failed", self.time))
            step = self.resume

    def launched(self) -> None:
        self.begin("launch")
