"""Windows or rows of a part, numbered in turn, and the order in which an epoch sees them.

In consecutive order the number ``i`` of a window that begins a stream is written as its
complement ``-i - 1``, so that the order alone tells where a state carried over from the last
batch must be reset.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from models.data.kinds.base import Part
from models.data.order import shuffled
from models.data.rows import Rows
from models.data.windows import Windows
from models.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which windows there are, and how an epoch is drawn from them.

    Attributes:
        records: Numbers of the records that are long enough for a window.
        first: Number of the first window of each of them.
        windows: How many windows there are.
        window: Samples per window.
        stride: Samples between the starts of neighbouring windows.
        batch_size: Windows per batch.
        batches: Batches per epoch.
        consecutive: Whether rows of the batch are streams of consecutive windows.
    """

    records: tuple[int, ...]
    first: tuple[int, ...]
    windows: int
    window: int
    stride: int
    batch_size: int
    batches: int
    consecutive: bool

    @property
    def entries(self) -> int:
        """Time steps of a batch."""
        return self.batch_size * self.window

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows of one epoch; pure."""
        if self.consecutive:
            return self._streams(key)
        count = self.batches * self.batch_size
        drawn = shuffled(key, self.windows, count)
        return drawn.reshape(self.batches, self.batch_size)

    def _streams(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """Cut all windows into equal stretches, one for each row of the batch.

        An epoch shorter than a stretch begins at a random place of it, so that over the
        epochs nothing is left out.
        """
        length = self.windows // self.batch_size
        begin = jnp.zeros((), jnp.int32)
        if self.batches < length:
            begin = jax.random.randint(key, (), 0, length, jnp.int32)
        step = jnp.arange(self.batches, dtype=jnp.int32)
        place = (begin + step) % jnp.int32(length)
        rows = jnp.arange(self.batch_size, dtype=jnp.int32) * jnp.int32(length)
        numbers = rows[None, :] + place[:, None]
        anew = jnp.isin(numbers, jnp.asarray(self.first, jnp.int32))
        anew = anew | ((place == 0) | (step == 0))[:, None]
        return jnp.where(anew, -numbers - 1, numbers)

    def signature(self) -> tuple[Hashable, ...]:
        """Equal exactly for plans whose `order` compiles to the same code."""
        first = self.first if self.consecutive else ()
        sizes = (self.windows, self.window, self.stride, self.batch_size, self.batches)
        return (*sizes, self.consecutive, first)


def make_plan(part: Part, windows: Windows) -> Plan:
    """Count the windows of a part.

    Raises:
        DataError: The window is longer than every file, there are fewer windows than one
            batch needs, or more than can be numbered.
    """
    consecutive = windows.order == "consecutive"
    stride = windows.window if consecutive else windows.stride
    records = tuple(i for i, n in enumerate(part.lengths) if n >= windows.window)
    if not records:
        raise DataError(
            f"`window` must not be longer than every file: got {windows.window}, and the "
            f"longest file of part `{part.name}` of `{part.reference.name}` has "
            f"{max(part.lengths)} samples",
            hint=f"set `data.window` to at most {max(part.lengths)}",
        )
    counts = [1 + (part.lengths[i] - windows.window) // stride for i in records]
    first = np.concatenate([[0], np.cumsum(counts)])
    total = int(first[-1])
    if total >= 2**31:
        raise DataError(
            f"at most {2**31 - 1} windows can be numbered, got {total}",
            hint="set `data.stride` higher",
        )
    if total < windows.batch_size and (consecutive or windows.batches is None):
        raise DataError(
            f"a batch of {windows.batch_size} windows needs at least as many, but part "
            f"`{part.name}` of `{part.reference.name}` has {total} of "
            f"{windows.window} samples",
            hint=f"set `data.batch_size` to at most {total}, or `data.window` lower",
        )
    return Plan(
        records=records,
        first=tuple(first[:-1].tolist()),
        windows=total,
        window=windows.window,
        stride=stride,
        batch_size=windows.batch_size,
        batches=windows.batches or total // windows.batch_size,
        consecutive=consecutive,
    )


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """How many rows there are, and how an epoch is drawn from them.

    Attributes:
        rows: Rows of the part.
        batch_size: Rows per batch.
        batches: Batches per epoch.
    """

    rows: int
    batch_size: int
    batches: int

    @property
    def entries(self) -> int:
        """Rows of a batch."""
        return self.batch_size

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The rows of one epoch; pure."""
        drawn = shuffled(key, self.rows, self.batches * self.batch_size)
        return drawn.reshape(self.batches, self.batch_size)

    def signature(self) -> tuple[Hashable, ...]:
        """Equal exactly for plans whose `order` compiles to the same code."""
        return (self.rows, self.batch_size, self.batches)


def make_row_plan(part: Part, rows: Rows) -> RowPlan:
    """Count the batches of a part of independent samples.

    Raises:
        DataError: There are fewer rows than one batch needs, or more than can be numbered.
    """
    (total,) = part.lengths
    if total >= 2**31:
        raise DataError(
            f"at most {2**31 - 1} rows can be numbered, got {total}",
            hint="leave some out, or part the data",
        )
    if total < rows.batch_size and rows.batches is None:
        raise DataError(
            f"a batch of {rows.batch_size} rows needs at least as many, but part "
            f"`{part.name}` of `{part.reference.name}` has {total}",
            hint=f"set `data.batch_size` to at most {total}",
        )
    return RowPlan(
        rows=total,
        batch_size=rows.batch_size,
        batches=rows.batches or total // rows.batch_size,
    )
