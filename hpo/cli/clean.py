"""`hpo clean`: delete the checkpoints of trials that lost."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.shell import ListFormat
from hpo.live import terminal


@shell.command
def clean(
    run: options.Run,
    keep: Annotated[
        int,
        typer.Option(
            metavar="K", min=0, help="Best trials of each family that keep theirs."
        ),
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        ListFormat, typer.Option("--format", help="How to print.")
    ] = ListFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Delete the checkpoints of trials that lost.

    Trials that can still go on keep theirs. The ledger, configurations, errors and reports
    stay, so tables and re-runs are the same afterwards. A run at work is left alone.
    """
    from hpo.ledger.folder import RunFolder
    from hpo.report import formats, numbers
    from hpo.run.clean import clean as delete

    found = delete(RunFolder.find(results, run), keep=keep, dry=dry_run)
    heads = ("trial", "family", "state", "attempt", "bytes", "folder")
    rows = [
        {
            "trial": s.row.trial,
            "family": s.row.family,
            "state": s.row.state,
            "attempt": s.attempt,
            "bytes": s.size,
            "folder": str(s.path),
        }
        for s in found
    ]
    if format is ListFormat.json:
        shell.data(formats.json_text(rows))
    elif format is ListFormat.csv:
        shell.data(formats.csv_text(rows, heads))
    elif rows:
        sizes = (numbers.count(s.size) for s in found)
        cells = [{**r, "bytes": size} for r, size in zip(rows, sizes, strict=True)]
        right = ("trial", "attempt", "bytes")
        shell.out(shell.columns(cells, heads[:-1], right=right))
    total = sum(s.size for s in found)
    verb = "would free" if dry_run else "freed"
    folders = f"{len(found)} checkpoint folder{'' if len(found) == 1 else 's'}"
    terminal.say(f"{verb} {numbers.size(total)} ({total:,} bytes) in {folders}")
