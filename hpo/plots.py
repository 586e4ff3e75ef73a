"""Pictures of what a model is trained on, and of what it predicts, for notebooks and `hpo plot`.

>>> model = hpo.load_model("my_study")
>>> hpo.plot_results(model.learner).savefig("results.svg")
>>> hpo.plot_results(model.learner, plot_fn=hpo.plots.plot_spectrogram)

A `plot_fn` draws one panel. The figures are matplotlib's own and belong to no window.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.errors import RunError
from hpo.ledger.folder import write_atomically
from hpo.report import formats
from hpo.report.page import draw_windows, drawing, style
from models.training.protocol import Excerpt, Fed, Illustrated, Signals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PlotResult = Callable[["Axes", Excerpt], None]
PlotSignals = Callable[["Axes", Signals], None]
_LOOK = style.Look(colour=style.PALETTE[0], dash="-", marker="o")
_FLOOR = 1e-12  # of a power spectrum's largest value; -120 dB


def plot_results(
    learner: Any,
    *,
    part: str = "valid",
    channel: int = 0,
    plot_fn: PlotResult | None = None,
) -> Figure:
    """The best, the median and the worst window of a part, predicted beside measured.

    Args:
        learner: A trained one, such as ``load_model("my_study").learner``.
        part: ``valid`` or ``test``.
        channel: Which of the outputs is drawn.
        plot_fn: Draws a window instead, ``(axes, excerpt) -> None``, all channels in it.

    Raises:
        RunError: Predictions of the task cannot be drawn, or there is no such channel.
    """
    pieces = excerpts_of(learner, part)
    if not 0 <= channel < len(pieces[0].names):
        raise RunError(
            f"`channel` must be one of the {len(pieces[0].names)} that are drawn, from 0 "
            f"on, got {channel}"
        )
    with style.drawing():
        if plot_fn is None:
            return draw_windows.figure_of(pieces, channel, _LOOK)
        made = style.figure(height=0.6 + 1.5 * len(pieces))
        panels = made.subplots(len(pieces), 1, squeeze=False)[:, 0]
        for axes, piece in zip(panels, pieces, strict=True):
            style.dressed(axes, f"{piece.which}: {draw_windows.where(piece)}")
            plot_fn(axes, piece)
        return made


def plot_batch(
    learner: Any, *, rows: int = 3, plot_fn: PlotSignals | None = None
) -> Figure:
    """The first rows of the next training batch, as the loss meets them.

    Args:
        learner: A learner, trained or not.
        rows: How many rows are drawn, one a column of the figure.
        plot_fn: Draws a role of a row instead of `plot_signals`, ``(axes, signals) -> None``.

    Raises:
        RunError: Batches of the task cannot be drawn, or `rows` is not at least 1.
    """
    if rows < 1:
        raise RunError(f"`rows` must be at least 1, got {rows}")
    found = _training_rows(learner, rows)
    if not any(found):
        raise RunError(
            "what this model is trained on is no signal that could be drawn",
            hint="`plot_batch` draws rows [time, channel] of a task",
        )
    roles, draw = len(found[0]), plot_fn or plot_signals
    with style.drawing():
        made = style.figure(height=0.5 + 1.4 * roles)
        made.set_figwidth(style.WIDTH * max(1.0, len(found) / 2))
        panels = made.subplots(
            roles, len(found), squeeze=False, sharex="col", sharey="row"
        )
        for column, row in enumerate(found):
            for place, signals in enumerate(row):
                title = f"row {column + 1}" if not place else ""
                style.dressed(panels[place, column], title)
                draw(panels[place, column], signals)
            panels[-1, column].set_xlabel("time [s]" if row[-1].rate else "step")
        return made


def _training_rows(learner: Any, count: int) -> Sequence[Sequence[Signals]]:
    """Rows of the next batch; none of a model in closed form, which is fed no batches."""
    return learner.training_rows(count) if isinstance(learner, Fed) else ()


def write(learner: Any, folder: Path) -> tuple[str, ...]:
    """Write results and batch of a learner as PNG and SVG, and the results' numbers as CSV.

    Args:
        learner: A trained one; the windows are of its validation part.
        folder: Where they go; files of before are replaced.

    Returns:
        The names of the files, those of a kind together; no ``batch`` where the model is
        trained on none that could be drawn.

    Raises:
        RunError: No prediction of the model can be drawn, or the folder cannot be written.
    """
    pieces = excerpts_of(learner, "valid")
    several = range(len(pieces[0].names))
    made = {f"results-{c + 1}": plot_results(learner, channel=c) for c in several}
    if any(_training_rows(learner, 1)):
        made["batch"] = plot_batch(learner)
    files = {
        f"{name}.{kind}": _saved(figure, kind)
        for name, figure in made.items()
        for kind in ("png", "svg")
    }
    for channel in several:
        rows = list(draw_windows.rows_of(pieces, channel))
        text = formats.csv_text(rows, draw_windows.HEADS)
        files[f"results-{channel + 1}.csv"] = text.encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomically(folder / name, data)
    except OSError as error:
        raise RunError(
            f"cannot write {folder}: {error.strerror or error}",
            hint="choose another place with `--out DIR`",
        ) from error
    return tuple(files)


def _saved(made: Figure, kind: str) -> bytes:
    """A figure's file, equal for equal figures, on white."""
    buffer = io.BytesIO()
    with style.drawing():
        made.savefig(
            buffer, format=kind, metadata=dict(drawing.ABOUT[kind]), facecolor="white"
        )
    return buffer.getvalue()


