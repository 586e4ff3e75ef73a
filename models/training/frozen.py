"""Parameters that stay as they began, by their path, as a mask of the vector of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from models.errors import ConfigError, near_matches


def trained_entries(params: Any, frozen: Sequence[str]) -> np.ndarray:
    """Which entries of the vector of all parameters are trained.

    Args:
        params: The tree of parameters.
        frozen: Dotted paths, each of a parameter or of all below it: ``head.bias``,
            ``recurrent.layers.0``, ``recurrent``.

    Returns:
        ``[parameters]`` bool, in the order of `jax.flatten_util.ravel_pytree`.

    Raises:
        ConfigError: A path names no parameter, or nothing is left to train.
    """
    leaves = [(dotted(p), a) for p, a in jax.tree_util.tree_leaves_with_path(params)]
    names = [name for name, _ in leaves]
    for path in frozen:
        if not any(_below(name, path) for name in names):
            raise ConfigError(
                f"`optimizer.frozen` names `{path}`, and no parameter's path begins so",
                hint=near_matches(path, names) or f"parameters: {', '.join(names)}",
            )
    parts = [
        np.full(leaf.size, not any(_below(name, path) for path in frozen))
        for name, leaf in leaves
    ]
    mask = np.concatenate(parts)
    if not mask.any():
        raise ConfigError(
            f"`optimizer.frozen` leaves nothing to train, got {list(frozen)}",
            hint="leave out a path",
        )
    return mask


def dotted(path: Sequence[Any]) -> str:
    """A path in a tree of parameters as text: ``recurrent.layers.0.input_weight``."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


def _below(name: str, path: str) -> bool:
    return name == path or name.startswith(path + ".")
