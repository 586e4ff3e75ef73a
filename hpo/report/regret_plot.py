"""Regret against the budget as a figure: a line and its interval for each method."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpo.errors import StudyError
from hpo.ledger.folder import write_atomically
from hpo.report.page import drawing, style
from hpo.report.page.draw_results import legend, plain_ticks
from hpo.report.regret import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".svg", ".pdf", ".png")


def check(path: Path) -> None:
    """Refuse a file that cannot become a figure, before anything is simulated.

    Args:
        path: Where the figure will be written.

    Raises:
        StudyError: Its ending is none of `KINDS`, or its folder does not exist.
    """
    if path.suffix.lower() not in KINDS:
        raise StudyError(
            f"`--plot {path}`: a figure ends in {', '.join(KINDS)}",
            hint=f"`--plot {path.with_suffix('.svg')}`",
        )
    if not path.parent.is_dir():
        raise StudyError(
            f"`--plot {path}`: there is no folder `{path.parent}`",
            hint=f"mkdir -p {path.parent}",
        )


def write(rows: Sequence[Row], path: Path, *, cost: str) -> None:
    """Draw the means with their 95 % intervals; equal rows give an equal file.

    Args:
        rows: What `hpo.report.regret.rows` gave.
        path: Where to; its ending says the format.
        cost: What the budgets count: ``epochs`` or ``seconds``.

    Raises:
        OSError: It cannot be written.
    """
    kind = path.suffix.lower()[1:]
    out = io.BytesIO()
    with style.drawing():
        made = _figure(rows, cost)
        made.set_facecolor("white")
        made.savefig(out, format=kind, metadata=dict(drawing.ABOUT[kind]))
    write_atomically(path, out.getvalue())


def _figure(rows: Sequence[Row], cost: str) -> Figure:
    methods = list(dict.fromkeys(r.method for r in rows))
    looks = style.looks(methods)
    made = style.figure()
    axes = style.axes(made)
    for name in methods:
        known = [r for r in rows if r.method == name and r.regret is not None]
        budgets, look = [r.budget for r in known], looks[name]
        axes.plot(
            budgets,
            np.array([r.regret for r in known], float),
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker,
            ms=4,
            label=style.clipped(name, 40),
        )
        sure = [r for r in known if r.low is not None and r.high is not None]
        axes.fill_between(
            [r.budget for r in sure],
            np.array([r.low for r in sure], float),
            np.array([r.high for r in sure], float),
            color=look.colour,
            alpha=0.12,
            lw=0,
        )
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"full runs' worth of {cost}")
    axes.set_ylabel("regret of the best trial")
    legend(made, axes)
    return made
