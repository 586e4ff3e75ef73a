"""`hpo export`: a run for other people's programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import options, shell


class Target(StrEnum):
    """The formats that a run can be exported to."""

    optuna = "optuna"
    csv = "csv"
    parquet = "parquet"
    tensorboard = "tensorboard"


@shell.command
def export(
    run: options.Run,
    to: Annotated[Target, typer.Option("--to", help="The format.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="A new file (for tensorboard a folder); else in the run's report/. "
            "An Optuna storage is SQLite, or a journal when PATH ends with .log.",
            show_default=False,
        ),
    ] = None,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Write a run in another program's format, and print where it is.

    The Optuna storage holds one study a family, with parameters, states and the value of
    every epoch; CSV and Parquet hold a row a trial; TensorBoard gets a log a trial.
    """
    from hpo.export.exporting import export as write

    place = write(shell.find_run(results, run), to=to.value, out=out)
    shell.out(str(place))
    if to is Target.optuna and place.suffix != ".log":
        shell.hint(f"`optuna-dashboard sqlite:///{place}` shows it")
    elif to is Target.optuna:
        shell.hint(f"`optuna-dashboard {place}` shows it")
    elif to is Target.tensorboard:
        shell.hint(f"`tensorboard --logdir {place}` shows it")
