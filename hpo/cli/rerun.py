"""`hpo rerun`: train a finished trial again."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.report.summary import Row, Summary
    from hpo.report.verdicts import Exact
    from models.training.protocol import Epoch

DEFAULT_SEEDS = 5
_QUIET = 15.0  # seconds between two remarks on how far it is


class RerunFormat(StrEnum):
    """How a re-run is printed."""

    table = "table"
    json = "json"


@shell.command
def rerun(
    run: options.Run,
    rank: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="The trial of this rank (1).")
    ] = None,
    trial: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The trial of this number.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Each of the best K trials.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many fresh seeds (5).")
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Repeat with the recorded seed; exit 3 unless equal."
        ),
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        RerunFormat, typer.Option("--format", help="How to print.")
    ] = RerunFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Train a trial again, with fresh seeds or exactly.

    Fresh seeds tell how sure its value is: the test part is evaluated with the best epoch of
    each, and the mean, its 95 % interval and the search's optimism are printed. An exact
    re-run must give every epoch's numbers again.
    """
    from hpo.errors import NotEqual, StudyError
    from hpo.report import formats, reruns
    from hpo.run.rerun import opened

    if sum(x is not None for x in (rank, trial, top)) > 1:
        raise StudyError("give one of `--rank`, `--trial` and `--top`, not several")
    if exact and seeds is not None:
        raise StudyError("give `--exact` or `--seeds`, not both")
    as_json = format is RerunFormat.json
    said = _Said()
    with opened(shell.find_run(results, run), data_root=data) as workshop:
        for text in workshop.changed:
            terminal.say(f"warning: changed since the launch: {text}")
        rows = _rows(workshop.summary, rank=rank, trial=trial, top=top)
        records, unequal = [], []
        for row in rows:
            if exact:
                same = workshop.exact(row, tell=said)
                records.append(reruns.exact_record(same))
                unequal += [] if same.equal else [same]
                text = reruns.exact_text(same)
            else:
                fresh = workshop.fresh(row, count=seeds or DEFAULT_SEEDS, tell=said)
                records.append(reruns.fresh_record(fresh))
                text = reruns.fresh_text(fresh)
            if not as_json:
                shell.out(text)
    if as_json:
        shell.out(formats.json_text(records if top is not None else records[0]))
    if unequal:
        raise NotEqual(_complaint(unequal), hint=_remedy(unequal))
    if not exact and all(not r["valid"] for r in records):
        raise StudyError("no re-run gave a value", hint="see the errors above")


def _rows(
    summary: Summary, *, rank: int | None, trial: int | None, top: int | None
) -> list[Row]:
    if trial is not None:
        return [summary.row(trial)]
    if top is not None:
        summary.ranked(1)
        return [r for r in summary.rows if r.rank is not None and r.rank <= top]
    return [summary.ranked(rank or 1)]


def _complaint(unequal: list[Exact]) -> str:
    numbers = ", ".join(str(e.trial) for e in unequal)
    return f"trial {numbers} did not give the same numbers again"


def _remedy(unequal: list[Exact]) -> str:
    if any(e.changed for e in unequal):
        return (
            "code or machine changed since the launch; see `changed since the launch`"
        )
    return "something in the model or its data is not a function of the seed alone"


class _Said:
    """Says on stderr how far the training is, not too often."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, name: str, epoch: Epoch) -> None:
        if time.monotonic() - self._last >= _QUIET:
            self._last = time.monotonic()
            terminal.say(f"{name}: epoch {epoch.number}")
