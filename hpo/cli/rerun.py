"""`hpo rerun`: train a finished trial again."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.report.summary import Row, Summary
    from hpo.report.verdicts import Exact
    from hpo.run.rerun import Rerun

DEFAULT_SEEDS = 5


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
    by_record: Annotated[
        bool,
        typer.Option(
            "--by-record", help="Print the test part's records beside the whole."
        ),
    ] = False,
    executor: options.Executor = None,
    workers: options.Workers = None,
    format: Annotated[  # noqa: A002 - the option's name
        RerunFormat, typer.Option("--format", help="How to print.")
    ] = RerunFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Train a trial again, with fresh seeds or exactly.

    Fresh seeds tell how sure its value is: when all are trained the test part is evaluated
    with the best epoch of each, and the mean, its 95 % interval and the search's optimism
    are printed. An exact re-run must give every epoch's numbers again.

    It is a run of its own below the run's folder, by `local` unless `--executor` says
    otherwise: `hpo watch` and `hpo stop` work on it, and when it was interrupted the same
    command goes on with it.
    """
    from hpo.errors import StudyError
    from hpo.live.progress import Progress
    from hpo.run.rerun import opened

    if sum(x is not None for x in (rank, trial, top)) > 1:
        raise StudyError("give one of `--rank`, `--trial` and `--top`, not several")
    if exact and seeds is not None:
        raise StudyError("give `--exact` or `--seeds`, not both")
    if exact and by_record:
        raise StudyError(
            "`--exact` reads no test part, so `--by-record` has no meaning"
        )
    with opened(shell.find_run(results, run), data_root=data) as workshop:
        for text in workshop.changed:
            terminal.say(f"warning: changed since the launch: {text}")
        rows = _rows(workshop.summary, rank=rank, trial=trial, top=top)
        how: dict[str, Any] = {
            "executor": executor,
            "workers": workers,
            "observe": Progress,
        }
        if exact:
            found = workshop.exact(rows, **how)
        else:
            found = workshop.fresh(rows, count=seeds or DEFAULT_SEEDS, **how)
    if found.outcome.state == "interrupted":
        if found.outcome.reason:
            terminal.say(found.outcome.reason)
        shell.hint("the same command goes on where it stopped")
        raise typer.Exit(shell.INTERRUPTED)
    _print(found, as_list=top is not None, form=format, by_record=by_record)
    _judge(found)


def _print(found: Rerun, *, as_list: bool, form: RerunFormat, by_record: bool) -> None:
    from hpo.report import formats, reruns
    from hpo.report.verdicts import Exact

    if form is RerunFormat.json:
        records = [reruns.record(result) for result in found.results]
        shell.out(formats.json_text(records if as_list else records[0]))
        return
    for result in found.results:
        if isinstance(result, Exact):
            shell.out(reruns.exact_text(result))
        else:
            shell.out(reruns.fresh_text(result, by_record=by_record))


def _judge(found: Rerun) -> None:
    """Complain when numbers came out differently, or not at all.

    Raises:
        NotEqual: An exact re-run gave other numbers.
        StudyError: No fresh seed gave a value.
    """
    from hpo.errors import NotEqual, StudyError
    from hpo.report.verdicts import Exact

    exact = [r for r in found.results if isinstance(r, Exact)]
    unequal = [r for r in exact if not r.equal]
    if unequal:
        raise NotEqual(_complaint(unequal), hint=_remedy(unequal))
    fresh = [r for r in found.results if not isinstance(r, Exact)]
    if fresh and all(not r.valid for r in fresh):
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
