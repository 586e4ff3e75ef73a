"""Launching and resuming a run: from a `Study` to an `Outcome`, whatever happens between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from hpo import discovery
from hpo.director import Director
from hpo.director.decisions import Done
from hpo.errors import RunError
from hpo.ledger.events import Event, Note, RunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger, events_of
from hpo.ledger.provenance import provenance
from hpo.run.carried import carried_trials
from hpo.run.driver import STOP_FILE, identity
from hpo.run.loop import TrialLoop
from hpo.run.observer import Guarded, Observer, Silent
from hpo.run.plan import Plan, plan
from hpo.run.signals import Stop
from hpo.run.sources import Prepare, Sources, as_run, creates_of, refuse_changes
from hpo.study import Study
from hpo.tasks import with_task
from hpo.worker.environment import worker_environment
from hpo.worker.pickling import Create

EXECUTORS = {"local": "hpo.run.local", "ray": "hpo.run.ray.executor"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a launch or a resume ended.

    Attributes:
        state: ``finished``, ``time`` (a limit of the budget was reached; also final), or
            ``interrupted`` (can be resumed).
        folder: The run's folder.
        study: The study that ran, resolved.
        reason: In words; empty when finished.
    """

    state: Literal["finished", "time", "interrupted"]
    folder: Path
    study: Study
    reason: str = ""


def launch(
    study: Study,
    *,
    results: Path | str = "results",
    data_root: Path | str | None = None,
    source: str | None = None,
    study_file: Path | None = None,
    prepare: Prepare | None = None,
    create: Create | Mapping[str, Create] | None = None,
    observer: Observer | None = None,
    gpus: int | None = None,
) -> Outcome:
    """Run a study in a new folder under `results`, until it is done or interrupted.

    Args:
        study: What to run. Unset resources are resolved and written down.
        results: Where run folders are made.
        data_root: Where real datasets lie (``--data``); recorded for `resume`.
        source: What the person named the study by (a name or a path); recorded.
        study_file: The study file, whose hash `resume` compares; None for a study
            made in a script.
        prepare: ``prepare(data, root=...)`` gives the JSON-able data reference; None
            means `hpo.discovery.prepare_data`.
        create: Replaces the families' `create`: one callable, or one by family.
        observer: Is told what happens.
        gpus: How many GPUs there are; None counts them.

    Raises:
        UserError: Something in the study, the data or the machine does not fit.
    """
    watching = Guarded(observer or Silent())
    study = with_task(study, root=None if data_root is None else Path(data_root))
    machine = plan(study.resources, gpus=gpus)
    worker_environment()  # what it refuses is told before there is a folder
    study = as_run(study, workers=machine.workers)
    Director(study, workers=machine.workers)  # what it refuses needs no data
    creates = creates_of(study, create)
    if machine.gpus_per_trial == 0 and any(map(_of_models, creates.values())):
        discovery.begin_kernels()  # beside all that comes before the first epoch
    watching.message("preparing the data")
    sources = Sources.of(
        study.data,
        root=data_root,
        source=source,
        study_file=study_file,
        prepare=prepare,
    )
    discovery.check_data(study.described_task, sources.data)
    carried = carried_trials(study, results=results, data=sources.data)
    study = carried.study
    folder = RunFolder.create(results, study)
    with folder.acquire():
        carried.write(folder)
        about = provenance()
        folder.write_study(study, provenance=about, extra=sources.to_json())
        director = Director(study, workers=machine.workers)
        told = _telling(director, watching)
        with Ledger.open(folder.events_file, write=True, told=told) as ledger:
            run = _Run(study, sources.data, creates, folder, ledger, director, machine)
            notes = (*director.remarks, *carried.notes)
            return run.until_it_ends("launch", about, watching, notes=notes)


