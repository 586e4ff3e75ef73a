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
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Go on with an interrupted run, or with a group of `hpo launch --repeat`.

    The settings are those of its launch. No epoch of the ledger is lost and no finished
    trial is trained again; a finished run is left as it is.
    """
    from hpo.ledger.group import RunGroup
    from hpo.live.progress import Progress
    from hpo.report.summary import load_study
    from hpo.run import launch as runner

    if (group := RunGroup.find(results, run)) is not None:
        run_group(group, allow_different=allow_different)
        return
    folder = shell.find_run(results, run)
    with Progress(load_study(folder)) as progress:
        outcome = runner.resume(
            folder,
            allow_different=allow_different,
            data_root=data,
            observer=progress,
        )
    finish(outcome)
