"""Launching and resuming a run: from a `Study` to an `Outcome`, whatever happens between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import packages
from hpo.chaos import Chaos
from hpo.check.traced import refuse_static
from hpo.director import Director
from hpo.errors import RunError, StudyError
from hpo.ledger.folder import RunFolder
from hpo.run.active import ActiveRun, Outcome, ended, how_it_ended
from hpo.run.attach import Attach
from hpo.run.carried import carried_trials
from hpo.run.machine import about, machine_for
from hpo.run.observer import Guarded, Observer, Silent
from hpo.run.own_files import own_files
from hpo.run.rerun_folder import command
from hpo.run.sources import Prepare, Sources, as_run, creates_of, refuse_changes
from hpo.stopping.population import exploiting
from hpo.study import Study
from hpo.tasks import with_task
from hpo.worker.environment import worker_environment
from hpo.worker.pickling import Create

__all__ = ["Outcome", "launch", "resume"]


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
    extra: Mapping[str, Any] | None = None,
    attach: Attach | None = None,
    chaos: Chaos | None = None,
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
            means `hpo.packages.prepare_data`.
        create: Replaces the families' `create`: one callable, or one by family.
        observer: Is told what happens.
        gpus: How many GPUs there are; None counts them.
        extra: Further JSON-able entries of ``study.json``.
        attach: The cluster to work on (`hpo.run.attach`); None for this machine.
        chaos: Faults on purpose, recorded for `resume`; None for none.

    Raises:
        UserError: Something in the study, the data or the machine does not fit.
    """
    watching = Guarded(observer or Silent())
    study = with_task(study, root=None if data_root is None else Path(data_root))
    machine = machine_for(study, watching, gpus=gpus, attach=attach)
    worker_environment()  # what it refuses is told before there is a folder
    counted = attach is None or attach.workers is not None
    study = as_run(study, workers=machine.workers, counted=counted)
    seats = study.resources.seats if study.resources.virtual else machine.workers
    Director(study, workers=seats)  # what it refuses needs no data
    refuse_faults(study, chaos, attach)
    creates = creates_of(study, create)
    refuse_static(study, creates)
    on_cpu = machine.gpus_per_trial == 0 and attach is None
    if on_cpu and any(map(_of_models, creates.values())):
        packages.begin_kernels()  # beside all that comes before the first epoch
    watching.message("preparing the data")
    sources = Sources.of(
        study.data,
        root=data_root,
        source=source,
        study_file=study_file,
        prepare=prepare,
        own=lambda: own_files(study),
    )
    packages.check_data(study.described_task, sources.data)
    carried = carried_trials(study, results=results, data=sources.data)
    study = carried.study
    folder = RunFolder.create(results, study)
    with folder.acquire():
        carried.write(folder)
        started = about(machine)
        faults = {} if chaos is None else {"chaos": chaos.to_json()}
        entries = {**sources.to_json(), **(extra or {}), **faults}
        folder.write_study(study, provenance=started, extra=entries)
        run = ActiveRun(
            study=study,
            data=sources.data,
            creates=creates,
            folder=folder,
            machine=machine,
            observer=watching,
            chaos=chaos,
        )
        notes = (*run.director.remarks, *carried.notes)
        return run.until_it_ends("launch", started, notes=notes)


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
    attach: Attach | None = None,
    chaos: Chaos | None = None,
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
        attach: As in `launch`; the address is not that of the launch.
        chaos: Faults on purpose; None for those of the launch.

    Raises:
        ResumeRefused: Something changed since the launch; says what.
        RunLocked: Another driver is at work on this run.
        UserError: The folder or its ledger is damaged, or the data is gone.
    """
    place = RunFolder(folder)
    record = place.read_study()
    if "rerun" in record:
        raise RunError(
            f"{place.path} is a re-run of another run's trials",
            hint=f"`{command(place)}` goes on with it",
        )
    study = Study.from_json(record["study"])
    if chaos is None and "chaos" in record:
        chaos = Chaos.from_json(record["chaos"])
    refuse_faults(study, chaos, attach)
    with place.acquire():
        reason = how_it_ended(place)
        if reason is not None:
            return ended(place, study, reason)
        watching = Guarded(observer or Silent())
        machine = machine_for(study, watching, gpus=gpus, attach=attach)
        then = Sources.from_json(record)
        watching.message("checking the data")
        now = then.today(study.data, root=data_root, prepare=prepare)
        changed = refuse_changes(study, current, then, now, allowed=allow_different)
        creates = creates_of(study, create, current or then.study_today())
        run = ActiveRun(
            study=study,
            data=now.data,
            creates=creates,
            folder=place,
            machine=machine,
            observer=watching,
            chaos=chaos,
        )
        for text in changed:
            watching.message(text)
        return run.until_it_ends("resume", about(machine), notes=changed)


def refuse_faults(study: Study, chaos: Chaos | None, attach: Attach | None) -> None:
    """Refuse to spoil epochs that other trials take over with a state, and nodes of no cluster.

    Args:
        study: What runs.
        chaos: The faults on purpose; None for none.
        attach: The cluster; None for this machine.

    Raises:
        StudyError: Trials of the study adopt each other, or there are no nodes.
    """
    if chaos is not None and (chaos.node or chaos.node_every) and attach is None:
        raise StudyError(
            f"`--chaos {chaos}` takes nodes of a cluster away, and this is one machine",
            hint="`--address` attaches to a cluster; `worker=SHARE` kills processes anywhere",
        )
    name = exploiting(study)
    if chaos is not None and chaos.nan and name is not None:
        raise StudyError(
            f"`--chaos nan={chaos.nan:g}` spoils epochs of single trials, and with `{name}` "
            "trials take over epochs of each other",
            hint="leave `nan` out; `worker`, `hang` and `slow` are good with it",
        )


def _of_models(create: str | bytes) -> bool:
    """Whether a family is one of `models`, whose layers have compiled kernels."""
    return isinstance(create, str) and create.startswith("models.")
