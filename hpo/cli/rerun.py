"""`hpo rerun`: train a finished trial again."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hpo.report.summary import Row, Summary
    from hpo.report.verdicts import Exact
    from hpo.run.rerun import Rerun
    from hpo.run.rerun_study import Altered
    from hpo.study import Study

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
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Print these metrics of the test part as well, also such as no epoch has.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Another epoch budget, with fresh seeds."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another value of a configuration key, with fresh seeds (repeatable).",
        ),
    ] = None,
    allow_different: Annotated[
        bool,
        typer.Option(
            "--allow-different",
            help="Repeat exactly although code or machine changed since the launch.",
        ),
    ] = False,
    executor: options.Executor = None,
    workers: options.WorkersOrAuto = None,
    address: options.Address = None,
    insecure_cluster: options.InsecureCluster = False,
    storage: options.Storage = "driver",
    patience: options.Patience = "10m",
    format: Annotated[  # noqa: A002 - the option's name
        RerunFormat, typer.Option("--format", help="How to print.")
    ] = RerunFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Train a trial again, with fresh seeds or exactly.

    Fresh seeds tell how sure its value is: when all are trained the test part is evaluated
    with the best epoch of each, and the mean, its 95 % interval and the search's optimism
    are printed. An exact re-run must give every epoch's numbers again; where code or machine
    changed, it says what and needs `--allow-different`.

    It is a run of its own below the run's folder, by `local` unless `--executor` or
    `--address` says otherwise: `hpo watch` and `hpo stop` work on it, and when it was
    interrupted the same command goes on with it.
    """
    from hpo.cli import attaching
    from hpo.errors import ResumeRefused, StudyError
    from hpo.live.progress import Progress
    from hpo.run.rerun import opened

    if sum(x is not None for x in (rank, trial, top)) > 1:
        raise StudyError("give one of `--rank`, `--trial` and `--top`, not several")
    if exact and seeds is not None:
        raise StudyError("give `--exact` or `--seeds`, not both")
    asked = tuple(filter(None, (m.strip() for m in (metrics or "").split(","))))
    for flag, given in (("--by-record", by_record), ("--metrics", asked)):
        if exact and given:
            raise StudyError(
                f"`--exact` reads no test part, so `{flag}` has no meaning"
            )
    if exact and (epochs is not None or settings):
        raise StudyError(
            "`--exact` repeats a trial as it was, so `--epochs` and `--set` have no meaning",
            hint="leave `--exact` out: fresh seeds are trained with them",
        )
    count, attach = attaching.for_children(
        executor,
        address,
        insecure=insecure_cluster,
        storage=storage,
        patience=patience,
        workers=workers,
    )
    with opened(shell.find_run(results, run), data_root=data) as workshop:
        if exact and workshop.changed and not allow_different:
            raise ResumeRefused(
                "changed since the launch: " + "; ".join(workshop.changed),
                hint="numbers may differ: restore what changed, or repeat the trial "
                "nevertheless with `--allow-different`",
            )
        for text in workshop.changed:
            terminal.say(f"warning: changed since the launch: {text}")
        rows = _rows(workshop.summary, rank=rank, trial=trial, top=top)
        how: dict[str, Any] = {
            "executor": executor,
            "workers": count,
            "observe": Progress,
            "attach": attach,
        }
        if exact:
            found = workshop.exact(rows, **how)
        else:
            altered = _altered(workshop.summary.study, rows, epochs, settings or ())
            found = workshop.fresh(
                rows, count=seeds or DEFAULT_SEEDS, altered=altered, **how
            )
    if found.outcome.state == "interrupted":
        if found.outcome.reason:
            terminal.say(found.outcome.reason)
        shell.hint("the same command goes on where it stopped")
        raise typer.Exit(shell.INTERRUPTED)
    _print(
        found,
        as_list=top is not None,
        form=format,
        by_record=by_record,
        metrics=asked,
    )
    _judge(found)


def _altered(
    study: Study, rows: list[Row], epochs: int | None, settings: Iterable[str]
) -> Altered | None:
    """The run's study with another budget and other values; None where nothing is set.

    Raises:
        StudyError: A key is none of a configuration's, or a value is refused.
    """
    from dataclasses import replace

    from hpo.cli import overrides
    from hpo.errors import StudyError
    from hpo.run.rerun_study import Altered

    values = overrides.parse_settings(settings)
    if epochs is None and not values:
        return None
    used = {row.family for row in rows}
    families = tuple(f for f in study.families if f.name in used)
    changed = study.replace(families=families)
    if foreign := [k for k in values if overrides.is_study_key(changed, k)]:
        raise StudyError(
            f"`--set {foreign[0]}` is a key of the study, not of a configuration",
            hint="a re-run changes `--epochs` and configuration keys; promote the trial to "
            "change its study: `hpo promote`",
        )
    changed = overrides.apply_settings(changed, values, suggest=())
    if epochs is not None:
        changed = changed.replace(
            families=tuple(replace(f, epochs=epochs) for f in changed.families)
        )
    return Altered(study=changed, epochs=epochs, settings=values)


def _print(
    found: Rerun,
    *,
    as_list: bool,
    form: RerunFormat,
    by_record: bool,
    metrics: tuple[str, ...],
) -> None:
    from hpo.report import formats, reruns
    from hpo.report.verdicts import Exact

    if form is RerunFormat.json:
        records = [reruns.record(result) for result in found.results]
        shell.data(formats.json_text(records if as_list else records[0]))
        return
    for result in found.results:
        if isinstance(result, Exact):
            shell.out(reruns.exact_text(result))
        else:
            told = reruns.fresh_text(result, by_record=by_record, metrics=metrics)
            shell.out(told)


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
