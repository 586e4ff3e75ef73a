"""`hpo diff`: two trials side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.shell import ListFormat
from hpo.live import terminal


@shell.command
def diff(
    run: options.Run,
    first: Annotated[
        int,
        typer.Argument(
            metavar="A",
            help="A trial's number.",
            autocompletion=options.complete_trial,
            show_default=False,
        ),
    ],
    second: Annotated[
        int,
        typer.Argument(
            metavar="B",
            help="Another trial's number.",
            autocompletion=options.complete_trial,
            show_default=False,
        ),
    ],
    format: Annotated[  # noqa: A002 - the option's name
        ListFormat, typer.Option("--format", help="How to print.")
    ] = ListFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Compare two trials: what came of them, and the configuration keys that differ."""
    from hpo.errors import StudyError
    from hpo.report import difference, formats
    from hpo.report.summary import load_summary

    if first == second:
        raise StudyError(f"trial {first} differs in nothing from itself")
    summary = load_summary(shell.find_run(results, run))
    found = difference.difference(summary, summary.row(first), summary.row(second))
    if format is ListFormat.json:
        shell.out(formats.json_text(difference.json_rows(found)))
    elif format is ListFormat.csv:
        lines = difference.json_rows(found)
        shell.out(formats.csv_text(lines, ("part", "key", "a", "b")))
    else:
        heads = ("", f"trial {first}", f"trial {second}")
        shell.out(shell.columns(difference.table(found), heads))
        one = found.equal == 1
        terminal.say(
            f"{found.equal} configuration key{' is' if one else 's are'} equal"
        )
