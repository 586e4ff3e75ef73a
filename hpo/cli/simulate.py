"""`hpo simulate`: other rules and samplers over curves that are finished."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.shell import ListFormat
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.simulate.by_order import OrderRow
    from hpo.simulate.compare import Source
    from hpo.study import Study

_MOST = 20  # full runs, unless a run has too few curves for that
_FEW = 20  # studies that are simulated before another process has started


class Cost(StrEnum):
    """What budgets count."""

    epochs = "epochs"
    seconds = "seconds"


def complete_source(context: typer.Context, incomplete: str) -> list[str]:
    """Tables, then runs."""
    from hpo.simulate import catalog

    tables = [n for n in catalog.names() if n.startswith(incomplete)]
    return [*tables, *options.complete_run(context, incomplete)]


@shell.command
def simulate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|TABLE",
            help="A run, as everywhere; or a table: hpo_lcbench_surrogate, hpo_nmt, "
            "hpo_fcnet (below --data), own_curves (comes along), or the path of its folder.",
            autocompletion=complete_source,
            show_default=False,
        ),
    ],
    stopping: Annotated[
        str,
        typer.Option(
            metavar="A,B,…",
            help="Stopping rules: NAME[:OPTION=VALUE…], `+` joins several, `@SAMPLER` "
            "gives one its own; divergence always counts. `default` is a new study's, "
            "`own` the run's.",
        ),
    ] = "default",
    sampler: Annotated[
        str,
        typer.Option(
            metavar="A,B,…",
            help="Samplers: NAME[:OPTION=VALUE…], `default` or `own`; each with each rule.",
        ),
    ] = "default",
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Studies of each method.")
    ] = 100,
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="E",
            min=1,
            help="Full runs that a study may spend (20, or half of a run's curves).",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Only these tasks of a table; `chosen-on` are those that rules were "
            "chosen on, `held-out` the others.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Full runs after which studies are looked at (1, 2, 5, 10, … up to the "
            "budget).",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Trials that a study may have (as many as the budget pays for).",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(metavar="N,…", help="Simulated workers; several are compared."),
    ] = "1",
    order: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Orders of decisions: `arrival`, `virtual`, `virtual:SEATS`.",
        ),
    ] = "arrival",
    cost: Annotated[
        Cost, typer.Option(help="What the budget counts: epochs or virtual seconds.")
    ] = Cost.epochs,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="Whom the others are compared with, such as `random none` (the first).",
            show_default=False,
        ),
    ] = None,
    reach: Annotated[
        int | None,
        typer.Option(
            metavar="E",
            min=1,
            help="Say with how many full runs each method has the regret that `random "
            "none` has after E.",
            show_default=False,
        ),
    ] = None,
    by_task: Annotated[
        bool, typer.Option("--by-task", help="Regret on each task alone, too.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw regret against the budget, too: FILE.svg, .pdf or .png.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        ListFormat, typer.Option("--format", help="How to print.")
    ] = ListFormat.table,
    data: options.Data = None,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Search finished curves again, with other rules and samplers, in virtual time.

    The Director is the one of `hpo launch`; nothing is trained. For a run its own decisions
    are checked first. Regret is 0 for the best reference configuration and 1 for the median.
    """
    from hpo.report import reach as reached
    from hpo.report import regret, regret_plot
    from hpo.simulate import by_order, compare
    from hpo.worker import environment

    if plot is not None:
        regret_plot.check(plot)
    where, names, most, own = _open(source, tasks, data, results)
    plan = compare.Plan(
        source=where,
        tasks=names,
        methods=compare.parse_methods(sampler, stopping, own),
        budgets=_budgets(at, budget, most, reach),
        studies=seeds,
        trials=trials,
        cost=cost.value,
    )
    manners = by_order.manners(workers, order)
    regret.check_baseline(plan.method_names, baseline)
    if reach is not None:
        reached.check(plan.method_names, plan.budgets, reach)
    worth = seeds * len(plan.methods) // _FEW
    processes = max(1, min(environment.cores(), worth))
    every = [
        (manner, compare.compare(manner.of(plan), processes=processes))
        for manner in manners
    ]
    found = every[0][1]
    if len(every) > 1:
        _show_orders(by_order.rows(every), format)
        return
    rows = regret.rows(found, baseline=baseline)
    apart = regret.rows_by_task(found, baseline=baseline) if by_task else []
    if format is ListFormat.json:
        shell.data(regret.to_json([*rows, *apart]))
    elif format is ListFormat.csv:
        shell.data(regret.to_csv([*rows, *apart]))
    else:
        shell.out(regret.render(rows, baseline=baseline))
        if apart:
            shell.out(f"\n{regret.render_by_task(apart)}")
        dealt = f"{seeds} studies of each method"
        terminal.say(f"{dealt} over {len(names)} tasks" if len(names) > 1 else dealt)
    if reach is not None:
        last = plan.budgets[-1]
        spans = reached.reaches(found, at=reach)
        say = shell.out if format is ListFormat.table else terminal.say
        say(reached.render(spans, at=reach, budget=last))
    if plot is not None:
        regret_plot.write(rows, plot, cost=cost.value)