def excerpts_of(learner: Any, part: str) -> Sequence[Excerpt]:
    """What `plot_results` draws.

    Args:
        learner: A trained one.
        part: ``valid`` or ``test``.

    Raises:
        RunError: Predictions of the task cannot be drawn.
    """
    found = learner.excerpts(part) if isinstance(learner, Illustrated) else ()
    if not found:
        raise RunError(
            "predictions of this model cannot be drawn beside what was measured",
            hint="`plot_results` draws tasks whose predictions are [time, channel]",
        )
    return found


def plot_signals(axes: Axes, signals: Signals) -> None:
    """Every channel of a role as a line; what was not seen is left out."""
    steps = np.arange(len(signals.values))
    x = steps / signals.rate if signals.rate else steps
    colours = style.PALETTE
    for channel, values in enumerate(np.asarray(signals.values).T):
        axes.plot(x, values, color=colours[channel % len(colours)], lw=0.8)
    unit = signals.units[0] if len(set(signals.units)) == 1 else ""
    axes.set_ylabel(f"{signals.role} [{unit}]" if unit else signals.role)
    axes.margins(x=0.01)


def plot_spectrogram(axes: Axes, piece: Excerpt) -> None:
    """Where in time and frequency the error of the first channel lies, in dB of its largest.

    A Hann window of an eighth of the piece, half overlapping (`scipy.signal.spectrogram`).
    """
    from scipy.signal import spectrogram

    error = np.asarray(piece.predicted[:, 0], float) - piece.measured[:, 0]
    error = np.where(np.isfinite(error), error, 0.0)
    rate, size = piece.rate or 1.0, max(8, len(error) // 8)
    size = min(size, len(error))
    frequency, time, power = spectrogram(
        error, fs=rate, window="hann", nperseg=size, noverlap=size // 2
    )
    largest = max(float(power.max()), np.finfo(float).tiny)
    level = 10 * np.log10(np.maximum(power / largest, _FLOOR))
    start = piece.start / rate
    drawn = axes.pcolormesh(time + start, frequency, level, cmap="viridis", vmin=-60)
    axes.grid(False)
    axes.figure.colorbar(drawn, ax=axes, label="error [dB]")
    axes.set_ylabel("frequency [Hz]" if piece.rate else "cycles a step")


def plot_quaternions(axes: Axes, piece: Excerpt) -> None:
    """Angle and inclination between predicted and measured orientation, in degrees.

    Of the relative rotation q̂ q⁻¹ of unit quaternions ``[w, x, y, z]``: the angle
    2 atan2(|xyz|, |w|), the inclination 2 atan2(√(x²+y²), √(w²+z²)).

    Raises:
        RunError: The excerpt has not four channels.
    """
    if len(piece.names) != 4:
        raise RunError(
            f"a quaternion has 4 channels, got an excerpt of {len(piece.names)}",
            hint="excerpts hold at most the channels that a model gives",
        )
    w, x, y, z = _relative(np.asarray(piece.predicted), np.asarray(piece.measured)).T
    angle = 2 * np.arctan2(np.sqrt(x**2 + y**2 + z**2), np.abs(w))
    inclination = 2 * np.arctan2(np.hypot(x, y), np.hypot(w, z))
    steps = piece.start + np.arange(len(w))
    time = steps / piece.rate if piece.rate else steps
    pairs = (("angle", angle), ("inclination", inclination))
    for colour, (name, values) in zip(style.PALETTE, pairs, strict=False):
        axes.plot(time, np.degrees(values), color=colour, lw=0.9, label=name)
    axes.set_ylabel("error [°]")
    axes.legend(loc="upper right")


def _relative(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The rotation from the second to the first ``[T, 4]``; Hamilton's product, w first."""
    a, u = first[:, :1], first[:, 1:]
    b, v = second[:, :1], -second[:, 1:]
    real = a * b - np.sum(u * v, axis=1, keepdims=True)
    return np.concatenate([real, a * v + b * u + np.cross(u, v)], axis=1)
