"""Batches read in the background, a few ahead of use, by Grain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
from jaxtyping import Array, Int, Key

from models.data.device import entry_bytes, entry_types, feed_roles
from models.data.gaps import filled, first_missing
from models.data.kinds.base import Part
from models.data.plan import Plan, RowPlan

CHUNK_BYTES = 32 << 20
"""Largest chunk of batches that streaming hands over at a time, in bytes."""
_READERS, _AHEAD = 2, 8  # threads, and batches they read ahead

Read = Callable[[np.ndarray], dict[str, np.ndarray]]


def stream(
    read: Read, order: np.ndarray, *, batch_bytes: int
) -> Iterator[dict[str, np.ndarray]]:
    """Read the batches of one epoch, several at a time.

    Memory holds about two chunks, whatever the size of the files.

    Args:
        read: Reads one batch, given its row of `order`.
        order: ``[batches, batch_size]``.
        batch_bytes: Bytes of one batch.

    Yields:
        What `read` returns with a leading axis of batches; chunks are equal but for the
        last, which may have fewer.
    """
    import grain  # half a second, and only streaming needs it

    source = _Batches(read=read, order=order)
    options = grain.ReadOptions(num_threads=_READERS, prefetch_buffer_size=_AHEAD)
    dataset = grain.MapDataset.source(source).to_iter_dataset(options)
    size = _chunk_batches(len(order), batch_bytes)
    yield from dataset.batch(size, drop_remainder=False)


class StreamingFeed(ABC):
    """What feeds share that read their batches from the files.

    Args:
        part: The part to read from.
        plan: What batches there are.
        fills: Role to the value per channel that stands in for missing ones; by default the
            train mean.
        roles: What batches hold; by default every role but the kind's hidden ones.
    """

    arrays: dict[str, Array] | None = None

    def __init__(
        self,
        *,
        part: Part,
        plan: Plan | RowPlan,
        fills: Mapping[str, np.ndarray] | None = None,
        roles: Collection[str] | None = None,
    ) -> None:
        self._part = part
        self._fills = part.fills if fills is None else fills
        self._roles = feed_roles(part, roles)
        # Types as they are now: the threads that read have a precision of their own.
        self._types = entry_types(part, self._roles)
        self._order = plan.order
        self._bytes = plan.entries * entry_bytes(part, self._roles)
        self.batches, self.batch_size = plan.batches, plan.batch_size

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows or rows of one epoch; see `models.data.feeding.Feed.order`."""
        return self._order(key)

    def chunks(self, order: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Read one epoch, several batches at a time, a few batches ahead of use.

        Args:
            order: What `order` gave, ``[batches, batch_size]``.

        Yields:
            What `read` returns with a leading axis of batches; chunks are equal but for the
            last, which may have fewer.
        """
        yield from stream(self.read, np.asarray(order), batch_bytes=self._bytes)

    @abstractmethod
    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Read one batch; what `batch` of the resident feed returns.

        Args:
            indices: One row of `order`.
        """

    def _filled(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return filled(
            arrays,
            gaps=self._part.reference.gaps,
            fills=self._fills,
            locate=lambda role, _: first_missing(self._part, role),
        )


class _Batches:
    """The batches of one epoch as Grain's random-access source."""

    def __init__(self, *, read: Read, order: np.ndarray) -> None:
        self._read, self._order = read, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self._read(self._order[index])


def _chunk_batches(batches: int, batch_bytes: int) -> int:
    """Batches per chunk: equal chunks, each of at most `CHUNK_BYTES` where possible."""
    most = max(1, CHUNK_BYTES // batch_bytes)
    chunks = -(-batches // most)
    return -(-batches // chunks)
