"""Excerpts: the best, the median and the worst piece of a part, predicted beside measured.

A part is taken in batches, twice: once for the error of every piece, and once more for the
arrays of the few that are shown, so that memory does not grow with the part. Rows that are
longer than a picture can show are cut into pieces of equal length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.training.protocol import Excerpt

LONGEST = 512
"""Samples of a row that is shown whole; a longer one is cut into pieces of at most that."""

CHANNELS = 3
"""Most channels that an excerpt holds."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows of a batch, predicted beside measured, in physical units.

    Attributes:
        measured: ``[B, T, C]``, NaN where nothing was seen; ``T`` counts time steps, or the
            numbers of a row.
        predicted: Likewise.
        known: Whether a model was given an entry ``[B, T, C]``.
        scored: Whether it counts.
        scale: What 1 of an error is; broadcasts to ``[T, C]``.
        pooled: Whether errors are averaged over all channels at once (where `scale` makes
            them comparable), not within each channel first.
        unit: Of the error; empty where there is none.
        names: Of the channels.
        units: Of the channels.
        rate: Time steps a second; None where that is unknown, or ``T`` is no time.
    """

    measured: np.ndarray
    predicted: np.ndarray
    known: np.ndarray
    scored: np.ndarray
    scale: np.ndarray
    pooled: bool
    unit: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    rate: float | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A batch of rows of one record.

    Attributes:
        record: The record's name.
        first: Rows of the record before it.
        rows: Rows of the whole record.
        compare: Predicts it; None where the task has nothing that can be held together.
    """

    record: str
    first: int
    rows: int
    compare: Callable[[], Comparison | None]


@dataclass(frozen=True)
class _Piece:
    """Where a piece lies, and its error."""

    error: float
    source: int
    row: int
    span: slice


def excerpts(sources: Iterable[Source]) -> tuple[Excerpt, ...]:
    """The best, the median and the worst piece; fewer where there are fewer pieces.

    Args:
        sources: The batches of a part.

    Returns:
        Nothing where no prediction can be held against anything.
    """
    known = list(sources)
    pieces: list[_Piece] = []
    for place, source in enumerate(known):
        compared = source.compare()
        if compared is None:
            return ()
        pieces += _pieces(compared, place)
    ranked = sorted(pieces, key=lambda p: p.error)
    count = len(ranked)
    wanted = {"best": 0, "median": (count - 1) // 2, "worst": count - 1}
    if count < len(wanted):
        wanted = {"best": 0, "worst": 1} if count == 2 else {"only": 0} if count else {}
    found = [
        _excerpt(which, ranked[rank], known[ranked[rank].source], count)
        for which, rank in wanted.items()
    ]
    return _few_channels(found)


def piece_spans(length: int) -> tuple[slice, ...]:
    """The pieces of a row: nearly equal ones, none longer than `LONGEST`.

    Args:
        length: Samples of the row.
    """
    count = max(1, -(-length // LONGEST))
    ends = [round(i * length / count) for i in range(count + 1)]
    return tuple(map(slice, ends[:-1], ends[1:]))


def errors(compared: Comparison, span: slice) -> np.ndarray:
    """The root mean square error of a span of every row ``[B]``; NaN where nothing counts.

    Args:
        compared: The rows.
        span: Samples.
    """
    scale = np.broadcast_to(compared.scale, compared.measured.shape[1:])[span]
    counted = compared.scored[:, span]
    with np.errstate(all="ignore"):  # infinities of an unstable model are its error
        apart = (compared.predicted[:, span] - compared.measured[:, span]) / scale[None]
        square = np.square(apart.astype(float))
        axes = (1, 2) if compared.pooled else (1,)
        count = counted.sum(axis=axes)
        mean = np.where(counted, square, 0.0).sum(axis=axes) / count
        if compared.pooled:
            return np.asarray(np.sqrt(mean))
        total = np.where(count > 0, np.sqrt(mean), 0.0).sum(axis=1)
        return np.asarray(total / (count > 0).sum(axis=1))


def _pieces(compared: Comparison, source: int) -> list[_Piece]:
    """Every piece in which anything is scored; an error that is not finite is the worst."""
    found = []
    spans = piece_spans(compared.measured.shape[1])
    for span in spans:
        told = errors(compared, span)
        counts = compared.scored[:, span].any(axis=(1, 2))
        for row in np.flatnonzero(counts):
            error = float(told[row])
            error = error if math.isfinite(error) else math.inf
            found.append(_Piece(error, source, int(row), span))
    return found


def _excerpt(which: str, piece: _Piece, source: Source, pieces: int) -> Excerpt:
    """The arrays of a piece."""
    compared = source.compare()
    assert compared is not None, "it was compared before"
    row, span = piece.row, piece.span
    known, scored = (a[row, span] for a in (compared.known, compared.scored))
    measured = compared.measured[row, span].astype(np.float32)
    predicted = compared.predicted[row, span].astype(np.float32)
    return Excerpt(
        which=which,
        record=source.record,
        row=source.first + row + 1,
        rows=source.rows,
        start=span.start,
        pieces=pieces,
        metric="rmse",
        value=piece.error,
        unit=compared.unit,
        measured=measured,
        # What a model gives where it was told the truth is no prediction.
        predicted=np.where(known & ~scored, np.float32(np.nan), predicted),
        known=known,
        scored=scored,
        names=compared.names,
        units=compared.units,
        rate=compared.rate,
    )


def _few_channels(found: Sequence[Excerpt]) -> tuple[Excerpt, ...]:
    """The same few channels of each: those of which most is scored, in their own order."""
    if not found or len(found[0].names) <= CHANNELS:
        return tuple(found)
    counts = np.sum([e.scored.sum(axis=0) for e in found], axis=0)
    kept = np.sort(np.argsort(-counts, kind="stable")[:CHANNELS])
    return tuple(
        replace(
            e,
            **{n: getattr(e, n)[:, kept] for n in ("measured", "predicted")},
            **{n: getattr(e, n)[:, kept] for n in ("known", "scored")},
            **{n: tuple(getattr(e, n)[i] for i in kept) for n in ("names", "units")},
        )
        for e in found
    )
