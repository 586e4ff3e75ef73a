"""Windows that follow one another, batch by batch on the host, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from models.data.kinds.base import Part
from models.data.window_feeds import StreamingWindows
from models.data.windows import Windows


class TBPTTSource:
    """Batches for truncated back-propagation through time: what ``data.order`` trains on.

    Every row of the batch is a stream of windows, and a model's state is carried from batch
    to batch along it. Each pass over the source is the next epoch; a source of the same seed
    gives the same ones. Families do not need it: with ``data.order`` ``consecutive`` they
    gather the same batches inside compiled code.

    Args:
        part: Records, as of `models.data.dataset.open_dataset`.
        window: Samples of a window: how far gradients go back.
        batch_size: Parallel streams.
        batches: Of an epoch; None for so many that nothing is left out.
        seed: Where an epoch that is shorter than the streams begins.

    Raises:
        ConfigError: A number is out of range.
        DataError: There are fewer windows than streams, or they are longer than every record.
    """

    def __init__(
        self,
        part: Part,
        *,
        window: int,
        batch_size: int,
        batches: int | None = None,
        seed: int = 0,
    ) -> None:
        cut = Windows(
            window=window, batch_size=batch_size, batches=batches, order="consecutive"
        )
        self._feed = StreamingWindows(part=part, windows=cut)
        self._key, self._epoch = jax.random.key(seed), 0

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._feed.batches

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """One epoch.

        Yields:
            Every role ``[B, T, channels]``; ``reset`` ``[B]``: whose state begins anew with
            this window; ``inside`` ``[B, T, 1]``: which samples are of the record, beyond
            whose end all is zero.

        Raises:
            DataError: A file cannot be read, or holds values that are not finite.
        """
        key = jax.random.fold_in(self._key, self._epoch)
        self._epoch += 1
        for numbers in np.asarray(self._feed.order(key)):
            yield self._feed.read(numbers)
