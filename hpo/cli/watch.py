"""`hpo watch`: look at a run at work, from any terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hpo.cli import options, shell
from hpo.cli.results import say_how_to_go_on
from hpo.live import terminal
from hpo.pasted import pasted

if TYPE_CHECKING:
    from hpo.director import Director
    from hpo.ledger.folder import RunFolder
    from hpo.ledger.tail import Tail
    from hpo.live.progress import Progress

_POLL = 0.2  # seconds between two looks at the ledger
_PROBE = 2.0  # seconds between two looks at who holds the run


@shell.command
def watch(
    run: options.LatestRun = "latest",
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Watch a run at work, until it ends.

    On a terminal, what `hpo launch` shows: states, each family's best and rungs, pace, what
    the workers do, curves and the time left. Elsewhere a line for each trial that ends. The
    run is only read; Ctrl-C ends the watching, not the run. Where one of its trials is
    being re-run, that is what is shown.
    """
    from hpo.director import Director
    from hpo.ledger.folder import RunFolder
    from hpo.ledger.tail import Tail
    from hpo.live.progress import Progress
    from hpo.report.summary import load_study
    from hpo.run.rerun_folder import at_work

    folder = at_work(RunFolder.find(results, run))
    study = load_study(folder.path)
    director = Director(study, workers=study.resources.seats)
    tail = Tail(folder.events_file)
    with Progress(study) as progress:
        for event in tail.read():
            director.apply(event)
            progress.recall(event, director)
        try:
            _follow(folder, tail, director, progress)
        except KeyboardInterrupt:
            shell.hint(
                f"the run goes on; `{pasted('stop', folder.path)}` would stop it"
            )
            raise typer.Exit(shell.INTERRUPTED) from None
    _conclude(folder.path)


def _follow(
    folder: RunFolder, tail: Tail, director: Director, progress: Progress
) -> None:
    """Show what happens until nobody holds the run any more."""
    held, probed = folder.held(), time.monotonic()
    while True:
        for event in tail.read():
            director.apply(event)
            progress.event(event, director)
        progress.tick(director)
        if not held:
            return  # what was read just now was everything
        time.sleep(_POLL)
        if time.monotonic() - probed >= _PROBE:
            held, probed = folder.held(), time.monotonic()


def _conclude(folder: Path) -> None:
    """The table, whether the run died, and how to go on."""
    from hpo.report import table
    from hpo.report.summary import load_summary

    summary = load_summary(folder)
    shell.show_text(table.render(summary, width=terminal.width()))
    if not summary.finished:
        say_how_to_go_on(summary)
