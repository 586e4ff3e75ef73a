"""`hpo confirm`: whether the winners of a search differ."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal
from hpo.pasted import pasted

if TYPE_CHECKING:
    from hpo.confirmation.record import Confirmation
    from hpo.objective import Matters


class ConfirmFormat(StrEnum):
    """How a confirmation is printed."""

    table = "table"
    json = "json"


@shell.command
def confirm(
    run: options.LatestRun = "latest",
    top: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="Each family's candidate is chosen from its best K (3)."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="New seeds of each candidate (10).")
    ] = None,
    matters: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="The smallest difference that matters: `5%`, or a number in the unit.",
        ),
    ] = None,
    extend: Annotated[
        int | None,
        typer.Option(metavar="N", help="N more seeds each, as another look."),
    ] = None,
    executor: options.Executor = None,
    workers: options.WorkersOrAuto = None,
    address: options.Address = None,
    insecure_cluster: options.InsecureCluster = False,
    storage: options.Storage = "driver",
    patience: options.Patience = "10m",
    format: Annotated[  # noqa: A002 - the option's name
        ConfirmFormat, typer.Option("--format", help="How to print.")
    ] = ConfirmFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Say whether the winners of a search differ, and by how much.

    The best few of each family are trained with 3 fresh seeds (validation only) to choose its
    candidate; each candidate is then trained with new seeds, and when all have ended the
    test part is read once. Every pair of families gets one of four verdicts.

    Of a group (`hpo launch --repeat`), each search's winners get 3 new seeds, and the searches
    are compared.

    Both stages are runs below the run, by `local` unless `--executor` or `--address` says
    otherwise: `hpo watch` and `hpo stop` work on them, and the same command goes on with
    what was interrupted.
    """
    from hpo.cli import attaching
    from hpo.ledger.group import RunGroup
    from hpo.live.progress import Progress
    from hpo.objective import Matters
    from hpo.run import confirm as runner
    from hpo.run.parent import Manner

    asked = runner.Asked(top=top, seeds=seeds, matters=matters, extend=extend)
    count, attach = attaching.for_children(
        executor,
        address,
        insecure=insecure_cluster,
        storage=storage,
        patience=patience,
        workers=workers,
    )
    manner = Manner(executor=executor, workers=count, observe=Progress, attach=attach)
    group = RunGroup.find(results, run)
    if group is None:
        folder = shell.find_run(results, run)
        outcome = runner.confirm(
            folder, asked, manner=manner, tell=terminal.say, data_root=data
        )
    else:
        folder = group.path
        outcome = runner.confirm_group(
            group, asked, manner=manner, tell=terminal.say, data_root=data
        )
    if outcome is not None and outcome.state == "interrupted":
        if outcome.reason:
            terminal.say(outcome.reason)
        shell.hint("the same command goes on where it stopped")
        raise typer.Exit(shell.INTERRUPTED)
    if outcome is None:
        terminal.say("this is confirmed already; nothing was trained")
    said = None if matters is None else Matters.parse(matters)
    show(folder, matters=said, form=format)


def show(folder: Path, *, matters: Matters | None, form: ConfirmFormat) -> None:
    """Print what a run's ledgers tell of its confirmation, and what can be done next.

    Args:
        folder: The run.
        matters: The smallest difference that matters, where it was said just now.
        form: How to print.

    Raises:
        RunError: No candidate gave a value.
    """
    from hpo.confirmation import text
    from hpo.confirmation.reading import load_confirmation
    from hpo.errors import RunError
    from hpo.report import formats

    found = load_confirmation(folder, matters=matters)
    assert found is not None, "it was begun"
    if form is ConfirmFormat.json:
        shell.data(formats.json_text(found.to_json()))
    else:
        shell.show_text(text.render(found, width=terminal.width()))
    if not any(c.values for c in found.contenders):
        raise RunError(
            "no new seed gave a value",
            hint=f"`{pasted('results', _latest(found))}` shows why",
        )
    for hint in _next(found):
        shell.hint(hint)


def _next(found: Confirmation) -> list[str]:
    """What would settle what is open."""
    from hpo.confirmation.reach import missing, more_searches_tell

    if found.unit_of == "search":
        hint = "a larger `hpo launch --repeat` would settle what is open"
        return [hint] * more_searches_tell(found)
    more = missing(found)
    if not more:
        return []
    way = pasted("confirm", found.folder, "--extend", more)
    return [f"`{way}` adds what is missing"]


def _latest(found: Confirmation) -> Path:
    folders = [w.folders[-1] for c in found.contenders for w in c.winners if w.folders]
    return folders[0] if folders else found.folder
