"""Tokens: named arrays of a simulation as one sequence, with masks of who may read whom.

Of every array the leading axes are samples, the trailing ones (`batch_ndims`, one by default) a
token's vector of values, and every element of the axes between them, the *event*, is one token.
"""

from __future__ import annotations

from models.layers.tokens.flatten import (
    MISSING,
    decode_pytree,
    flatten_functional_inputs,
    flatten_pytree,
    update_flat_array,
)
from models.layers.tokens.generator import TokenGenerator, generate_static_dataset
from models.layers.tokens.masks import (
    Independence,
    build_cross_attention_mask,
    build_padding_mask,
    build_self_attention_mask,
)
from models.layers.tokens.slices import SliceInfo
from models.layers.tokens.tokens import Tokens
from models.layers.tokens.view import TokenView

__all__ = [
    "MISSING",
    "Independence",
    "SliceInfo",
    "TokenGenerator",
    "TokenView",
    "Tokens",
    "build_cross_attention_mask",
    "build_padding_mask",
    "build_self_attention_mask",
    "decode_pytree",
    "flatten_functional_inputs",
    "flatten_pytree",
    "generate_static_dataset",
    "update_flat_array",
]
