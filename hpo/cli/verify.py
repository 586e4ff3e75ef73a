"""`hpo verify`: whether a run is what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpo.audit.finding import Finding

_SHOWN = 20  # findings


@shell.command
def verify(
    run: options.LatestRun = "latest",
    same_as: Annotated[
        str | None,
        typer.Option(
            "--same-as",
            metavar="RUN",
            help="Hold it against this run, too: study, configurations, epochs, decisions.",
            autocompletion=options.complete_run,
            show_default=False,
        ),
    ] = None,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Audit a run: its ledger, decisions and checkpoints.

    The lines are readable and in order, the states legal, the epochs complete; every decision
    follows from the lines before it, in virtual order by the clock; checkpoints are readable and
    of the epochs that the ledger tells of. Exit status 3 where something does not hold.
    """
    from hpo.audit import auditing, same
    from hpo.ledger.folder import RunFolder

    folder = RunFolder.find(results, run)
    other = None if same_as is None else RunFolder.find(results, same_as)
    found = auditing.audit(folder)
    looked, findings = dict(found.looked), found.findings
    if other is not None and not findings:
        count, findings = same.compare(folder, other)
        looked["same as"] = f"{count} decisions and epochs beside those of {other.path}"
    width = max(map(len, looked))
    shell.out("\n".join(f"{name:<{width}}  {text}" for name, text in looked.items()))
    for text in found.remarks:
        terminal.say(f"note: {text}")
    if findings:
        _refuse(str(folder.path), findings)
    terminal.say("everything holds")


def _refuse(run: str, findings: Sequence[Finding]) -> None:
    """Print what does not hold, and end with status 3.

    Raises:
        NotVerified: Always.
    """
    from hpo.errors import NotVerified

    for finding in findings[:_SHOWN]:
        shell.out(str(finding))
    more = len(findings) - _SHOWN
    if more > 0:
        shell.out(f"and {more} more")
    raise NotVerified(
        f"{run} does not hold: {findings[0]}",
        hint="a ledger is never edited by hand; restore the run from a copy",
    )