def resume(
    folder: Path | str,
    *,
    allow_different: bool = False,
    current: Study | None = None,
    data_root: Path | str | None = None,
    prepare: Prepare | None = None,
    create: Create | Mapping[str, Create] | None = None,
    observer: Observer | None = None,
    gpus: int | None = None,
) -> Outcome:
    """Go on with an interrupted run, with the settings of its launch.

    No finished trial is trained again. A finished run is left as it is.

    Args:
        folder: The run's folder.
        allow_different: Go on although the space, the data or the study file changed: the
            space is then still that of the launch, the data that of today.
        current: The study as a script describes it today, to compare spaces with. Where a
            study's name or path was recorded, what it leads to now is compared anyhow.
        data_root: Where real datasets lie; None means as at the launch.
        prepare: As in `launch`.
        create: As in `launch`; needed when the study was made in a script.
        observer: Is told what happens.
        gpus: How many GPUs there are; None counts them.

    Raises:
        ResumeRefused: Something changed since the launch; says what.
        RunLocked: Another driver is at work on this run.
        UserError: The folder or its ledger is damaged, or the data is gone.
    """
    place = RunFolder(folder)
    record = place.read_study()
    study = Study.from_json(record["study"])
    with place.acquire():
        ended = _how_it_ended(place)
        if ended is not None:
            return _outcome(place, study, ended)
        watching = Guarded(observer or Silent())
        machine = plan(study.resources, gpus=gpus)
        then = Sources.from_json(record)
        watching.message("checking the data")
        now = then.today(study.data, root=data_root, prepare=prepare)
        changed = refuse_changes(study, current, then, now, allowed=allow_different)
        creates = creates_of(study, create, current or then.study_today())
        director = Director(study, workers=machine.workers)
        told = _telling(director, watching)
        with Ledger.open(place.events_file, write=True, told=told) as ledger:
            run = _Run(study, now.data, creates, place, ledger, director, machine)
            for text in filter(None, (ledger.torn, *changed)):
                watching.message(text)
            return run.until_it_ends("resume", provenance(), watching, notes=changed)


@dataclass(frozen=True)
class _Run:
    """Everything that is open while a run is active."""

    study: Study
    data: Any
    creates: Mapping[str, str | bytes]
    folder: RunFolder
    ledger: Ledger
    director: Director
    machine: Plan

    def until_it_ends(
        self,
        action: str,
        about: Mapping[str, Any],
        watching: Observer,
        notes: tuple[str, ...] = (),
    ) -> Outcome:
        """Run the executor; whatever happens, the ledger ends with something true."""
        stop_file = self.folder.path.absolute() / STOP_FILE
        with Stop(stop_file, watching.message) as stop:
            loop = TrialLoop(
                study=self.study,
                data=self.data,
                creates=self.creates,
                folder=self.folder,
                ledger=self.ledger,
                director=self.director,
                stop=stop,
                observer=watching,
            )
            loop.tell(RunEvent(action=action, **identity(), provenance=dict(about)))
            for text in notes:
                loop.tell(Note(text=text))
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

    def _execute(self, loop: TrialLoop) -> None:
        if not isinstance(loop.peek(), Done):
            executor = EXECUTORS[self.study.resources.executor]
            import_module(executor).execute(loop, self.machine)

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
        return _outcome(self.folder, self.study, done.reason)


def _of_models(create: str | bytes) -> bool:
    """Whether a family is one of `models`, whose layers have compiled kernels."""
    return isinstance(create, str) and create.startswith("models.")


def _telling(director: Director, watching: Observer) -> Callable[[Event], None]:
    """The function called with each event that the ledger holds already."""

    def told(event: Event) -> None:
        director.apply(event)
        watching.recall(event, director)

    return told


def _how_it_ended(folder: RunFolder) -> str | None:
    """Why a finished run finished; None for a run that can go on."""
    if not folder.events_file.exists():
        return None
    last = next(reversed(events_of(folder.events_file, RunEvent)), None)
    if last is None or last.action != "finish":
        return None
    return last.reason or "budget"


def _outcome(folder: RunFolder, study: Study, reason: str) -> Outcome:
    if reason == "budget":
        return Outcome(state="finished", folder=folder.path, study=study)
    return Outcome(
        state="time",
        folder=folder.path,
        study=study,
        reason=f"the run's budget ({reason}) is used up",
    )
