"""How every figure looks: Okabe and Ito's colours with dashes, one size, no randomness.

Figures are drawn in the colours of a white page. Each colour has a role there, and `svg` gives the
role's name to the inlined copy, so that the page's style sheet can turn it dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1b1f"
QUIET = "#5b5f66"
GRID = "#dfe1e6"
PAPER = "#fdfdfe"
"""Of markers that are filled with the page's own colour."""

# Okabe and Ito 2008, "Color universal design"; black is left to the text.
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#e69f00", "#56b4e9", "#f0e442", "#7f7f7f"),
)
DASHES: tuple[Any, ...] = (
    *("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5))),
    *((0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (2, 4))),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
ROLES: Mapping[str, str] = {
    INK: "ink",
    QUIET: "quiet",
    GRID: "grid",
    PAPER: "paper",
    **{colour: f"c{i}" for i, colour in enumerate(PALETTE)},
}

WIDTH, HEIGHT = 4.6, 3.0  # inches of one figure; a telephone shows it as wide as it is
SALT = "hpo"  # of the names that matplotlib gives to shapes, random otherwise


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one family is drawn, the same in every figure.

    Attributes:
        colour: Its colour.
        dash: Its line style.
        marker: Its marker.
    """

    colour: str
    dash: Any
    marker: str


def looks(families: list[str]) -> dict[str, Look]:
    """A look for each family, in the order of the study.

    Args:
        families: Their names; the ninth looks like the first, with another marker.
    """
    size = len(PALETTE)
    return {
        name: Look(
            colour=PALETTE[i % size],
            dash=DASHES[(i + i // size) % size],
            marker=MARKERS[(i + i // size) % size],
        )
        for i, name in enumerate(families)
    }


@contextmanager
def drawing() -> Iterator[None]:
    """Settings of matplotlib for our figures alone; text is never read as mathematics."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": SALT,
            "pdf.fonttype": 42,
            "text.parse_math": False,
            "text.usetex": False,
            "axes.unicode_minus": True,
            "font.family": "DejaVu Sans",
            "font.size": 8.5,
            "axes.titlesize": 9.0,
            "axes.titlelocation": "left",
            "axes.labelsize": 8.5,
            "xtick.labelsize": 8.0,
            "ytick.labelsize": 8.0,
            "legend.fontsize": 8.0,
            "legend.frameon": False,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": QUIET,
            "xtick.color": QUIET,
            "ytick.color": QUIET,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.7,
            "grid.color": GRID,
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "axes.facecolor": "none",
            "figure.facecolor": "none",
            "savefig.facecolor": "none",
            "lines.linewidth": 1.3,
            "figure.dpi": 72,
            "savefig.dpi": 200,
            "path.simplify_threshold": 0.3,
        }
    ):
        yield


def figure(*, height: float = HEIGHT) -> Figure:
    """An empty figure of the common width.

    Args:
        height: In inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def axes(made: Figure, title: str = "") -> Axes:
    """The only axes of a figure."""
    found = made.subplots()
    dressed(found, title)
    return found


def dressed(found: Axes, title: str = "") -> None:
    """A grid and a title."""
    found.grid(True)
    if title:
        found.set_title(clipped(title, 60))


def clipped(text: str, length: int) -> str:
    """A text on one line that is no longer than a figure has room for."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= length else plain[: length - 1] + "…"
