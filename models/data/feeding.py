"""Batches of windows for the engine: resident on the device, or streamed from the files.

Both feeds give the same batches for the same order (`models.data.plan`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from models.data.dataset import Part
from models.data.plan import Plan, make_plan
from models.data.windows import Windows
from models.errors import DataError

RESIDENT_BYTES = 1 << 30
"""Largest part that ``feeding="auto"`` keeps on the device, in bytes there."""
CHUNK_BYTES = 32 << 20
"""Largest chunk of batches that streaming hands over at a time, in bytes."""
_READERS, _AHEAD = 2, 8  # threads, and batches they read ahead

Sequences: TypeAlias = dict[str, np.ndarray]
"""Whole records of equal length: ``u`` ``[N, T, n_u]`` and ``y`` ``[N, T, n_y]``."""


class Feed(Protocol):
    """The interface of both feeds. A resident one adds `batch`, a streaming one `chunks`.

    Attributes:
        batches: Batches per epoch.
        batch_size: Windows per batch.
        window: Samples per window.
        arrays: The part on the device, handed to `batch`; None when it is streamed.
    """

    batches: int
    batch_size: int
    window: int
    arrays: dict[str, Array] | None

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and `batch` compile to the same code."""
        ...

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows of one epoch; pure, to be called inside compiled code.

        Args:
            key: Randomness of this epoch.
        """
        ...


class ResidentFeed:
    """The whole part lies on the device; batches are gathered inside compiled code.

    Args:
        part: The part to read, once.
        windows: How it is cut.

    Raises:
        DataError: There are no windows, or fewer than a batch needs.
    """

    def __init__(self, *, part: Part, windows: Windows) -> None:
        self._plan = plan = make_plan(part, windows)
        self.batches, self.batch_size = plan.batches, plan.batch_size
        self.window = plan.window
        lengths = [part.lengths[i] for i in plan.records]
        offsets = np.cumsum([0, *lengths])
        if offsets[-1] >= 2**31:
            raise DataError(
                f"at most {2**31 - 1} samples can be resident, got {offsets[-1]}",
                hint="set `data.feeding` to `streaming`",
            )
        host = {
            role: np.empty((offsets[-1], width), default_dtype())
            for role, width in part.channels.items()
        }
        for i, start, length in zip(plan.records, offsets, lengths, strict=False):
            for role, values in part.load(i).items():
                host[role][start : start + length] = values
        self.arrays: dict[str, Array] = {k: jnp.asarray(v) for k, v in host.items()}
        self.arrays["first"] = jnp.asarray(plan.first, jnp.int32)
        self.arrays["offset"] = jnp.asarray(offsets[:-1], jnp.int32)

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and `batch` compile to the same code."""
        shapes = tuple((k, v.shape, str(v.dtype)) for k, v in self.arrays.items())
        return ("resident", *self._plan.signature(), shapes)

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows of one epoch; see `Feed.order`."""
        return self._plan.order(key)

    def batch(
        self, arrays: dict[str, Array], indices: Int[Array, " batch_size"]
    ) -> dict[str, Array]:
        """Gather one batch from the arrays; pure, for use inside compiled code.

        Args:
            arrays: The feed's own `arrays`, handed in so that they are no constants.
            indices: One row of `order`.

        Returns:
            ``u`` ``[B, T, n_u]``, ``y`` ``[B, T, n_y]``, and ``reset`` (bool ``[B]``) in
            consecutive order.
        """
        plan = self._plan
        reset = indices < 0
        numbers = jnp.where(reset, -indices - 1, indices)
        record = jnp.searchsorted(arrays["first"], numbers, side="right") - 1
        within = numbers - arrays["first"][record]
        starts = arrays["offset"][record] + within * jnp.int32(plan.stride)
        out = {role: _gather(arrays[role], starts, plan.window) for role in ("u", "y")}
        return out | {"reset": reset} if plan.consecutive else out


class StreamingFeed:
    """Batches are read from the files in the background, a few ahead, by Grain.

    Args:
        part: The part to read from.
        windows: How it is cut.

    Raises:
        DataError: There are no windows, or fewer than a batch needs.
    """

    arrays: dict[str, Array] | None = None

    def __init__(self, *, part: Part, windows: Windows) -> None:
        self._plan = plan = make_plan(part, windows)
        self._part = part
        self.batches, self.batch_size = plan.batches, plan.batch_size
        self.window = plan.window
        self._dtype = default_dtype()
        self._first = np.asarray(plan.first)
        self._records = np.asarray(plan.records)

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and chunks compile to the same code."""
        widths = tuple(self._part.channels.items())
        return ("streaming", *self._plan.signature(), widths, str(self._dtype))

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows of one epoch; see `Feed.order`."""
        return self._plan.order(key)

    def chunks(self, order: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Read one epoch, several batches at a time, a few batches ahead of use.

        Memory holds about two chunks, whatever the size of the files.

        Args:
            order: What `order` gave, ``[batches, batch_size]``.

        Yields:
            What `ResidentFeed.batch` returns, as numpy arrays with a leading axis of
            batches; chunks are equal but for the last, which may have fewer.
        """
        import grain  # half a second, and only streaming needs it

        channels = sum(self._part.channels.values())
        size = _chunk_batches(self._plan, channels, self._dtype.itemsize)
        source = _Batches(feed=self, order=np.asarray(order))
        options = grain.ReadOptions(num_threads=_READERS, prefetch_buffer_size=_AHEAD)
        dataset = grain.MapDataset.source(source).to_iter_dataset(options)
        yield from dataset.batch(size, drop_remainder=False)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Read one batch from the files; what `ResidentFeed.batch` returns."""
        plan = self._plan
        reset = indices < 0
        numbers = np.where(reset, -indices - 1, indices)
        place = np.searchsorted(self._first, numbers, side="right") - 1
        starts = (numbers - self._first[place]) * plan.stride
        out = {
            role: np.empty((len(indices), plan.window, width), self._dtype)
            for role, width in self._part.channels.items()
        }
        for row, (record, start) in enumerate(
            zip(self._records[place].tolist(), starts.tolist(), strict=True)
        ):
            piece = self._part.slice(record, start, start + plan.window)
            for role, values in piece.items():
                out[role][row] = values
        return out | {"reset": reset} if plan.consecutive else out


class _Batches:
    """The batches of one epoch as Grain's random-access source."""

    def __init__(self, *, feed: StreamingFeed, order: np.ndarray) -> None:
        self._feed = feed
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self._feed.read(self._order[index])


