"""Where in a window the known outputs end and a prognosis takes over."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Handover(NamedTuple):
    """The first sample of the prognosis, the same for all rows or for each its own.

    Where it is the same for all, known before compiling, the pieces of a window have exactly
    the length they need. Otherwise they are shifted row by row.

    Attributes:
        first: Index of the first sample behind the known outputs, at least 1.
        length: Samples of a window.
    """

    first: int | Int[Array, " batch"]
    length: int

    def start(self, states: Array) -> Array:
        """Of states ``[B, T, S]`` at every sample that at the last known one, ``[B, S]``."""
        if isinstance(self.first, int):
            return states[:, self.first - 1]
        return _taken(states, self.first[:, None] - 1)[:, 0]

    def behind(self, values: Array) -> Array:
        """Of ``[B, T, C]`` what a prognosis runs over, from its first sample on."""
        if isinstance(self.first, int):
            return values[:, self.first :]
        places = (
            self.first[:, None] + jnp.arange(self.length - 1, dtype=jnp.int32)[None]
        )
        return _taken(values, jnp.minimum(places, self.length - 1))

    def joined(self, before: Array, behind: Array) -> Array:
        """A window ``[B, T, C]`` of what belongs before the handover and behind it.

        Args:
            before: ``[B, T, C]``; what is behind the handover is not used.
            behind: ``[B, …, C]``, aligned as what `behind` gives.
        """
        if isinstance(self.first, int):
            return jnp.concatenate([before[:, : self.first], behind], axis=1)
        places = jnp.arange(self.length, dtype=jnp.int32)[None] - self.first[:, None]
        later = _taken(behind, jnp.clip(places, 0, behind.shape[1] - 1))
        return jnp.where((places >= 0)[..., None], later, before)


def handover(mask: Bool[Array, "batch time 1"], *, known: int | None) -> Handover:
    """Where the known outputs of a batch end.

    Args:
        mask: Which outputs are known.
        known: How many outputs at the start of every row are known, where that is certain
            before compiling; otherwise a row's last known output is looked up. A row
            without any begins its prognosis at its second sample.
    """
    length = mask.shape[1]
    if known is not None:
        return Handover(known, length)
    places = jnp.arange(length, dtype=jnp.int32)[None]
    last = jnp.max(jnp.where(mask[..., 0], places, 0), axis=1)
    return Handover(jnp.minimum(last, length - 2) + 1, length)


def _taken(values: Array, places: Array) -> Array:
    """Row by row the samples at some places: ``[B, T, C]`` and ``[B, N]`` to ``[B, N, C]``."""
    return jnp.take_along_axis(values, places[..., None], axis=1)
