"""`hpo diff`: two trials, or two runs, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.cli.shell import ListFormat
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.report.summary import Summary


@shell.command
def diff(
    run: options.Run,
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A trial's number, or another run.",
            autocompletion=options.complete_trial,
            show_default=False,
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]",
            help="Another trial's number.",
            autocompletion=options.complete_trial,
            show_default=False,
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        ListFormat, typer.Option("--format", help="How to print.")
    ] = ListFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Compare two trials of a run, or a run with another run.

    Two trials: what came of them, and the configuration keys that differ. Two runs: what came
    of them, and what in their studies differs.
    """
    from hpo.report.summary import load_summary

    summary = load_summary(shell.find_run(results, run))
    if second is None and not first.isdigit():
        _runs(summary, load_summary(shell.find_run(results, first)), format)
        return
    numbers = [_number(text) for text in (first, second)]
    _trials(summary, *numbers, form=format)


def _number(text: str | None) -> int:
    """A trial's number.

    Raises:
        StudyError: It is none, or missing.
    """
    from hpo.errors import StudyError

    if text is not None and text.isdigit():
        return int(text)
    got = "only one" if text is None else repr(text)
    raise StudyError(
        f"two trials are compared by their numbers, got {got}",
        hint="`hpo diff RUN 3 7` compares trials, `hpo diff RUN OTHER` runs",
    )


def _trials(summary: Summary, first: int, second: int, *, form: ListFormat) -> None:
    from hpo.errors import StudyError
    from hpo.report import difference

    if first == second:
        raise StudyError(f"trial {first} differs in nothing from itself")
    found = difference.difference(summary, summary.row(first), summary.row(second))
    if form is ListFormat.table:
        heads = ("", f"trial {first}", f"trial {second}")
        shell.out(shell.columns(difference.table(found), heads))
        one = found.equal == 1
        terminal.say(
            f"{found.equal} configuration key{' is' if one else 's are'} equal"
        )
    else:
        _plain(difference.json_rows(found), form)


def _runs(first: Summary, second: Summary, form: ListFormat) -> None:
    from hpo.errors import StudyError
    from hpo.ledger.folder import RunFolder
    from hpo.report import between

    if first.folder.resolve() == second.folder.resolve():
        raise StudyError(
            f"run `{RunFolder(first.folder).name}` differs in nothing from itself"
        )
    found = between.between(first, second)
    if form is ListFormat.table:
        names = [RunFolder(s.folder).name for s in (first, second)]
        titles = (f"A {names[0]}", f"B {names[1]}")
        shell.out(shell.columns(between.table(found, titles), ("", *titles)))
        for text in found.warnings:
            terminal.say(f"warning: {text}")
        one = found.equal == 1
        terminal.say(
            f"{found.equal} key{' of the studies is' if one else 's of the studies are'} equal"
        )
    else:
        _plain(between.json_rows(found), form)


def _plain(lines: list[dict[str, Any]], form: ListFormat) -> None:
    from hpo.report import formats

    if form is ListFormat.json:
        shell.data(formats.json_text(lines))
    else:
        shell.data(formats.csv_text(lines, ("part", "key", "a", "b")))
