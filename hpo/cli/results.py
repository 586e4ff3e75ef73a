"""`hpo results`: the ranked table of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.shell import Format


@shell.command
def results(
    run: options.LatestRun = "latest",
    family: Annotated[
        str | None, typer.Option(metavar="F", help="Only this family.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Order by a column or a hyperparameter (rank)."
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Only the first K rows.")
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option("--format", help="How to print.")
    ] = Format.table,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Print the ranked table of a run.

    Completed and converged trials are ranked; the others follow, marked with where and why
    they ended.
    """
    from hpo.ledger.log import uncollected
    from hpo.report import formats, table
    from hpo.report.summary import load_summary

    with uncollected():
        whole = load_summary(shell.find_run(results, run))
        summary = whole.select(family=family, sort=sort, top=top)
        if format is Format.table:
            shell.show_text(table.render(summary, width=shell.width(), whole=whole))
            if not whole.finished:
                _say_how_to_go_on(whole.folder)
        else:
            write = {
                Format.json: formats.to_json,
                Format.csv: formats.to_csv,
                Format.markdown: formats.to_markdown,
            }[format]
            shell.out(write(summary))


def _say_how_to_go_on(folder: Path) -> None:
    """Tell an interrupted run from one that is at work."""
    from hpo.errors import RunError, RunLocked
    from hpo.ledger.folder import RunFolder

    try:
        with RunFolder(folder).acquire():
            shell.hint(f"unfinished; `hpo resume {folder}` goes on with it")
    except RunLocked:
        shell.hint("the run is at work; the table shows how far it is")
    except RunError:  # somebody else's folder: reading it is all we may do
        return
