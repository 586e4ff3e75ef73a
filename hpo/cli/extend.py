"""`hpo extend`: go on with a run that has had what it was launched with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.launch import finish

if TYPE_CHECKING:
    from hpo.run.extend import Extension


@shell.command
def extend(
    run: options.Run,
    trials: Annotated[
        str | None,
        typer.Option(
            metavar="+N", help="So many trials more, such as +20.", show_default=False
        ),
    ] = None,
    epochs_total: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Limit on the epochs of all trials, counted from the launch on.",
            show_default=False,
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Active time from now on, such as 30m.",
            show_default=False,
        ),
    ] = None,
    families: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Families that join, with the spaces of their names.",
            show_default=False,
        ),
    ] = None,
    new_spaces: Annotated[
        bool,
        typer.Option(
            "--new-spaces", help="Search what the study file describes today."
        ),
    ] = False,
    allow_different: Annotated[
        bool,
        typer.Option(
            "--allow-different",
            help="Go on although data or study file changed since the launch.",
        ),
    ] = False,
    workers: options.WorkersOrAuto = None,
    address: options.Address = None,
    insecure_cluster: options.InsecureCluster = False,
    storage: options.Storage = "driver",
    patience: options.Patience = "10m",
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Go on with a finished or interrupted run, with more than it was launched with.

    Trials that a budget cut go on first, and those that were stopped at a pause wait
    again, with their checkpoints. Nothing of the run's history is lost or trained again.
    `--address` and what belongs to it are as in `hpo resume`.
    """
    from hpo.cli import attaching
    from hpo.live.progress import Progress
    from hpo.report.summary import load_study
    from hpo.run import extend as runner

    folder = shell.find_run(results, run)
    task = load_study(folder).described_task.get("name")
    asked = _extension(trials, epochs_total, time_budget, families, task)
    extended = runner.extended(folder, asked, new_spaces=new_spaces, data_root=data)
    attach = attaching.cluster_of_run(
        extended,
        address,
        insecure=insecure_cluster,
        storage=storage,
        patience=patience,
        workers=workers,
    )
    with Progress(extended) as progress:
        outcome = runner.extend(
            folder,
            asked,
            new_spaces=new_spaces,
            allow_different=allow_different,
            data_root=data,
            observer=progress,
            attach=attach,
        )
    finish(outcome)


def _extension(
    trials: str | None,
    epochs_total: int | None,
    time_budget: str | None,
    families: str | None,
    task: str | None,
) -> Extension:
    """What a person asked for, of a run that learns a task.

    Raises:
        StudyError: A value is refused.
    """
    from hpo import discovery
    from hpo.duration import parse_duration
    from hpo.errors import StudyError
    from hpo.run.extend import Extension
    from hpo.study import Family

    more = 0
    if trials is not None:
        digits = trials.removeprefix("+")
        if digits == trials or not digits.isdigit() or int(digits) < 1:
            raise StudyError(
                f"`--trials` of an extension is how many more, got {trials!r}",
                hint="write a plus before the number: `--trials +20`",
            )
        more = int(digits)
    names = [n.strip() for n in (families or "").split(",") if n.strip()]
    seconds = None
    if time_budget is not None:
        seconds = parse_duration(time_budget, option="--time-budget")
    return Extension(
        trials=more,
        total_epochs=epochs_total,
        seconds=seconds,
        families=tuple(
            Family(name=n, space=discovery.space(n, task=task)) for n in names
        ),
    )
