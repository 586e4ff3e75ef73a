"""Figures of what each winner predicts beside what was measured: best, median, worst window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.report import numbers
from hpo.report.page import style
from hpo.report.page.drawing import Drawing
from hpo.report.page.excerpts import Shown
from hpo.report.page.style import Look
from hpo.report.page.told import Told
from models.training.protocol import Excerpt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Scored values are marked, and nothing is shaded, where a panel has more stretches than this or
# one that is scored has fewer steps than a line needs.
_BANDS, _SHORT = 8, 3
SCORED, GIVEN, UNSCORED, UNSEEN = 0, 1, 2, 3
Bands = list[tuple[int, int, int]]
HEADS = (
    *("which", "record", "window", "step", "channel"),
    *("measured", "predicted", "given", "scored"),
)


def windows(content: Told, looks: Mapping[str, Look]) -> list[Drawing]:
    """A figure for each winner, and for each further channel of its outputs."""
    return [
        _drawing(shown, channel, looks[shown.family])
        for shown in content.windows
        if shown.pieces
        for channel in range(len(shown.pieces[0].names))
    ]


def _drawing(shown: Shown, channel: int, look: Look) -> Drawing:
    first = shown.pieces[0]
    name = first.names[channel]
    several = len(first.names) > 1
    among = f" of {first.pieces:,} pieces" if first.pieces > 1 else " piece"
    kept = "its only seed" if shown.seeds == 1 else f"the median of {shown.seeds} seeds"
    return Drawing(
        name=f"windows-{shown.family}" + (f"-{channel + 1}" if channel else ""),
        section="windows",
        title=f"{shown.family}{f', {name}' if several else ''}",
        caption=f"Trial {shown.trial} with {kept}, over the {shown.part} part: "
        f"{_listed([p.which for p in shown.pieces])}{among} by {first.metric}. "
        "The thin line is measured, the broad one below it predicted."
        f"{_marks(shown.pieces, channel)}",
        heads=HEADS,
        rows=list(rows_of(shown.pieces, channel)),
        draw=lambda: figure_of(shown.pieces, channel, look),
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _marks(pieces: Sequence[Excerpt], channel: int) -> str:
    """What the shades or marks of a figure stand for, as far as it has them."""
    found = _bands(pieces, channel)
    if found is None:
        return " Marks are the values that count; the model was given the others."
    told, drawn = "", {state for b in found for state, _, _ in b}
    if GIVEN in drawn:
        told += " In the darker stretch it was given what was measured."
    if UNSCORED in drawn:
        told += " The lighter stretch is not scored."
    return told


def _bands(pieces: Sequence[Excerpt], channel: int) -> list[Bands] | None:
    """The stretches of every panel; None where values are marked instead, in all of them."""
    found = [bands(states_of(p, channel)) for p in pieces]
    whole = [b for b in found if b is not None]
    return whole if len(whole) == len(found) else None


def states_of(piece: Excerpt, channel: int) -> np.ndarray:
    """Whether each step is scored, given, neither, or was not seen at all ``[T]``.

    Args:
        piece: The excerpt.
        channel: One of its channels.
    """
    scored, known = piece.scored[:, channel], piece.known[:, channel]
    unseen = np.isnan(piece.measured[:, channel])
    plain = np.where(scored, SCORED, np.where(known, GIVEN, UNSCORED))
    return np.where(unseen & ~scored, UNSEEN, plain)


def bands(states: np.ndarray) -> Bands | None:
    """Stretches of equal state: state, first step, behind the last; None for too many.

    So it is where one that is scored is too short to be seen as a line.

    Args:
        states: Of `states_of`.
    """
    cuts = [0, *(np.flatnonzero(np.diff(states)) + 1), len(states)]
    if len(cuts) - 1 > _BANDS:
        return None
    found = [
        (int(states[a]), int(a), int(b))
        for a, b in zip(cuts[:-1], cuts[1:], strict=True)
    ]
    short = any(s == SCORED and b - a < _SHORT for s, a, b in found)
    return None if short and len(found) > 1 else found


def rows_of(pieces: Sequence[Excerpt], channel: int) -> Iterator[dict[str, Any]]:
    """The numbers of a figure, a step of a piece a line.

    Args:
        pieces: The pieces.
        channel: Which of their channels.
    """
    for piece in pieces:
        for step in range(len(piece.measured)):
            yield {
                "which": piece.which,
                "record": piece.record,
                "window": piece.row,
                "step": piece.start + step,
                "channel": piece.names[channel],
                "measured": _number(piece.measured[step, channel]),
                "predicted": _number(piece.predicted[step, channel]),
                "given": int(piece.known[step, channel]),
                "scored": int(piece.scored[step, channel]),
            }


def _number(value: Any) -> float | None:
    """A float32 as it is read, not as float64 would print it."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def figure_of(pieces: Sequence[Excerpt], channel: int, look: Look) -> Figure:
    """A figure of one channel, a panel for every piece.

    Args:
        pieces: At least one.
        channel: Which of their channels.
        look: Of the prediction.
    """
    made = style.figure(height=0.75 + 1.2 * len(pieces))
    found = made.subplots(len(pieces), 1, squeeze=False)
    told = numbers.scale_for(
        [p.value for p in pieces if math.isfinite(p.value)], pieces[0].unit, digits=3
    )
    shaded = _bands(pieces, channel)
    for place, (axes, piece) in enumerate(zip(found[:, 0], pieces, strict=True)):
        error = f"{told.format(piece.value)} {told.unit}".strip()
        style.dressed(axes, f"{piece.which}, {piece.metric} {error}: {where(piece)}")
        axes.title.set_fontsize(8.0)
        _panel(axes, piece, channel, look, shaded[place] if shaded else None)
    unit = pieces[0].units[channel]
    label = style.clipped(pieces[0].names[channel], 24)
    middle = found[(len(pieces) - 1) // 2, 0]
    middle.set_ylabel(f"{label} [{unit}]" if unit else label)
    row = "window" if max(p.rows for p in pieces) > 1 else "record"
    found[-1, 0].set_xlabel(f"time in the {row} [s]" if pieces[0].rate else "step")
    handles, labels = found[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=4)
    return made


def where(piece: Excerpt) -> str:
    """Which record, and which of its windows."""
    name = style.clipped(piece.record, 26)
    return f"{name}, {piece.row:,} of {piece.rows:,}" if piece.rows > 1 else name


def _panel(
    axes: Axes, piece: Excerpt, channel: int, look: Look, stretches: Bands | None
) -> None:
    steps = piece.start + np.arange(len(piece.measured))
    x = steps / piece.rate if piece.rate else steps
    width = 1 / piece.rate if piece.rate else 1.0
    measured, predicted = piece.measured[:, channel], piece.predicted[:, channel]
    for state, first, behind in stretches or ():
        if state in (GIVEN, UNSCORED):
            axes.axvspan(
                x[first] - width / 2, x[behind - 1] + width / 2,
                color=style.QUIET, alpha=0.28 if state == GIVEN else 0.12, lw=0,
            )  # fmt: skip
    axes.plot(x, measured, "-", color=style.INK, lw=0.8, label="measured", zorder=3)
    # A model that left all bounds must not flatten what was measured.
    low, high = _limits(measured, predicted)
    shown = np.clip(predicted, low - 9 * (high - low), high + 9 * (high - low))
    # Broad and below, so that both can be told apart where they agree.
    axes.plot(x, shown, "-", color=look.colour, lw=2.6, label="predicted")
    if stretches is None:
        counted = piece.scored[:, channel]
        axes.plot(
            x[counted], shown[counted], look.marker, color=look.colour, ms=3.5,
            label="scored",
        )  # fmt: skip
    axes.set_ylim(low, high)
    axes.margins(x=0.01)


def _limits(measured: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Limits that hold what was measured, and a prediction that is not far from it."""
    seen = measured[np.isfinite(measured)].astype(float)
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    room = (high - low) or abs(high) or 1.0
    near = predicted[np.isfinite(predicted)].astype(float)
    if len(near):
        low = min(low, max(float(near.min()), low - room))
        high = max(high, min(float(near.max()), high + room))
    margin = 0.06 * (high - low)
    return low - margin, high + margin
