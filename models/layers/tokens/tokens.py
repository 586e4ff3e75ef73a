"""Named arrays as tokens, with all that attention wants to know of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from models.layers.tokens.flatten import (
    WIDE,
    decode_pytree,
    decode_some,
    flatten_functional_inputs,
    flatten_pytree,
    update_flat_array,
)
from models.layers.tokens.masks import (
    Independence,
    Rules,
    build_cross_attention_mask,
    build_padding_mask,
    build_self_attention_mask,
)
from models.layers.tokens.slices import (
    SliceInfo,
    different_keys,
    rebased,
    require_keys,
)
from models.layers.tokens.view import TokenView

_ARRAYS = ("data", "labels", "self_attention_mask", "padding_mask", "functional_inputs")


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Tokens:
    """A sequence of tokens: a pytree whose leaves are arrays and whose structure is static.

    Attributes:
        data: Values ``[*sample, token, value]``, padded with zeros to the widest key.
        labels: A number for the key of every token ``[token]``.
        self_attention_mask: True where a token may read another ``[token, token]``.
        padding_mask: Which tokens there are ``[*sample, token]``; None for all.
        functional_inputs: What is known of a token besides its values ``[*sample, token, F]``,
            `MISSING` for nothing; None where no key has any.
        slices: Key to where its tokens lie.
        label_map: Key to label.
        key_order: The keys in the order of their tokens.
        independence: The rules behind the mask.
    """

    data: Float[Array, "*sample token value"]
    labels: Int[Array, " token"]
    self_attention_mask: Bool[Array, "token token"]
    padding_mask: Bool[Array, "*sample token"] | None
    functional_inputs: Float[Array, "*sample token input"] | None
    slices: Mapping[str, SliceInfo]
    label_map: Mapping[str, int]
    key_order: tuple[str, ...]
    independence: Independence = dataclasses.field(default_factory=Independence)

    @classmethod
    def from_pytree(
        cls,
        data: Mapping[str, Any],
        independence: Rules = None,
        functional_inputs: Mapping[str, Any] | None = None,
        sample_ndims: int = 1,
        batch_ndims: int | Mapping[str, int] = 1,
        *,
        label_map: Mapping[str, int] | None = None,
        event_shapes: Mapping[str, Any] | None = None,
        warn_above: float = WIDE,
    ) -> Self:
        """Tokens of named arrays.

        Args:
            data: Key to ``[*sample, *event, *batch]``.
            independence: The rules of the mask; see `Independence`.
            functional_inputs: Key to ``[*sample, *event, F]``, of some keys.
            sample_ndims: Leading axes that are samples.
            batch_ndims: Trailing axes that are a token's values, of all keys or by key.
            label_map: Labels of keys, such as those of other tokens; numbered by default.
            event_shapes: Key to the actual lengths of its event ``[*sample, axes]``, of keys
                that are padded; ``[axes]`` where they are those of all samples.
            warn_above: See `flatten_pytree`.

        Raises:
            TokenError: Arrays, keys or rules do not fit together.
        """
        flat, slices = flatten_pytree(
            data,
            sample_ndims=sample_ndims,
            batch_ndims=batch_ndims,
            warn_above=warn_above,
        )
        rules = Independence.of(independence)
        rules.require(slices)
        labels = dict(label_map or {key: n for n, key in enumerate(slices)})
        require_keys(slices, labels)
        samples = flat.shape[:-2]
        padding = None
        if event_shapes:
            padding = build_padding_mask(slices, event_shapes, samples=samples)
        return cls(
            data=flat,
            labels=_labels(slices, labels),
            self_attention_mask=build_self_attention_mask(slices, rules),
            padding_mask=padding,
            functional_inputs=flatten_functional_inputs(
                functional_inputs or {}, slices, samples=samples
            ),
            slices=slices,
            label_map=labels,
            key_order=tuple(slices),
            independence=rules,
        )

    def select_tokens(self, keys: Iterable[str]) -> TokenView:
        """Some keys, in the order asked for; nothing is copied.

        Raises:
            TokenError: A key is unknown, or comes twice.
        """
        return TokenView(self, different_keys(keys, self.key_order))

    def cross_attention_mask(
        self, query_keys: Iterable[str] | TokenView, key_keys: Iterable[str] | TokenView
    ) -> Bool[Array, "query key"]:
        """Where tokens of some keys may read tokens of others.

        Args:
            query_keys: Keys of those that read, or a view of them.
            key_keys: Keys of those that are read, or a view.

        Raises:
            TokenError: A key is unknown.
        """
        query, key = (
            keys.slices if isinstance(keys, TokenView) else rebased(self.slices, keys)
            for keys in (query_keys, key_keys)
        )
        return build_cross_attention_mask(query, key, self.independence)

    def with_values(self, **values: Any) -> Self:
        """The same tokens with other values of some keys; masks and structure are shared.

        Raises:
            TokenError: A key is unknown, or an array has another shape than before.
        """
        return self.replaced(data=update_flat_array(self.data, self.slices, values))

    def replaced(self, **fields: Any) -> Self:
        """The same tokens with some fields replaced."""
        return dataclasses.replace(self, **fields)

    def decode(self, flat_array: Any = None) -> dict[str, Array]:
        """The arrays by key.

        Args:
            flat_array: All tokens, perhaps with other leading axes; its own by default.

        Raises:
            TokenError: The number of tokens is another.
        """
        return decode_pytree(
            self.data if flat_array is None else flat_array, self.slices
        )

    def decode_keys(self, flat_array: Any, keys: Iterable[str]) -> dict[str, Array]:
        """The arrays of some keys.

        Args:
            flat_array: The tokens of these keys, in this order, and no others.
            keys: The keys.

        Raises:
            TokenError: The number of tokens is another, or a key is unknown.
        """
        return decode_some(flat_array, self.slices, keys)

    def sample_axes(self, axis: int | None = 0) -> Self:
        """What `jax.vmap` takes as ``in_axes`` to map over samples alone.

        Args:
            axis: A sample axis.
        """
        return self.replaced(
            data=axis,
            labels=None,
            self_attention_mask=None,
            padding_mask=None if self.padding_mask is None else axis,
            functional_inputs=None if self.functional_inputs is None else axis,
        )

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        """The arrays, and everything else as hashable structure."""
        structure = (
            tuple(self.slices.items()),
            tuple(self.label_map.items()),
            self.key_order,
            self.independence,
        )
        return tuple(getattr(self, name) for name in _ARRAYS), structure

    @classmethod
    def tree_unflatten(cls, structure: Any, arrays: Iterable[Any]) -> Self:
        """The inverse of `tree_flatten`."""
        slices, labels, order, rules = structure
        return cls(
            **dict(zip(_ARRAYS, arrays, strict=True)),
            slices=dict(slices),
            label_map=dict(labels),
            key_order=order,
            independence=rules,
        )


def _labels(slices: Mapping[str, SliceInfo], numbers: Mapping[str, int]) -> Array:
    repeated = [np.full(info.count, numbers[key]) for key, info in slices.items()]
    return jnp.asarray(np.concatenate(repeated), jnp.int32)
