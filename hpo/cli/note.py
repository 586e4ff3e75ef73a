"""`hpo note`: write a remark into a run's ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal


def _complete(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The trial's number may come first; a text cannot be guessed."""
    if context.params.get("words"):
        return []
    return options.complete_trial(context, incomplete)


@shell.command
def note(
    run: options.Run,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[TRIAL] TEXT",
            help="The text in quotes; before it the number of the trial it is about.",
            autocompletion=_complete,
            show_default=False,
        ),
    ],
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Write a remark on a run, or on one of its trials, into its ledger.

    `hpo results` and `hpo show` print it. A run that is at work takes no notes.
    """
    from hpo.ledger.folder import RunFolder
    from hpo.ledger.notes import add_note
    from hpo.report.summary import load_summary

    trial, text = _parsed(words)
    folder = RunFolder.find(results, run)
    load_summary(folder.path)  # nothing is written into a damaged run
    written = add_note(folder, text, trial=trial)
    about = f"trial {trial} of " if trial is not None else ""
    terminal.say(f"noted on {about}{folder.path}: {written.text}")


def _parsed(words: list[str]) -> tuple[int | None, str]:
    """The trial, if one is named, and the text."""
    if len(words) == 1:
        if words[0].strip().isdecimal():
            raise typer.BadParameter(
                f"the text is missing: {words[0].strip()} is taken for a trial, as in "
                f'`hpo note RUN {words[0].strip()} "worth another look"`'
            )
        return None, words[0]
    first, *rest = words
    if len(rest) > 1 or not (first.isascii() and first.isdigit()):
        raise typer.BadParameter(
            f"give the text as one argument, got {len(words)}: put it in quotes, "
            'as in `hpo note RUN 3 "worth another look"`'
        )
    return int(first), rest[0]
