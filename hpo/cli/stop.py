"""`hpo stop`: ask the driver of a run to finish."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal


@shell.command
def stop(
    run: options.Run,
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="Do not finish the epochs in progress, as a second Ctrl-C."
        ),
    ] = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait until it has ended.")
    ] = "10m",
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Stop a run at work, as Ctrl-C in its terminal does.

    Its epochs in progress are finished and saved; `hpo resume` goes on with it later, or
    the same `hpo rerun` where it is a re-run of RUN's trials that is at work.
    """
    from hpo.duration import parse_duration
    from hpo.errors import RunError
    from hpo.ledger.folder import RunFolder
    from hpo.report.summary import load_summary
    from hpo.run.driver import find_driver
    from hpo.run.rerun_folder import at_work, command

    patience = parse_duration(timeout, option="--timeout")
    folder = at_work(RunFolder.find(results, run))
    driver = find_driver(folder)
    if driver is None:
        over = load_summary(folder.path).finished
        raise RunError(
            f"nobody is at work on run `{folder.name}`",
            hint="it is finished; `hpo results` shows its table"
            if over
            else f"`{command(folder)}` would go on with it",
        )
    driver.stop(now=now, timeout=patience, tell=terminal.say)
    summary = load_summary(folder.path)
    ended = sum(n for s, n in summary.counts().items() if s not in ("running", *_OPEN))
    terminal.say(f"stopped: {ended} of {summary.planned} trials ended")
    if summary.finished:
        shell.hint("the run had just finished; `hpo results` shows its table")
    else:
        shell.hint(f"`{command(folder)}` goes on where it stopped")


_OPEN = ("pending", "paused")
