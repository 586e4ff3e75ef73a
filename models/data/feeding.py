"""Feeds for training and groups for scoring, for data of every kind.

A feed is resident on the device or streamed from the files; both give the same batches for
the same order (`models.data.plan`). Values that are missing come filled, with masks beside
them (`models.data.gaps`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Array, Int, Key

from models.data.device import default_dtype, entry_types, feed_roles, fits
from models.data.gaps import filled
from models.data.kinds import kind
from models.data.kinds.base import Part
from models.data.plan import make_plan, make_row_plan
from models.data.row_feeds import ResidentRows, StreamingRows
from models.data.rows import Rows
from models.data.window_feeds import INSIDE, ResidentWindows, StreamingWindows
from models.data.windows import Windows
from models.errors import DataError

Group: TypeAlias = dict[str, np.ndarray]
"""Equally long pieces by role ``[N, …, channels]``, and masks of roles with gaps."""
Fills: TypeAlias = Mapping[str, np.ndarray] | None
Place: TypeAlias = Callable[[tuple[int, ...]], tuple[int, tuple[int, ...]]]
AnyFeed: TypeAlias = ResidentWindows | StreamingWindows | ResidentRows | StreamingRows


class Feed(Protocol):
    """The interface of all feeds. Resident ones add `batch`, streaming ones `chunks`.

    Attributes:
        batches: Batches per epoch.
        batch_size: Windows or rows per batch.
        arrays: The part on the device, handed to `batch`; None when it is streamed.
    """

    batches: int
    batch_size: int
    arrays: dict[str, Array] | None

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and `batch` compile to the same code."""
        ...

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows or rows of one epoch; pure, to be called inside compiled code.

        Args:
            key: Randomness of this epoch.
        """
        ...


def make_feed(
    part: Part,
    config: Windows | Rows,
    *,
    fills: Fills = None,
    roles: Collection[str] | None = None,
) -> AnyFeed:
    """Choose how a part is fed; see `Windows.feeding` and `Rows.feeding`.

    Args:
        part: The part to feed.
        config: Windows of records or a series, or rows of samples.
        fills: Role to the value per channel that stands in for missing ones; by default the
            train mean.
        roles: What batches hold; by default every role but the kind's hidden ones.

    Raises:
        DataError: The part is not cut in this way, the window is longer than every file, or
            there are too few windows or rows.
    """
    _check_cut(part, config)
    mode = config.feeding
    if mode == "auto":
        mode = "resident" if fits(part, feed_roles(part, roles)) else "streaming"
    if isinstance(config, Rows):
        by_row = ResidentRows if mode == "resident" else StreamingRows
        return by_row(part=part, rows=config, fills=fills, roles=roles)
    by_window = ResidentWindows if mode == "resident" else StreamingWindows
    return by_window(part=part, windows=config, fills=fills, roles=roles)


def batch_shapes(
    part: Part, config: Windows | Rows, *, roles: Collection[str] | None = None
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of everything a batch holds, masks included; no values are read.

    Raises:
        DataError: As `make_feed` does.
    """
    _check_cut(part, config)
    leading: tuple[int, ...]
    if isinstance(config, Rows):
        leading = (make_row_plan(part, config).batch_size,)
    else:
        plan = make_plan(part, config)
        leading = (plan.batch_size, plan.window)
    types = entry_types(part, feed_roles(part, roles)).items()
    found = {name: (leading + shape, dtype) for name, (shape, dtype) in types}
    if isinstance(config, Windows) and config.order == "consecutive":
        found["reset"] = (leading[:1], np.dtype(bool))
        found[INSIDE] = ((*leading, 1), np.dtype(bool))
    return found


def full_sequences(
    part: Part, *, fills: Fills = None, dtype: Any = None
) -> tuple[Group, ...]:
    """Every record in full, grouped by length in order of first appearance.

    Returns:
        Every role ``[N, T, channels]``, and masks.
    """
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(part.lengths):
        by_length.setdefault(length, []).append(index)
    return tuple(
        _group(part, [(i, 0, length) for i in records], fills, dtype)
        for length, records in by_length.items()
    )


def cut_windows(
    part: Part,
    length: int,
    stride: int,
    *,
    before: int = 0,
    fills: Fills = None,
    dtype: Any = None,
) -> tuple[Group, ...]:
    """Windows of equal length, records in order, as one group.

    Args:
        part: Records or a series.
        length: Time steps of a window.
        stride: Time steps between the starts of neighbouring windows.
        before: Time steps that the first window begins ahead of a series' part, so that what
            it forecasts begins with the part; fewer where the table begins later.
        fills: Role to the value per channel that stands in for missing ones; by default the
            train mean.
        dtype: Of the arrays; None for the type data has on the device.

    Returns:
        Every role ``[N, length, channels]``, and masks. Starts are ``-before``, ``stride``
        after it, and so on, as many as fit.

    Raises:
        DataError: No window fits into any record.
    """
    first = -min(before, part.before)
    cuts = [
        (index, start, start + length)
        for index, end in enumerate(part.lengths)
        for start in range(first, end - length + 1, stride)
    ]
    if not cuts:
        longest = int(np.argmax(part.lengths))
        what, _ = part.locate(next(iter(part.shapes)), longest, (0, 0))
        raise DataError(
            f"a window of {length} samples is longer than every record of part "
            f"`{part.name}` of `{part.reference.name}`: the longest ({what}) has "
            f"{part.lengths[longest] - first}",
            hint=f"score windows of at most {part.lengths[longest] - first} samples",
        )
    return (_group(part, cuts, fills, dtype),)


def rows(part: Part, *, fills: Fills = None, dtype: Any = None) -> tuple[Group, ...]:
    """All rows of independent samples as one group: every role ``[N, …]``, and masks."""
    group = _filled(part, part.load(0), lambda entry: (0, entry), fills, dtype)
    return (group,)


def _group(
    part: Part, cuts: list[tuple[int, int, int]], fills: Fills, dtype: Any
) -> Group:
    """Pieces (record, start, stop) of equal length, stacked."""
    pieces = [part.slice(*cut) for cut in cuts]
    arrays = {role: np.stack([piece[role] for piece in pieces]) for role in pieces[0]}

    def place(entry: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        index, start, _ = cuts[entry[0]]
        return index, (start + entry[1], *entry[2:])

    return _filled(part, arrays, place, fills, dtype)


def _filled(part: Part, arrays: Group, place: Place, fills: Fills, dtype: Any) -> Group:
    """Arrays in the device's type (or another), filled; `place` finds an entry's record."""
    kind_of_float = default_dtype() if dtype is None else dtype
    return filled(
        {role: np.array(values, kind_of_float) for role, values in arrays.items()},
        gaps=part.reference.gaps,
        fills=part.fills if fills is None else fills,
        locate=lambda role, entry: part.locate(role, *place(entry)),
    )


def _check_cut(part: Part, config: Windows | Rows) -> None:
    """Windows are cut out of what lies in time order, rows are drawn of what does not."""
    cut = kind(part.reference.kind).CUT
    if cut != ("rows" if isinstance(config, Rows) else "windows"):
        raise DataError(
            f"{part.reference.kind} are fed as {cut}, and the configuration of `data` is "
            f"`{type(config).__name__}`",
            hint="choose a family that learns from this kind of data, or other data",
        )
