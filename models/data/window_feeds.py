"""Batches of windows: gathered from a part on the device, or read from its files."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from models.data.device import default_dtype, entry_types, feed_roles
from models.data.gaps import filled, first_missing
from models.data.kinds.base import Part
from models.data.plan import make_plan
from models.data.streaming import StreamingFeed
from models.data.tiles import Tiles, tiles
from models.data.windows import Windows
from models.errors import ConfigError, DataError

INSIDE = "inside"
"""Of a batch in consecutive order: which samples lie within their record."""


class ResidentWindows:
    """The whole part lies on the device; batches are gathered inside compiled code.

    Args:
        part: The part to read, once.
        windows: How it is cut.
        fills: Role to the value per channel that stands in for missing ones; by default the
            train mean.
        roles: What batches hold; by default every role but the kind's hidden ones.

    Raises:
        DataError: There are no windows, or fewer than a batch needs.
    """

    def __init__(
        self,
        *,
        part: Part,
        windows: Windows,
        fills: Mapping[str, np.ndarray] | None = None,
        roles: Collection[str] | None = None,
    ) -> None:
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
        wanted = feed_roles(part, roles)
        # Room behind the last record, where a window may reach.
        room = int(offsets[-1]) + (plan.window if plan.consecutive else 0)
        host = {
            role: np.zeros((room, *part.shapes[role]), default_dtype())
            for role in wanted
        }
        for i, start, length in zip(plan.records, offsets, lengths, strict=False):
            for role, values in part.slice(i, 0, length, roles=wanted).items():
                host[role][start : start + length] = values
        host = filled(
            host,
            gaps=part.reference.gaps,
            fills=part.fills if fills is None else fills,
            locate=lambda role, _: first_missing(part, role),
        )
        self._names = tuple(entry_types(part, wanted))
        self.arrays: dict[str, Array] = {k: jnp.asarray(v) for k, v in host.items()}
        self.arrays["first"] = jnp.asarray(plan.first, jnp.int32)
        self.arrays["offset"] = jnp.asarray(offsets[:-1], jnp.int32)
        if plan.consecutive:
            self.arrays["end"] = jnp.asarray(offsets[1:], jnp.int32)

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and `batch` compile to the same code."""
        shapes = tuple((k, v.shape, str(v.dtype)) for k, v in self.arrays.items())
        return ("resident", *self._plan.signature(), shapes)

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The windows of one epoch; see `models.data.feeding.Feed.order`."""
        return self._plan.order(key)

    def tiles(self, start: int) -> Tiles:
        """Windows that score every sample once, from sample `start` of each on.

        As many as the epoch's batches hold, where their number is given and smaller; else all,
        however many are left over of whole batches.

        Raises:
            ConfigError: Some windows are to be drawn more often than others.
        """
        if self._plan.weights is not None or self._plan.replacement:
            raise ConfigError(
                "an epoch that scores every sample once weighs no windows, got "
                "`data.balance`, `data.weights` or `data.replacement`",
                hint="leave them out, or set `optimizer.kind` to `adam`",
            )
        found = tiles(self._plan, start)
        if not self._plan.limited:
            return found
        count = min(len(found.numbers), self.batches * self.batch_size)
        return Tiles(found.numbers[:count], found.skip[:count])

    def batch(
        self, arrays: dict[str, Array], indices: Int[Array, " batch_size"]
    ) -> dict[str, Array]:
        """Gather one batch from the arrays; pure, for use inside compiled code.

        Args:
            arrays: The feed's own `arrays`, handed in so that they are no constants.
            indices: One row of `order`.

        Returns:
            Role to ``[B, T, channels]`` with the masks of those that have gaps. In
            consecutive order ``reset`` (bool ``[B]``), and `INSIDE` (bool ``[B, T, 1]``):
            what is beyond a record's end is zero.
        """
        plan = self._plan
        reset = indices < 0
        numbers = jnp.where(reset, -indices - 1, indices)
        record = jnp.searchsorted(arrays["first"], numbers, side="right") - 1
        within = numbers - arrays["first"][record]
        starts = arrays["offset"][record] + within * jnp.int32(plan.stride)
        out = {name: _gather(arrays[name], starts, plan.window) for name in self._names}
        if not plan.consecutive:
            return out
        places = starts[:, None] + jnp.arange(plan.window, dtype=jnp.int32)[None]
        inside = (places < arrays["end"][record][:, None])[..., None]
        return {name: _only(array, inside) for name, array in out.items()} | {
            "reset": reset,
            INSIDE: inside,
        }


class StreamingWindows(StreamingFeed):
    """Batches are read from the files in the background, a few ahead, by Grain.

    Args:
        part: The part to read from.
        windows: How it is cut.
        fills: See `ResidentWindows`.
        roles: See `ResidentWindows`.

    Raises:
        DataError: There are no windows, or fewer than a batch needs.
    """

    def __init__(
        self,
        *,
        part: Part,
        windows: Windows,
        fills: Mapping[str, np.ndarray] | None = None,
        roles: Collection[str] | None = None,
    ) -> None:
        self._plan = plan = make_plan(part, windows)
        super().__init__(part=part, plan=plan, fills=fills, roles=roles)
        self.window = plan.window
        self._dtype = default_dtype()
        self._first = np.asarray(plan.first)
        self._records = np.asarray(plan.records)

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and chunks compile to the same code."""
        types = tuple((name, shape) for name, (shape, _) in self._types.items())
        return ("streaming", *self._plan.signature(), types, str(self._dtype))

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Read one batch from the files; what `ResidentWindows.batch` returns."""
        plan = self._plan
        reset = indices < 0
        numbers = np.where(reset, -indices - 1, indices)
        place = np.searchsorted(self._first, numbers, side="right") - 1
        starts = (numbers - self._first[place]) * plan.stride
        out = {
            role: np.zeros((len(indices), plan.window, *shape), self._dtype)
            for role, (shape, _) in self._types.items()
            if role in self._roles
        }
        inside = np.zeros((len(indices), plan.window, 1), bool)
        for row, (record, start) in enumerate(
            zip(self._records[place].tolist(), starts.tolist(), strict=True)
        ):
            stop = min(start + plan.window, self._part.lengths[record])
            piece = self._part.slice(record, start, stop, roles=self._roles)
            inside[row, : stop - start] = True
            for role, values in piece.items():
                out[role][row, : stop - start] = values
        out = self._filled(out)
        if not plan.consecutive:
            return out
        out = {name: _zeroed(array, inside) for name, array in out.items()}
        return out | {"reset": reset, INSIDE: inside}


def _only(array: Array, inside: Array) -> Array:
    """What lies inside a record, and zero elsewhere."""
    trailing = (1,) * (array.ndim - inside.ndim)
    mask = jnp.broadcast_to(inside.reshape(*inside.shape, *trailing), array.shape)
    return jnp.where(mask, array, jnp.zeros_like(array))


def _zeroed(array: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """`_only` on the host."""
    trailing = (1,) * (array.ndim - inside.ndim)
    mask = np.broadcast_to(inside.reshape(*inside.shape, *trailing), array.shape)
    return np.where(mask, array, np.zeros_like(array))


def _gather(array: Array, starts: Int[Array, " batch_size"], window: int) -> Array:
    """Windows ``[B, window, C]``; slices are copied whole (7 times a gather by index)."""

    def one(start: Int[Array, ""]) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, start, window)

    return jax.vmap(one)(starts)
