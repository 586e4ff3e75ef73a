"""One figure of a report: what it shows as data, how it is drawn, and its files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.report import formats
from hpo.report.page import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT: Mapping[str, Mapping[str, Any]] = {
    # Nothing of the moment, so that a report built twice is the same.
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""What each format is told of its own making: nothing."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure.

    Attributes:
        name: That of its files.
        section: The section of the page it belongs to.
        title: A few words.
        caption: What it shows, in a sentence or two.
        heads: The columns of its data.
        rows: Its data, a mapping a line.
        draw: Makes the figure.
    """

    name: str
    section: str
    title: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    draw: Callable[[], Figure]

    def files(self, kinds: Sequence[str] = ("svg", "pdf", "png")) -> dict[str, bytes]:
        """The figure's files by ending, ``csv`` among them.

        Args:
            kinds: Which pictures are drawn.
        """
        found = {"csv": formats.csv_text(self.rows, self.heads).encode()}
        with style.drawing(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # a sign that the font lacks, in a foreign name
            made = self.draw()
            made.draw_without_rendering()
            made.set_layout_engine(
                None
            )  # it stands; else each format works it out again
            for kind in kinds:
                out = io.BytesIO()
                made.savefig(out, format=kind, metadata=dict(ABOUT[kind]))
                found[kind] = out.getvalue()
        return found
