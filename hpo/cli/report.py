"""`hpo report`: a page, a Markdown file, figures and the parts of a paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal


class Printed(StrEnum):
    """What is printed instead of writing the files."""

    latex = "latex"
    markdown = "markdown"


@shell.command
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Runs' folders, studies' names (their newest run), groups, or `latest`.",
            autocompletion=options.complete_run,
            show_default="latest",
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Show the page in the web browser.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="A new folder; else the run's report/. Of several runs, a folder in it "
            "for each.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Printed | None,
        typer.Option(
            "--format",
            help="Instead: print the families' table, the methods and the citations "
            "(latex), or the report (markdown).",
            show_default=False,
        ),
    ] = None,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Write the report of a run, and print where its page is.

    One page that needs nothing else (index.html), report.md, the leaderboard as CSV, Parquet
    and JSON, every figure as SVG, PDF, PNG and CSV, paper.tex and references.bib. The run is
    only read; nobody's code is run.
    """
    places = [place for run in runs or ["latest"] for place in _places(results, run)]
    if format is not None:
        _print(places, format)
        return
    from hpo.report.page import folder

    for place in places:
        where = out / place.resolve().name if out and len(places) > 1 else out
        page = folder.write(place, out=where)
        shell.out(str(page))
        if show:
            _open(page)
    if not show:
        shell.hint("`--open` shows it in the web browser")


def _places(results: Path, run: str) -> list[Path]:
    """The folder of a run, or those of every search of a group."""
    from hpo.errors import RunError
    from hpo.ledger.group import RunGroup

    group = RunGroup.find(results, run)
    if group is None:
        return [shell.find_run(results, run)]
    found = [search.path for search in group.runs]
    if not found:
        raise RunError(
            f"no search of group `{group.name}` has begun",
            hint=f"`hpo resume {group.path}` begins with it",
        )
    terminal.say(
        f"group `{group.name}`: a report for each of its {len(found)} searches"
    )
    shell.hint(f"`hpo confirm {group.path}` compares the families over all of them")
    return found


def _print(places: list[Path], form: Printed) -> None:
    from hpo.report import latex
    from hpo.report.page import content, drawings, methods, text

    for place in places:
        found = content.load(place)
        if form is Printed.markdown:
            shell.out(text.render(found, drawings.drawings(found)))
            continue
        shell.out(f"{latex.escape(methods.paragraph(found))}\n")
        shell.out(methods.table(found))
        commented = methods.bibtex(found).splitlines()
        shell.out(
            "\n".join(["% references.bib:", *(f"% {line}" for line in commented)])
        )


def _open(page: Path) -> None:
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        terminal.say("no web browser was found")
