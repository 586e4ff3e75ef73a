"""The output of every benchmark, printed and kept."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

MEASURED = Path(__file__).parents[1] / "measured"


def write(name: str, content: Mapping[str, Any], folder: Path) -> None:
    """Keep a measurement as JSON, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    Console(stderr=True).print(f"written to {path}", highlight=False)


def read(name: str, folder: Path) -> dict[str, Any]:
    """The earlier measurements; empty when there are none."""
    path = folder / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def show(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: text to the left, figures to the right; Markdown into a pipe."""
    terminal = Console()
    shape = box.HEAVY_HEAD if terminal.is_terminal else box.MARKDOWN
    table = Table(title=title, title_justify="left", box=shape)
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=None if terminal.is_terminal else 200).print(table)


def kept(text: str) -> list[str]:
    """The names in a list with commas; ``none`` stands for an empty one."""
    return [] if text == "none" else text.split(",")


def summary(values: Sequence[float]) -> dict[str, float]:
    """The median, how far apart the extremes are (relative to it), and how many."""
    middle = statistics.median(values)
    spread = (max(values) - min(values)) / middle if middle else 0.0
    return {"median": middle, "spread": spread, "count": len(values)}
