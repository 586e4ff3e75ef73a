"""`hpo resume`: go on with an interrupted run."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.launch import finish, run_group


@shell.command
def resume(
    run: options.Run,
    allow_different: Annotated[
        bool,
        typer.Option(
            "--allow-different",
            help="Go on although space, data or study file changed since the launch.",
        ),
    ] = False,
    workers: options.WorkersOrAuto = None,
    address: options.Address = None,
    insecure_cluster: options.InsecureCluster = False,
    storage: options.Storage = "driver",
    patience: options.Patience = "10m",
    chaos: options.Chaos = None,
    chaos_seed: options.ChaosSeed = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Go on with an interrupted run, or with a group of `hpo launch --repeat`.

    The settings are those of its launch, and so are faults on purpose where none are named.
    No epoch of the ledger is lost and no finished trial is trained again; a finished run is
    left as it is. `--address` and what belongs to it are those of this resume, which may be
    on another host; `--workers` only counts there.
    """
    from hpo.cli import attaching, overrides
    from hpo.errors import StudyError
    from hpo.ledger.group import RunGroup
    from hpo.live.progress import Progress
    from hpo.report.summary import load_study
    from hpo.run import launch as runner
    from hpo.study import Study

    faults = overrides.chaos(chaos, chaos_seed)
    group = RunGroup.find(results, run)
    folder = None
    if group is not None:
        study = Study.from_json(group.record["study"])
    else:
        folder = shell.find_run(results, run)
        study = load_study(folder)
    attach = attaching.cluster_of_run(
        study,
        address,
        insecure=insecure_cluster,
        storage=storage,
        patience=patience,
        workers=workers,
    )
    if group is not None:
        if faults is not None:
            raise StudyError(
                "`--chaos` disturbs one run, and this is a group of them",
                hint="`hpo resume RUN --chaos …` goes on with one search of it",
            )
        run_group(group, allow_different=allow_different, attach=attach)
        return
    assert folder is not None, "a run or a group"
    with Progress(study) as progress:
        outcome = runner.resume(
            folder,
            allow_different=allow_different,
            data_root=data,
            observer=progress,
            attach=attach,
            chaos=faults,
        )
    finish(outcome)
