"""An active run: its folder is held, its ledger open, its executor at work until it ends."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpo.chaos import Chaos
from hpo.director import Director
from hpo.director.decisions import Done
from hpo.errors import RunError
from hpo.ledger.events import Capacity, Event, Extended, Note, RunEvent
from hpo.ledger.faulty import FaultyLedger
from hpo.ledger.folder import RunFolder
from hpo.ledger.lease import Keeper, Lease, Request
from hpo.ledger.log import Ledger, events_of
from hpo.run.driver import STOP_FILE, identity
from hpo.run.evaluations import Evaluations
from hpo.run.executor import Plan, find
from hpo.run.loop import TrialLoop
from hpo.run.observer import Observer
from hpo.run.signals import Stop
from hpo.study import Study


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a launch or a resume ended.

    Attributes:
        state: ``finished``, ``time`` (a limit of the budget was reached; also final), or
            ``interrupted`` (can be resumed).
        folder: The run's folder.
        study: The study that ran, resolved.
        reason: In words; empty when finished.
        limit: The limit that was reached, ``time`` or ``epochs``; empty for none.
    """

    state: Literal["finished", "time", "interrupted"]
    folder: Path
    study: Study
    reason: str = ""
    limit: str = ""


class ActiveRun:
    """One run and its one driver, this process; searches and re-runs alike.

    Args:
        study: What runs, resolved.
        data: The data reference that workers get.
        creates: ``module:function`` or a shipped callable by family.
        folder: The run's folder, which this process has acquired.
        machine: How the executor uses the machine.
        observer: Is told what happens.
        kernels: The compiled kernels to compute with as long as no trial has told its own.
        before_test: Called before the ledger says that the test part is read.
        chaos: Faults on purpose; None for none.

    Attributes:
        director: The brain; it knows every trial.
        evaluations: What the trials made of another part of the data.

    Raises:
        StudyError: The study cannot be directed.
    """

    def __init__(
        self,
        *,
        study: Study,
        data: Any,
        creates: Mapping[str, str | bytes],
        folder: RunFolder,
        machine: Plan,
        observer: Observer,
        kernels: str | None = None,
        before_test: Callable[[], None] = lambda: None,
        chaos: Chaos | None = None,
    ) -> None:
        self.study = study
        self.folder = folder
        seats = study.resources.seats if study.resources.virtual else machine.workers
        self.director = Director(study, workers=seats)
        self.evaluations = Evaluations(study.evaluate)
        self._data = data
        self._creates = creates
        self._machine = machine
        self._observer = observer
        self._kernels = kernels
        self._before_test = before_test
        self._chaos = chaos
        self._before = self.director.workers  # by the ledger

    def until_it_ends(
        self,
        action: Literal["launch", "resume"],
        about: Mapping[str, Any],
        *,
        notes: Iterable[str] = (),
    ) -> Outcome:
        """Run the executor; whatever happens, the ledger ends with something true.

        Args:
            action: What the ledger says of this driver.
            about: The provenance of its process.
            notes: Remarks for the ledger.

        Raises:
            UserError: The ledger is damaged, or the executor or the disk fails.
        """
        path = self.folder.events_file
        kind = Ledger if self._chaos is None else FaultyLedger
        with kind.open(path, write=True, told=self._replay) as ledger:
            if isinstance(ledger, FaultyLedger) and self._chaos is not None:
                ledger.chaos = self._chaos
            if ledger.torn:
                self._observer.message(ledger.torn)
            self._before = self.director.workers
            self.director.offer(self._machine.workers)
            return self._drive(ledger, action, about, notes)

    def replay(self) -> None:
        """Learn what became of a run that has ended; nothing is written."""
        with Ledger.open(self.folder.events_file, write=False, told=self._replay):
            pass

    def _replay(self, event: Event) -> None:
        self.director.apply(event)
        self.evaluations.apply(event)
        self._observer.recall(event, self.director)

    def _drive(
        self,
        ledger: Ledger,
        action: str,
        about: Mapping[str, Any],
        notes: Iterable[str],
    ) -> Outcome:
        stop_file = self.folder.path.absolute() / STOP_FILE
        own = Lease.own()
        with (
            Stop(stop_file, self._observer.message) as stop,
            Keeper(
                own,
                self.folder.lease_file,
                requests=self.folder.request_file,
                hear=lambda request: _asked(stop, request),
            ),
        ):
            loop = TrialLoop(
                study=self.study,
                data=self._data,
                creates=self._creates,
                folder=self.folder,
                ledger=ledger,
                director=self.director,
                stop=stop,
                observer=self._observer,
                evaluations=self.evaluations,
                kernels=self._kernels,
                before_test=self._before_test,
                chaos=self._chaos,
            )
            loop.tell(RunEvent(action=action, **identity(own), provenance=dict(about)))
            for text in notes:
                loop.tell(Note(text=text))
            self._say_capacity(loop)
            self._say_order()
            if self._chaos is not None:
                loop.tell(Note(text=f"faults on purpose: {self._chaos}"))
                self._observer.message(f"faults on purpose: {self._chaos}")
            loop.interrupt("the driver was killed")
            try:
                self._execute(loop)
            except KeyboardInterrupt:
                stop.request("stopped by a second Ctrl-C")
            except BaseException as error:
                with suppress(RunError):  # the disk may be what failed
                    loop.interrupt(f"the driver failed: {type(error).__name__}")
                raise
            loop.interrupt(stop.reason or "the run was stopped")
            return self._conclude(loop, stop)

    def _say_capacity(self, loop: TrialLoop) -> None:
        """A run that comes from a cluster has this machine's workers now."""
        workers = self._machine.workers
        known = self._before == workers == self.study.resources.workers
        if known or self._machine.attach is not None or self.study.resources.virtual:
            return
        nodes = {socket.gethostname(): workers}
        why = "the run goes on on one machine"
        loop.tell(Capacity(workers=workers, nodes=nodes, reason=why))

    def _say_order(self) -> None:
        if self.study.resources.virtual:
            self._observer.message(
                f"decisions in virtual order: {self.director.workers} seats, "
                f"{self._machine.workers} workers"
            )

    def _execute(self, loop: TrialLoop) -> None:
        executor = find(self.study.resources.executor)
        # On a cluster no trial is started before a worker is there for it.
        attached = self._machine.attach is not None
        if not (loop.over() if attached else isinstance(loop.peek(), Done)):
            executor.execute(loop, self._machine)

    def _conclude(self, loop: TrialLoop, stop: Stop) -> Outcome:
        done = loop.finish()
        if done is None:
            return Outcome(
                state="interrupted",
                folder=self.folder.path,
                study=self.study,
                reason=stop.reason,
            )
        loop.tell(RunEvent(action="finish", reason=done.reason))
        return ended(self.folder, self.study, done.reason)


