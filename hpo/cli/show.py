"""`hpo show`: everything about one trial."""

from __future__ import annotations

from hpo.cli import options, shell
from hpo.live import terminal


@shell.command
def show(
    run: options.Run,
    trial: options.Trial,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Show everything about one trial.

    Its configuration, curve, attempts and states, and the error if it failed.
    """
    from hpo.report.details import render
    from hpo.report.summary import load_summary

    summary = load_summary(shell.find_run(results, run))
    shell.show_text(render(summary, summary.row(trial), width=terminal.width()))