def _show_orders(rows: list[OrderRow], form: ListFormat) -> None:
    """Print orders and numbers of workers side by side."""
    from hpo.report import formats
    from hpo.simulate import by_order

    records = [asdict(row) for row in rows]
    if form is ListFormat.json:
        shell.data(formats.json_text(records))
    elif form is ListFormat.csv:
        shell.data(formats.csv_text(records, list(records[0])))
    else:
        shell.out(by_order.render(rows))


def _budgets(
    at: str | None, budget: int | None, most: int, reach: int | None
) -> tuple[int, ...]:
    """Full runs after which studies are looked at, ascending.

    Raises:
        StudyError: `--at` is no list of full runs within the budget.
    """
    from hpo.errors import StudyError
    from hpo.simulate import compare

    if at is None:
        ladder = compare.ladder(budget or most)
        every = range(1, 1 + min(reach or 0, budget or most))
        return tuple(sorted({*ladder, *every}))
    found = [p.strip() for p in at.split(",") if p.strip()]
    good = bool(found) and all(p.isdecimal() and int(p) >= 1 for p in found)
    runs = sorted({int(p) for p in found}) if good else []
    if not good or runs[-1] > (budget or runs[-1]):
        within = f"up to the budget of {budget}" if budget else "of at least 1"
        raise StudyError(
            f"`--at` is a list of full runs {within}, got {at!r}",
            hint="for example `--at 2,5,10`",
        )
    return tuple(runs)


def _open(
    source: str, tasks: str | None, data: Path | None, results: Path
) -> tuple[Source, tuple[str, ...], int, Study | None]:
    """Where curves come from, which tasks, the usual budget, and the study of a run."""
    from hpo.errors import StudyError
    from hpo.simulate import catalog
    from hpo.simulate.compare import Source

    found = catalog.find(source, data)
    if found is not None:
        name, root = found
        table = catalog.open_table(name, root=root)
        names = catalog.chosen(table, tasks)
        for remark in table.remarks:
            terminal.say(f"note: {remark}")
        return Source(table=name, root=root), names, _MOST, None
    if tasks is not None:
        raise StudyError(
            f"`--tasks` chooses among the tasks of a table, and `{source}` is none",
            hint=f"tables: {', '.join(catalog.names())}",
        )
    return _open_run(source, results)


def _open_run(source: str, results: Path) -> tuple[Source, tuple[str, ...], int, Study]:
    from hpo.errors import RunError
    from hpo.ledger.folder import RunFolder
    from hpo.simulate import catalog, own
    from hpo.simulate.compare import Source

    try:
        folder = RunFolder.find(results, source)
    except RunError as error:
        tables = f"or a table: {', '.join(catalog.names())}"
        raise RunError(error.message, hint=f"{error.hint}; {tables}") from error
    record = own.read(folder)
    agreement = own.retrace(record)
    for text in agreement.words():
        terminal.say(text)
    task = own.as_pool(record)
    for remark in task.remarks:
        terminal.say(f"note: {remark}")
    most = max(1, min(_MOST, (task.size or 2) // 2))
    return Source(run=folder.path), (task.name,), most, record.study
