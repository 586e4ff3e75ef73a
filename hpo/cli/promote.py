"""`hpo promote`: a trial as a study of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.pasted import pasted


@shell.command
def promote(
    run: options.Run,
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="The new study's name.", show_default=False),
    ],
    rank: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="The trial of this rank (1).")
    ] = None,
    trial: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The trial of this number.")
    ] = None,
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the study file goes.")
    ] = Path("studies"),
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Write a study file with the configuration of a trial, ready to be launched.

    It gives the numbers of that trial again, and is short enough to be edited.
    """
    from hpo.errors import StudyError
    from hpo.report.summary import load_summary
    from hpo.run.promote import promote as write

    if rank is not None and trial is not None:
        raise StudyError("give one of `--rank` and `--trial`, not both")
    summary = load_summary(shell.find_run(results, run))
    row = summary.row(trial) if trial is not None else summary.ranked(rank or 1)
    path = write(summary, row, name=name, folder=into)
    shell.data(str(path))
    shell.hint(f"`{pasted('launch', path)}` trains it")
