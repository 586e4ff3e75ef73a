"""Penalties of what a model computes inside, which it gives beside its outputs.

Source: Merity, McCann and Socher 2017, "Revisiting activation regularization for language
RNNs", squared instead of the norm, as TSFast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.errors import ConfigError, near_matches
from models.losses.terms import Batch, Hyper, Outputs, Term


def activation(states: Any) -> Float[Array, ""]:
    """``h²``, averaged over every entry of every array.

    Args:
        states: An array, or a tree of them, ``[B, T, …]``.
    """
    return _mean_square(jax.tree.leaves(states))


def temporal_activation(states: Any) -> Float[Array, ""]:
    """``(h[t] - h[t-1])²``, averaged: how restless trajectories are.

    Args:
        states: An array, or a tree of them, ``[B, T, …]``.
    """
    return _mean_square([h[:, 1:] - h[:, :-1] for h in jax.tree.leaves(states)])


PENALTIES: Mapping[str, Callable[[Any], Array]] = {
    "activation": activation,
    "temporal_activation": temporal_activation,
}
"""By the name that their term has."""


def penalty(
    kind: str | Callable[[Any], Array], *, output: str, weight: float | str
) -> Term:
    """A penalty as a term of a loss.

    Args:
        kind: One of `PENALTIES`, or a function of the states that gives a mean over rows,
            such as `models.losses.quaternion.length_penalty`.
        output: Where the model's outputs hold the states: a name, or several joined by
            slashes where outputs nest (``"states/encoder"``).
        weight: A number, or the name of a traced value or schedule.

    Raises:
        ConfigError: The kind is unknown; or, when the loss is first computed, the model
            gives no such output.
    """
    if isinstance(kind, str) and kind not in PENALTIES:
        raise ConfigError(
            f"unknown penalty `{kind}`", hint=near_matches(kind, PENALTIES)
        )

    of = PENALTIES[kind] if isinstance(kind, str) else kind

    def function(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        del batch, hyper
        found: Any = outputs
        for name in output.split("/"):
            if not isinstance(found, Mapping) or name not in found:
                names = found if isinstance(found, Mapping) else ()
                raise ConfigError(
                    f"a penalty reads the output `{output}`, which the model does not give",
                    hint=near_matches(name, names),
                )
            found = found[name]
        return of(found)

    return Term(function=function, weight=weight)


def _mean_square(arrays: list[Array]) -> Float[Array, ""]:
    if len(arrays) == 1:
        return jnp.mean(jnp.square(arrays[0]))
    size = sum(a.size for a in arrays)
    return sum(
        (jnp.sum(jnp.square(a)) for a in arrays), start=jnp.zeros(())
    ) / jnp.asarray(size, jnp.zeros(()).dtype)
