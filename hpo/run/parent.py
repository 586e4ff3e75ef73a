"""A run whose trials are trained again in runs of their own below it.

Re-runs and confirmations share this: the run is held, its data made anew, its ledger open, and
a study of fixed trials becomes a run in its folder ``reruns/``, which goes on where an earlier
driver was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from hpo.ledger.events import Event, ReadTest, RerunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger
from hpo.ledger.provenance import provenance
from hpo.report.summary import Summary, load_summary
from hpo.run import reproducibility
from hpo.run.active import ActiveRun, Outcome, ended, how_it_ended
from hpo.run.attach import Attach
from hpo.run.machine import about, machine_for
from hpo.run.observer import Guarded, Observer, Silent
from hpo.run.rerun_folder import Wanted, continued, prepared
from hpo.run.sources import Sources, creates_of
from hpo.study import Study
from hpo.worker.pickling import Create

Observe = Callable[[Study], AbstractContextManager[Observer]]


def nobody(study: Study) -> AbstractContextManager[Observer]:
    """Observes nothing."""
    return nullcontext(Silent())


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How trials are trained again.

    Attributes:
        executor: What trains them; ``local`` unless said otherwise.
        workers: Trials at a time; None for as many as have room.
        observe: Gives an observer of the study.
        attach: The cluster to work on; None for this machine.
    """

    executor: str | None = None
    workers: int | None = None
    observe: Observe = nobody
    attach: Attach | None = None


class Parent:
    """A run that is held by this process; `held` makes it.

    Attributes:
        summary: The run.
        folder: Its folder.
        changed: What of code and machine is not as it was at the launch.
    """

    def __init__(
        self, *, summary: Summary, ledger: Ledger, told: Sequence[Event], sources: Sources,
        data: Any, creates: Mapping[str, str | bytes],
        changed: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.summary = summary
        self.folder = RunFolder(summary.folder)
        self.changed = changed
        self._ledger = ledger
        self._told = {_key(event) for event in told}
        self._sources = sources
        self._data = data
        self._creates = creates

    @property
    def ledger(self) -> Path:
        """The file of the run's ledger."""
        return self._ledger.path

    def train(
        self,
        wanted: Wanted,
        study: Study,
        *,
        observe: Observe,
        reads: Sequence[ReadTest] = (),
        kernels: str | None = None,
        attach: Attach | None = None,
        finished: bool = False,
    ) -> tuple[ActiveRun, Outcome]:
        """Train a study of fixed trials in a run of its own, or go on with it.

        Args:
            wanted: What is asked for; an unfinished run of the very same is gone on with.
            study: The study.
            observe: Gives an observer of it.
            reads: What the run's own ledger says before the test part is read.
            kernels: The compiled kernels to compute with.
            attach: The cluster to work on; None for this machine.
            finished: Whether a finished run of the very same stands for this one.
        """
        begun = continued(self.folder, wanted, study, finished=finished)
        with ExitStack() as stack:
            watching = Guarded(stack.enter_context(observe(study)))
            machine = machine_for(study, watching, attach=attach)
            today = about(machine)
            place = begun or prepared(self.folder, wanted, study, self._sources, today)
            stack.enter_context(place.acquire())

            def announce() -> None:
                for event in reads:
                    self.tell(structs.replace(event, folder=place.name))

            run = ActiveRun(
                study=study,
                data=self._data,
                creates=self._creates,
                folder=place,
                machine=machine,
                observer=watching,
                kernels=kernels,
                before_test=announce,
            )
            if begun is not None:
                watching.message(f"going on with the {wanted.name} in {place.path}")
            reason = how_it_ended(place)
            if reason is not None:
                run.replay()
                return run, ended(place, study, reason)
            outcome = run.until_it_ends("resume" if begun else "launch", today)
            return run, outcome

    def tell(self, event: ReadTest | RerunEvent) -> None:
        """Write an event into the run's ledger, unless an earlier driver has done so."""
        if _key(event) not in self._told:
            now = structs.replace(event, elapsed=self._ledger.elapsed)
            self._told.add(_key(self._ledger.append(now)))
            self._ledger.sync()


def _key(event: Event) -> tuple[str, int | None, str | None]:
    named = isinstance(event, (ReadTest, RerunEvent)) and event.folder
    return event.event, event.trial, named or None


@contextmanager
def held(
    folder: Path,
    *,
    data_root: Path | None = None,
    create: Create | None = None,
) -> Iterator[Parent]:
    """Be the only driver of a run and make ready to train its trials again.

    Args:
        folder: The run's folder.
        data_root: Where real datasets lie; None means as at the launch.
        create: Replaces the families' `create`, for a study made in a script.

    Raises:
        RunLocked: Another driver is at work on the run.
        RunError: The folder is damaged, or the data is not that of the run.
    """
    run = RunFolder(folder)
    record = run.read_study()
    with run.acquire():
        summary = load_summary(folder)
        sources = Sources.from_json(record)
        data = reproducibility.reload_data(sources, summary.study, data_root)
        creates = creates_of(summary.study, create, sources.study_today())
        then = record.get("provenance", {})
        changed = reproducibility.differences(then, provenance())
        told: list[Event] = []

        def remember(event: Event) -> None:
            if event.event in ("rerun", "test_read"):
                told.append(event)

        with Ledger.open(run.events_file, write=True, told=remember) as ledger:
            yield Parent(
                summary=summary,
                ledger=ledger,
                told=told,
                sources=sources,
                data=data,
                creates=creates,
                changed=changed,
            )
