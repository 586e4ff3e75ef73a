"""How every command talks: data to stdout, everything else to stderr, errors with a hint."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from hpo.live import terminal
from models.errors import UserError

# typer has no public name for the base of its own errors
ClickException: type[Exception] = typer.BadParameter.__mro__[2]
INTERRUPTED = 130  # as shells report SIGINT


class Format(StrEnum):
    """How a list is printed."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


class ListFormat(StrEnum):
    """How `hpo list` prints."""

    table = "table"
    json = "json"
    csv = "csv"


class State:
    """The state of the whole command line.

    Attributes:
        debug: Whether a mistake is shown with its traceback.
    """

    debug: bool = False


def out(text: str) -> None:
    """Print what a person reads to stdout, unstyled, in signs that the terminal has."""
    typer.echo(terminal.encodable(text.rstrip("\n"), sys.stdout))


def data(text: str) -> None:
    """Print what a program reads to stdout: untouched and in UTF-8, whatever the locale.

    JSON, CSV, Markdown, LaTeX, YAML and paths, whose bytes stay what the disk has.
    """
    line = text.rstrip("\n") + "\n"
    typer.echo(line.encode("utf-8", "surrogateescape"), nl=False)


def hint(text: str) -> None:
    """Print what to do next, to stderr, on a line of its own."""
    terminal.say(f"{_styled('hint', typer.colors.CYAN)}: {text}")


def complain(error: BaseException, *, what: str = "error") -> None:
    """Print an error (with its hint, and under `--debug` its traceback) to stderr."""
    if State.debug:
        terminal.say("".join(traceback.format_exception(error)).rstrip())
    message = error.message if isinstance(error, UserError) else _in_words(error)
    terminal.say(f"{_styled(what, typer.colors.RED)}: {message}")
    if isinstance(error, UserError) and error.hint:
        hint(error.hint)


def _in_words(error: BaseException) -> str:
    """An operating system's refusal without its number; any other error's own text."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)


def _styled(text: str, color: str) -> str:
    colored = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return typer.style(text, fg=color, bold=True) if colored else text


def exit_status(error: BaseException) -> int:
    """The exit status that an error asks for; 1 unless it says otherwise."""
    return int(getattr(error, "exit_status", 1))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn mistakes, and bugs, into messages and exit statuses."""
    try:
        yield
    except UserError as error:
        complain(error)
        raise typer.Exit(exit_status(error)) from None
    except BrokenPipeError:  # the reader (`head`, `less`) has seen enough
        _drop_output()
        raise typer.Exit(0) from None
    except OSError as error:
        complain(error)
        if _unwritable():
            _drop_output()
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        terminal.say("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort, ClickException):
        raise
    except Exception as error:  # a bug of ours, but still no traceback unless asked for
        complain(error, what=f"internal error ({type(error).__name__})")
        if not State.debug:
            hint("`--debug` shows the traceback; please report it")
        raise typer.Exit(1) from None


def _unwritable() -> bool:
    """Whether what was printed cannot be written: the disk behind stdout is full."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that nothing is raised on the way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Run a command under `guarded`."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> None:
        with guarded():
            function(*arguments, **options)

    return wrapped


def show_text(text: Any) -> None:
    """Print a `rich` text to stdout, coloured only on a terminal that wants it."""
    from rich.console import Console

    text.plain = terminal.encodable(text.plain, sys.stdout)
    console = Console(width=max(terminal.width(), 40), highlight=False, soft_wrap=True)
    if console.is_terminal and not console.no_color:
        console.print(text)
    else:
        out(text.plain)


def find_run(results: Path, run: str) -> Path:
    """The folder of a run: a folder, a study's name (its newest run), or ``latest``."""
    from hpo.ledger.folder import RunFolder

    return RunFolder.find(results, run).path


_NARROW = 24  # characters of text beside other columns that are no pleasure to read


def refuse_existing(path: Path) -> None:
    """Refuse to write where something is, before any work is done for it.

    Raises:
        RunError: It is there.
    """
    from hpo.errors import RunError

    if path.exists():
        raise RunError(f"{path} is there already", hint="remove it or choose another")


def columns(
    rows: Sequence[Mapping[str, Any]],
    heads: Sequence[str],
    *,
    right: Collection[str] = (),
) -> str:
    """Rows as columns; the last one is wrapped at the terminal's width.

    Where little room is left beside the others, text of the last one goes below its row.

    Args:
        rows: Cells by column.
        heads: The columns, in order.
        right: Those of them that are aligned to the right.
    """
    lines = [
        list(heads),
        *([str("" if r.get(h) is None else r[h]) for h in heads] for r in rows),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    indent = sum(widths[:-1]) + 2 * (len(heads) - 1)
    below = terminal.width() - indent < min(_NARROW, widths[-1])
    below = below and len(heads) > 1 and heads[-1] not in right
    indent = 4 if below else indent
    room = max(terminal.width() - indent, 16)
    out = []
    for *cells, last in lines:
        first = "".join(
            (c.rjust(w) if h in right else c.ljust(w)) + "  "
            for c, w, h in zip(cells, widths, heads, strict=False)
        )
        pieces = textwrap.wrap(last, room, break_on_hyphens=False) or [""]
        if heads[-1] in right:  # a number: never folded
            pieces = [last.rjust(widths[-1])]
        beside = "" if below else pieces.pop(0)
        out.append((first + beside).rstrip())
        out += [" " * indent + piece for piece in pieces if piece]
    return "\n".join(out)
