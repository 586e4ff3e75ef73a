"""Windows or rows of a part, numbered in turn, and the order in which an epoch sees them.

In consecutive order the number ``i`` of a window that begins a stream is written as its
complement ``-i - 1``, so that the order alone tells where a state carried over from the last
batch must be reset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from models.data import weights as weighing
from models.data.kinds.base import Part
from models.data.order import shuffled
from models.data.rows import Rows
from models.data.windows import Windows
from models.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which windows there are, and how an epoch is drawn from them.

    Attributes:
        records: Numbers of the records that windows are cut from: those that are long enough
            for one; in consecutive order all.
        first: Number of the first window of each of them.
        windows: How many windows there are.
        window: Samples per window.
        stride: Samples between the starts of neighbouring windows.
        batch_size: Windows per batch.
        batches: Batches per epoch.
        limited: Whether their number was asked for, and is not that of all windows.
        consecutive: Whether rows of the batch are streams of consecutive windows; the last
            window of a record may then reach beyond its end, and an epoch may see up to
            `batch_size` - 1 windows twice.
        weights: Whole number for a window of each record (`models.data.weights`); None for
            all alike.
        replacement: Whether windows are drawn whatever was drawn before.
    """

    records: tuple[int, ...]
    first: tuple[int, ...]
    windows: int
    window: int
    stride: int
    batch_size: int
    batches: int
    limited: bool = False
    consecutive: bool
    weights: tuple[int, ...] | None = None
    replacement: bool = False

    @property
    def entries(self) -> int:
        """Time steps of a batch."""
        return self.batch_size * self.window

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows of one epoch; pure."""
        if self.consecutive:
            return self._streams(key)
        count = self.batches * self.batch_size
        if self.replacement:
            drawn = weighing.with_replacement(key, count=count, **self._weighed())
        elif self.weights is not None:
            drawn = weighing.without_replacement(key, count=count, **self._weighed())
        else:
            drawn = shuffled(key, self.windows, count)
        return drawn.reshape(self.batches, self.batch_size)

    def _weighed(self) -> dict[str, Any]:
        return {"first": self.first, "windows": self.windows, "weights": self.weights}

    def _streams(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """Cut all windows into equal stretches, one for each row of the batch.

        Where they cannot be equal without leaving windows out, the last window of some is
        also the first of the next. An epoch shorter than a stretch begins at a random place
        of it, so that over the epochs nothing is left out.
        """
        length = _stretch(self.windows, self.batch_size)
        begin = jnp.zeros((), jnp.int32)
        if self.batches < length:
            begin = jax.random.randint(key, (), 0, length, jnp.int32)
        step = jnp.arange(self.batches, dtype=jnp.int32)
        place = (begin + step) % jnp.int32(length)
        rows = np.arange(self.batch_size, dtype=np.int64) * self.windows
        first = jnp.asarray(rows // self.batch_size, jnp.int32)
        numbers = first[None, :] + place[:, None]
        anew = jnp.isin(numbers, jnp.asarray(self.first, jnp.int32))
        anew = anew | ((place == 0) | (step == 0))[:, None]
        return jnp.where(anew, -numbers - 1, numbers)

    def signature(self) -> tuple[Hashable, ...]:
        """Equal exactly for plans whose `order` and tiles compile to the same code."""
        first = self.first if self.consecutive else ()
        sizes = (self.windows, self.window, self.stride, self.batch_size, self.batches)
        own: tuple[Hashable, ...] = (*sizes, self.consecutive, first)
        own = own if self.limited else (*own, "all")
        if self.weights is None and not self.replacement:
            return own
        return (*own, self.weights, self.replacement, self.first)


def make_plan(part: Part, windows: Windows) -> Plan:
    """Count the windows of a part.

    Raises:
        DataError: The window is longer than every file, there are fewer windows than one
            batch needs, or more than can be numbered; or windows cannot be weighed so.
    """
    consecutive = windows.order == "consecutive"
    stride = windows.window if consecutive else windows.stride
    least = 1 if consecutive else windows.window
    records = tuple(i for i, n in enumerate(part.lengths) if n >= least)
    if max(part.lengths) < windows.window:
        raise DataError(
            f"`window` must not be longer than every file: got {windows.window}, and the "
            f"longest file of part `{part.name}` of `{part.reference.name}` has "
            f"{max(part.lengths)} samples",
            hint=f"set `data.window` to at most {max(part.lengths)}",
        )
    # In consecutive order the last window of a record holds what is left of it.
    left = stride - 1 if consecutive else 0
    counts = [1 + (part.lengths[i] - windows.window + left) // stride for i in records]
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
    size = windows.batch_size
    whole = _stretch(total, size) if consecutive else total // size
    plan = Plan(
        records=records,
        first=tuple(first[:-1].tolist()),
        windows=total,
        window=windows.window,
        stride=stride,
        batch_size=windows.batch_size,
        batches=whole,
        consecutive=consecutive,
        replacement=windows.replacement,
    )
    if windows.batches is not None:
        plan = limit_batches(plan, windows.batches)
    if not windows.weighted:
        return plan
    return weighted_source(
        plan, _weights(part, windows, counts), replacement=windows.replacement
    )


def _stretch(windows: int, rows: int) -> int:
    """Windows that a row of the batch goes through so that all rows leave nothing out."""
    return -(-windows // rows)


def weighted_source(
    plan: Plan, weight: Sequence[float], *, replacement: bool = True
) -> Plan:
    """The same windows, some of which are drawn more often than others.

    Args:
        plan: The windows there are.
        weight: Of a window of each of the plan's records (`models.data.weights`).
        replacement: See `Plan`.

    Raises:
        DataError: There are not as many weights as records, one is negative or not finite,
            or all are zero.
    """
    sizes = np.diff([*plan.first, plan.windows]).tolist()
    whole = weighing.whole(weight, sizes)
    return dataclasses.replace(plan, weights=whole, replacement=replacement)


def limit_batches(plan: Plan, batches: int) -> Plan:
    """The same windows in epochs of so many batches.

    Args:
        plan: The windows there are.
        batches: Of an epoch; of more than one pass, every window comes once a pass.

    Raises:
        DataError: There is none.
    """
    if batches < 1:
        raise DataError(f"an epoch has at least one batch, got {batches}")
    return dataclasses.replace(plan, batches=batches, limited=True)


def _weights(part: Part, windows: Windows, counts: Sequence[int]) -> Sequence[float]:
    """The weight of a window of each record that is long enough for one."""
    kept = [i for i, n in enumerate(part.lengths) if n >= windows.window]
    if windows.weights:
        if len(windows.weights) != len(part.lengths):
            raise DataError(
                f"`data.weights` has {len(windows.weights)} numbers, but part "
                f"`{part.name}` of `{part.reference.name}` has {len(part.lengths)} records",
                hint="give one for every file, in the order of their names",
            )
        return [windows.weights[i] for i in kept]
    if windows.balance == "files":
        return weighing.uniform_by_file(counts)
    found = weighing.read([part.names[i] for i in kept], windows.balance_by)
    if windows.balance == "category":
        return weighing.uniform_by_category(counts, found)
    values = weighing.numbers(found)
    return weighing.uniform_by_value(counts, values, bins=windows.balance_bins)


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """How many rows there are, and how an epoch is drawn from them.

    Attributes:
        rows: Rows of the part.
        batch_size: Rows per batch.
        batches: Batches per epoch.
        replacement: Whether rows are drawn whatever was drawn before.
    """

    rows: int
    batch_size: int
    batches: int
    replacement: bool = False

    @property
    def entries(self) -> int:
        """Rows of a batch."""
        return self.batch_size

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The rows of one epoch; pure."""
        count = self.batches * self.batch_size
        if self.replacement:
            drawn = jax.random.randint(key, (count,), 0, self.rows, jnp.int32)
        else:
            drawn = shuffled(key, self.rows, count)
        return drawn.reshape(self.batches, self.batch_size)

    def signature(self) -> tuple[Hashable, ...]:
        """Equal exactly for plans whose `order` compiles to the same code."""
        own = (self.rows, self.batch_size, self.batches)
        return (*own, "replacement") if self.replacement else own


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
        replacement=rows.replacement,
    )
