"""`hpo results`: the ranked table of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.shell import Format
from hpo.live import terminal
from hpo.pasted import pasted

if TYPE_CHECKING:
    from hpo.report.summary import Summary


_MOST = 1_000  # rows of a table, unless `--top` asks for more: nobody reads 20,000


@shell.command
def results(
    run: options.LatestRun = "latest",
    family: Annotated[
        str | None, typer.Option(metavar="F", help="Only this family.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Order by a column or a hyperparameter (rank)."
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="K", min=1, help="Only the first K rows (a table: 1,000)."
        ),
    ] = None,
    rungs: Annotated[
        bool,
        typer.Option(
            "--rungs",
            help="Instead: how well the values at each rung foretold the end.",
        ),
    ] = False,
    families: Annotated[
        bool,
        typer.Option("--families", help="Instead: where each family stands."),
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option("--format", help="How to print.")
    ] = Format.table,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Print the ranked table of a run.

    Completed and converged trials are ranked; the others follow, marked with where and why
    they ended.
    """
    from hpo.ledger.log import uncollected
    from hpo.report import formats, latex, table
    from hpo.report.summary import load_summary

    _refuse_together(rungs=rungs, families=families, ordered=(sort, top))
    with uncollected():
        whole = load_summary(shell.find_run(results, run))
        summary = whole.select(family=family, sort=sort, top=top)
        if rungs:
            _show_rungs(whole, family, format)
        elif families:
            _show_families(whole, family, format)
        elif format is Format.table:
            more = len(summary.rows) - _MOST if top is None else 0
            shown = summary.select(top=_MOST) if more > 0 else summary
            shell.show_text(table.render(shown, width=terminal.width(), whole=whole))
            _show_repeats(whole, {row.trial for row in shown.rows})
            if more > 0:
                terminal.say(
                    f"{more:,} more rows; `--top {len(summary.rows)}` shows all"
                )
            if not whole.finished:
                say_how_to_go_on(whole)
        else:
            write = {
                Format.json: formats.to_json,
                Format.csv: formats.to_csv,
                Format.markdown: formats.to_markdown,
                Format.latex: latex.trials,
            }[format]
            shell.data(write(summary))


def _refuse_together(
    *, rungs: bool, families: bool, ordered: tuple[str | None, int | None]
) -> None:
    """Refuse options of which one has no meaning beside the other."""
    if rungs and families:
        raise typer.BadParameter("`--rungs` and `--families` print one table each")
    if (rungs or families) and ordered != (None, None):
        what = "`--rungs` lists every rung" if rungs else "`--families` lists each once"
        raise typer.BadParameter(
            f"{what}; `--sort` and `--top` are for the ranked table"
        )


def _show_families(summary: Summary, family: str | None, form: Format) -> None:
    from hpo.confirmation.reading import load_confirmation
    from hpo.report import again, formats, latex
    from hpo.report import families as words
    from hpo.report.page import verdict

    reruns = again.reruns(summary.folder, summary.objective)
    said = load_confirmation(summary.folder, summary=summary)
    found = verdict.standings(summary, words.standings(summary, reruns), said)
    found = tuple(s for s in found if family in (None, s.family))
    if form is Format.json:
        shell.data(formats.json_text(words.json_rows(summary, found)))
    elif form is Format.csv:
        shell.data(words.to_csv(summary, found))
    elif form is Format.markdown:
        shell.data(words.to_markdown(summary, found))
    elif form is Format.latex:
        winners = verdict.winners(said)
        shell.data(latex.families(summary, found, winners=winners))
    else:
        lines = words.cells(summary, found)
        heads = list(lines[0])
        shell.out(shell.columns(lines, heads, right=heads[1:]))


def _show_repeats(whole: Summary, trials: set[int]) -> None:
    """List what trained any of these trials again, below the table."""
    from hpo.report.repeats import cells, further_cells, repeats

    found = [r for r in repeats(whole) if r.trial in trials]
    if not found:
        return
    lines = cells(whole, found)
    heads = list(lines[0])
    shell.out("\n" + shell.columns(lines, heads, right=("trial", *heads[2:-1])))
    if further := further_cells(found):
        heads = list(further[0])
        told = shell.columns(further, heads, right=heads[:-1])
        shell.out(f"\ntold of the test part alone\n{told}")
    if any(r.kind == "confirm" and r.finished for r in found):
        way = pasted("confirm", whole.folder)
        shell.hint(f"`{way}` says whether the winners differ")


def _show_rungs(summary: Summary, family: str | None, form: Format) -> None:
    from hpo.report import formats, latex
    from hpo.report import rungs as words

    found = [f for f in summary.fidelity if family in (None, f.family)]
    lines = words.cells(found)
    if form is Format.json:
        shell.data(formats.json_text(words.json_rows(found)))
    elif form is Format.csv:
        shell.data(formats.csv_text(words.json_rows(found), words.HEADS))
    elif not found:
        terminal.say("no rule of the study compares trials: there are no rungs")
    elif form in (Format.markdown, Format.latex):
        heads, body = list(lines[0]), [list(line.values()) for line in lines]
        right = {*range(1, len(heads) - 1)}
        if form is Format.markdown:
            shell.data(formats.markdown_table(heads, body, right=right))
        else:
            name = summary.study.name
            caption = f"{name}: how well each rung foretold the end."
            text = latex.table(
                heads, body, caption=caption, label=f"{name}-rungs", right=right
            )
            shell.data(text)
    else:
        heads = list(lines[0])
        shell.out(shell.columns(lines, heads, right=heads[1:-1]))


def say_how_to_go_on(summary: Summary) -> None:
    """Tell a run at work from one that was interrupted, and from one whose driver died."""
    from hpo.errors import RunError
    from hpo.ledger.folder import RunFolder
    from hpo.run.rerun_folder import command

    try:
        held = RunFolder(summary.folder).held()
    except RunError:  # somebody else's folder: reading it is all we may do
        return
    if held:
        shell.hint("the run is at work; the table shows how far it is")
        return
    if running := summary.counts().get("running", 0):  # a driver that ends leaves none
        trials = "a trial was" if running == 1 else f"{running} trials were"
        terminal.say(f"the run died: its driver is gone while {trials} running")
    way = command(RunFolder(summary.folder))
    shell.hint(f"unfinished; `{way}` goes on with it")