def make_feed(part: Part, windows: Windows) -> ResidentFeed | StreamingFeed:
    """Choose how a part is fed; see `Windows.feeding`.

    Raises:
        DataError: The window is longer than every file, or there are too few windows.
    """
    mode = windows.feeding
    if mode == "auto":
        size = sum(part.lengths) * sum(part.channels.values())
        fits = size * default_dtype().itemsize <= RESIDENT_BYTES
        mode = "resident" if fits else "streaming"
    kind = ResidentFeed if mode == "resident" else StreamingFeed
    return kind(part=part, windows=windows)


def full_sequences(part: Part) -> tuple[Sequences, ...]:
    """Every record in full, grouped by length in order of first appearance."""
    groups: dict[int, list[dict[str, np.ndarray]]] = {}
    for i, length in enumerate(part.lengths):
        groups.setdefault(length, []).append(part.load(i))
    dtype = default_dtype()
    return tuple(
        {role: np.stack([r[role] for r in group]).astype(dtype) for role in ("u", "y")}
        for group in groups.values()
    )


def default_dtype() -> np.dtype:
    """The type data has on the device: JAX's default float."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


def _chunk_batches(plan: Plan, channels: int, itemsize: int) -> int:
    """Batches per chunk: equal chunks, each of at most `CHUNK_BYTES` where possible."""
    size = plan.batch_size * plan.window * channels * itemsize
    most = max(1, CHUNK_BYTES // size)
    chunks = -(-plan.batches // most)
    return -(-plan.batches // chunks)


def _gather(array: Array, starts: Int[Array, " batch_size"], window: int) -> Array:
    """Windows ``[B, window, C]``; slices are copied whole (7 times a gather by index)."""

    def one(start: Int[Array, ""]) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, start, window)

    return jax.vmap(one)(starts)
