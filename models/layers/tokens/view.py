"""Some keys of tokens, cut out when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from models.layers.tokens.flatten import decode_pytree
from models.layers.tokens.masks import build_self_attention_mask
from models.layers.tokens.slices import SliceInfo, rebased


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class TokenView:
    """Tokens of some keys in the order asked for; nothing is cut before it is read.

    Attributes:
        parent: The `models.layers.tokens.tokens.Tokens`.
        keys: Which of them.
    """

    parent: Any
    keys: tuple[str, ...]

    @cached_property
    def slices(self) -> dict[str, SliceInfo]:
        """Each key's place in the view, from 0."""
        return rebased(self.parent.slices, self.keys)

    @cached_property
    def data(self) -> Float[Array, "*sample token value"]:
        """The values."""
        return self._cut(self.parent.data, -2)

    @cached_property
    def labels(self) -> Int[Array, " token"]:
        """The label of each token's key, as in the parent."""
        return self._cut(self.parent.labels, -1)

    @cached_property
    def padding_mask(self) -> Bool[Array, "*sample token"] | None:
        """Which tokens there are; None for all."""
        found = self.parent.padding_mask
        return None if found is None else self._cut(found, -1)

    @cached_property
    def functional_inputs(self) -> Float[Array, "*sample token input"] | None:
        """What is known of each token besides its values; None for nothing."""
        found = self.parent.functional_inputs
        return None if found is None else self._cut(found, -2)

    @cached_property
    def self_attention_mask(self) -> Bool[Array, "token token"]:
        """Who of them may read whom."""
        return build_self_attention_mask(self.slices, self.parent.independence)

    def decode(self, flat_array: Any = None) -> dict[str, Array]:
        """The arrays of the view's keys.

        Args:
            flat_array: Tokens of the view, perhaps with other leading axes; its own by default.

        Raises:
            TokenError: The number of tokens is another.
        """
        return decode_pytree(
            self.data if flat_array is None else flat_array, self.slices
        )

    def as_tokens(self) -> Any:
        """`Tokens` of these keys and no others, in this order."""
        return self.parent.replaced(
            data=self.data,
            labels=self.labels,
            self_attention_mask=self.self_attention_mask,
            padding_mask=self.padding_mask,
            functional_inputs=self.functional_inputs,
            slices=self.slices,
            key_order=self.keys,
        )

    @cached_property
    def _places(self) -> slice | np.ndarray:
        """A slice where the keys follow one another in the parent, else every token's index."""
        places = [self.parent.slices[key].place for key in self.keys]
        joined = all(
            a.stop == b.start for a, b in zip(places, places[1:], strict=False)
        )
        if joined and places:
            return slice(places[0].start, places[-1].stop)
        ranges = [np.arange(p.start, p.stop) for p in places]
        return np.concatenate(ranges) if ranges else slice(0, 0)

    def _cut(self, array: Any, axis: int) -> Any:
        where = self._places
        if isinstance(where, slice):
            if where == slice(0, array.shape[axis]):
                return array
            return array[(..., where, *(slice(None),) * (-1 - axis))]
        return jnp.take(array, where, axis=axis)

    def tree_flatten(self) -> tuple[tuple[Any], tuple[str, ...]]:
        """The parent, and the keys as structure."""
        return (self.parent,), self.keys

    @classmethod
    def tree_unflatten(cls, keys: tuple[str, ...], children: tuple[Any]) -> TokenView:
        """The inverse of `tree_flatten`."""
        return cls(children[0], keys)
