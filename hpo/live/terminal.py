"""Text for a terminal: remarks to stderr, signs that it can show, its width."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import typer


def say(text: str) -> None:
    """Print a remark to stderr."""
    typer.echo(encodable(text, sys.stderr), err=True)


def encodable(text: str, stream: Any) -> str:
    """The text as a stream can hold it; signs it lacks in ASCII, alike in width.

    Python writes UTF-8 even where the locale is C, so the locale is asked, too.

    Args:
        text: Any text.
        stream: Where it goes.
    """
    stream = getattr(stream, "rich_proxied_file", stream)  # while a live view is drawn
    encoding = getattr(stream, "encoding", None) or "ascii"
    if text.isascii() or (_is_unicode(encoding) and not _plain_locale()):
        return text
    plain = "ascii" if _is_unicode(encoding) else encoding
    try:
        text.encode(plain)
    except UnicodeError:
        return text.translate(_ASCII).encode(plain, "backslashreplace").decode(plain)
    return text


_ASCII = str.maketrans("▁▂▃▄▅▆▇█×─━–—−…µ²", "_.:-=+*#x-----~u2") | {ord("Ω"): "Ohm"}


def _is_unicode(encoding: str) -> bool:
    return encoding.lower().replace("-", "").replace("_", "").startswith("utf")


def _plain_locale() -> bool:
    """Whether a person asked for the locale C; none at all is not that."""
    asked = os.environ.get("LC_ALL") or os.environ.get("LANG")
    return asked in ("C", "POSIX")


def width() -> int:
    """Columns to print for: the terminal's, `COLUMNS`, or 80."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)
