"""`hpo report`: a page, a Markdown file, figures and the parts of a paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.ledger.folder import RunFolder
    from hpo.ledger.group import RunGroup


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
            help="A new folder; else report/ of the run or group. Several runs go to "
            "reports/ below the results.",
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
    """Write the report of a run, of a group, or of several on one page.

    One page that needs nothing else (index.html), report.md, the leaderboard as CSV, Parquet
    and JSON, every figure as SVG, PDF, PNG and CSV, paper.tex and references.bib. The run is
    only read; nobody's code is run.
    """
    places = [_place(results, run) for run in runs or ["latest"]]
    if format is not None:
        _print(places, format)
        return
    from hpo.report.page import folder

    page = folder.write(places, results=results, out=out)
    shell.data(str(page))
    if show:
        _open(page)
    else:
        shell.hint("`--open` shows it in the web browser")


def _place(results: Path, run: str) -> RunFolder | RunGroup:
    """The run or group that a person means."""
    from hpo.ledger.folder import RunFolder
    from hpo.ledger.group import RunGroup

    return RunGroup.find(results, run) or RunFolder(shell.find_run(results, run))


def _print(places: list[RunFolder | RunGroup], form: Printed) -> None:
    from hpo.report import latex
    from hpo.report.page import folder, group_page, methods, text
    from hpo.report.page.group import GroupContent

    parts = folder.load(places)
    if form is Printed.markdown:
        shell.data(text.render(parts))
        return
    for part in parts:
        if part.trials is not None:
            shell.data(folder.paper(part.trials))
        elif isinstance(part.told, GroupContent):
            shell.data(f"{latex.escape(group_page.paragraph(part.told))}\n")
        commented = methods.bibtex(part.told).splitlines()
        shell.data(
            "\n".join(["% references.bib:", *(f"% {line}" for line in commented)])
        )


def _open(page: Path) -> None:
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        terminal.say("no web browser was found")