def _asked(stop: Stop, request: Request) -> None:
    """Somebody asks from another host: once is a first Ctrl-C, with haste a second one."""
    if not stop.requested or request.now:
        stop.ask(f"stopped by `hpo stop` on host {request.host}")


def refuse_lost_ledger(folder: RunFolder) -> None:
    """Refuse to begin a run again, over trials of which only the ledger told.

    A run whose driver died before the first event has no trials, and may go on.

    Args:
        folder: The run.

    Raises:
        RunError: It has trials and no ledger.
    """
    ledger = folder.events_file
    if ledger.exists() and (not ledger.is_file() or ledger.stat().st_size):
        return
    trials = ledger.with_name("trials")
    count = len(list(trials.iterdir())) if trials.is_dir() else 0
    if count:
        state = "is empty" if ledger.exists() else "is gone"
        raise RunError(
            f"{ledger} {state}, and {count} of its trials are there, which would be "
            "overwritten",
            hint="restore it from a copy; or launch the study anew",
        )


def how_it_ended(folder: RunFolder) -> str | None:
    """Why a finished run finished; None for a run that can go on.

    Args:
        folder: The run.

    Raises:
        RunError: Its ledger is gone, or damaged.
    """
    refuse_lost_ledger(folder)
    if not folder.events_file.exists():
        return None
    last = next(reversed(events_of(folder.events_file, RunEvent)), None)
    if last is None or last.action != "finish":
        return None
    extended = events_of(folder.events_file, Extended)
    if extended and extended[-1].n > last.n:
        return None  # a driver began to extend it, and died before it said so
    return last.reason or "budget"


def ended(folder: RunFolder, study: Study, reason: str) -> Outcome:
    """The outcome of a run in which nothing is left to do.

    Args:
        folder: The run.
        study: What ran.
        reason: Why it finished, as its ledger says.
    """
    if reason == "budget":
        return Outcome(state="finished", folder=folder.path, study=study)
    return Outcome(
        state="time",
        folder=folder.path,
        study=study,
        reason=f"the run's budget ({reason}) is used up",
        limit=reason,
    )
