"""Batches of independent rows: gathered on the device, or read from the file."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from models.data.device import default_dtype, entry_types, feed_roles
from models.data.gaps import filled
from models.data.kinds.base import Part
from models.data.plan import make_row_plan
from models.data.rows import Rows
from models.data.streaming import StreamingFeed


class ResidentRows:
    """The whole part lies on the device; rows are gathered inside compiled code.

    Args:
        part: The part to read, once.
        rows: How rows are drawn.
        fills: Role to the value per channel that stands in for missing ones; by default the
            train mean.
        roles: What batches hold; by default every role but the kind's hidden ones.

    Raises:
        DataError: There are fewer rows than a batch needs, or too many.
    """

    def __init__(
        self,
        *,
        part: Part,
        rows: Rows,
        fills: Mapping[str, np.ndarray] | None = None,
        roles: Collection[str] | None = None,
    ) -> None:
        self._plan = plan = make_row_plan(part, rows)
        self.batches, self.batch_size = plan.batches, plan.batch_size
        wanted = feed_roles(part, roles)
        self._names = tuple(entry_types(part, wanted))
        stored = part.slice(0, 0, plan.rows, roles=wanted)
        host = filled(
            {role: np.array(v, default_dtype()) for role, v in stored.items()},
            gaps=part.reference.gaps,
            fills=part.fills if fills is None else fills,
            locate=lambda role, entry: part.locate(role, 0, entry),
        )
        self.arrays: dict[str, Array] = {k: jnp.asarray(v) for k, v in host.items()}

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and `batch` compile to the same code."""
        shapes = tuple((k, v.shape, str(v.dtype)) for k, v in self.arrays.items())
        return ("resident rows", *self._plan.signature(), shapes)

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The rows of one epoch; see `models.data.feeding.Feed.order`."""
        return self._plan.order(key)

    def batch(
        self, arrays: dict[str, Array], indices: Int[Array, " batch_size"]
    ) -> dict[str, Array]:
        """Gather one batch from the arrays; pure, for use inside compiled code.

        Args:
            arrays: The feed's own `arrays`, handed in so that they are no constants.
            indices: One row of `order`.

        Returns:
            Role to ``[B, …]``, with the masks of those that have gaps.
        """
        return {name: arrays[name][indices] for name in self._names}


class StreamingRows(StreamingFeed):
    """Rows are read from the file in the background, a few batches ahead, by Grain.

    Args:
        part: The part to read from.
        rows: How rows are drawn.
        fills: See `ResidentRows`.
        roles: See `ResidentRows`.

    Raises:
        DataError: There are fewer rows than a batch needs, or too many.
    """

    def __init__(
        self,
        *,
        part: Part,
        rows: Rows,
        fills: Mapping[str, np.ndarray] | None = None,
        roles: Collection[str] | None = None,
    ) -> None:
        self._plan = make_row_plan(part, rows)
        super().__init__(part=part, plan=self._plan, fills=fills, roles=roles)

    def signature(self) -> Hashable:
        """Equal exactly for feeds whose `order` and chunks compile to the same code."""
        types = tuple((k, shape, str(t)) for k, (shape, t) in self._types.items())
        return ("streaming rows", *self._plan.signature(), types)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Read one batch from the file; what `ResidentRows.batch` returns."""
        rows = [
            self._part.slice(0, i, i + 1, roles=self._roles) for i in indices.tolist()
        ]
        out = {
            role: np.concatenate(
                [row[role] for row in rows], dtype=self._types[role][1]
            )
            for role in self._roles
        }
        return self._filled(out)
