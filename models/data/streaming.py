"""Batches read in the background, a few ahead of use, by Grain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

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
