"""The training state: a pytree of arrays that can be stacked, saved and carried on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from models.errors import ConfigError, near_matches
from models.layers.traced import Traced
from models.training.problem import Problem

# Steps from the first to the last of the trial's budget; traced, so that a longer budget
# compiles nothing.
HORIZON = "training.horizon"

# Purposes of a trial's seed: independent of each other, so that changing how the model is
# initialised leaves the order of the data alone.
_MODEL, _ORDER, _NOISE = 0, 1, 2


class TrainState(NamedTuple):
    """Everything one step needs and changes.

    Attributes:
        params: `nnx.Param` values by path.
        average: Averaged parameters (`Optimizer.averaged`), or None.
        variables: All other variables by path: statistics, codebooks, traced values.
        carry: What the last batch handed to the next one, or None.
        optimizer: The optax state.
        hyper: Traced values by dotted key, the horizon included.
        keys: Raw key data of ``order`` and ``noise``.
        step: Steps done.
        epoch: Epochs done.
    """

    params: Any
    average: Any
    variables: Any
    carry: Any
    optimizer: Any
    hyper: dict[str, Float[Array, ""]]
    keys: dict[str, UInt32[Array, " words"]]
    step: Int[Array, ""]
    epoch: Int[Array, ""]


class Best(NamedTuple):
    """The best epoch so far.

    Attributes:
        value: The objective there; NaN before any finite value.
        epoch: Its number; 0 before any finite value.
        params: The parameters after it, the averaged ones where there are any.
        variables: The other variables after it.
    """

    value: Float[Array, ""]
    epoch: Int[Array, ""]
    params: Any
    variables: Any


def initialize(
    problem: Problem,
    *,
    batch_size: int,
    seed: UInt32[Array, ""],
    hyper: dict[str, Float[Array, ""]],
) -> tuple[nnx.GraphDef, TrainState, Best]:
    """Build the model and everything around it; pure, meant to be compiled.

    Args:
        problem: What is learned.
        batch_size: For the carry.
        seed: The trial's seed.
        hyper: Traced values by dotted key, the horizon included.

    Raises:
        ConfigError: The model declares a traced value that `hyper` does not have.
    """
    root = jax.random.key(seed)
    model = problem.build(jax.random.fold_in(root, _MODEL))
    _set_traced(model, hyper)
    graph, params, variables = nnx.split(model, nnx.Param, ...)
    params, variables = nnx.to_pure_dict(params), nnx.to_pure_dict(variables)
    carry = problem.initial_carry(batch_size) if problem.initial_carry else None
    state = TrainState(
        params=params,
        average=jax.tree.map(jnp.copy, params) if problem.averaged else None,
        variables=variables,
        carry=carry,
        optimizer=problem.optimizer.init(hyper, params),
        hyper=dict(hyper),
        keys={
            "order": jax.random.key_data(jax.random.fold_in(root, _ORDER)),
            "noise": jax.random.key_data(jax.random.fold_in(root, _NOISE)),
        },
        step=jnp.zeros((), jnp.int32),
        epoch=jnp.zeros((), jnp.int32),
    )
    # Copies: the state's own buffers are given away (donated) in the first epoch.
    best = Best(
        value=jnp.full((), jnp.nan),
        epoch=jnp.zeros((), jnp.int32),
        params=jax.tree.map(jnp.copy, params),
        variables=jax.tree.map(jnp.copy, variables),
    )
    return graph, state, best


def with_values(
    graph: nnx.GraphDef, state: TrainState, values: Mapping[str, float]
) -> TrainState:
    """The state with other traced values, in the model too; nothing else changes.

    Args:
        graph: The model's, as `initialize` gave it.
        state: The state.
        values: Those that change, by dotted key.
    """
    hyper = {
        name: jnp.asarray(values[name], old.dtype) if name in values else old
        for name, old in state.hyper.items()
    }
    model = nnx.merge(graph, state.params, state.variables, copy=True)
    # Copies: an epoch's program is given every buffer of the state, each of them once.
    _set_traced(model, {name: jnp.copy(value) for name, value in hyper.items()})
    _, _, variables = nnx.split(model, nnx.Param, ...)
    return state._replace(hyper=hyper, variables=nnx.to_pure_dict(variables))


def check_values(values: Mapping[str, float], known: Mapping[str, float]) -> None:
    """Refuse values that cannot be set while a model is trained.

    Args:
        values: By dotted key.
        known: The traced values that there are.

    Raises:
        ConfigError: A key is not traced, or a value is not a finite number.
    """
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"`{name}` is not traced, so that it cannot change while a model is trained",
                hint=near_matches(name, known),
            )
        if not math.isfinite(value):
            raise ConfigError(f"`{name}` must be a finite number, got {value}")


def _set_traced(model: nnx.Module, hyper: dict[str, Array]) -> None:
    for _, variable in nnx.iter_graph(model):
        if isinstance(variable, Traced):
            name = variable.get_metadata()["name"]
            if name not in hyper:
                raise ConfigError(
                    f"the model reads the traced value `{name}`, which nobody set",
                    hint=near_matches(name, hyper),
                )
            variable.set_value(hyper[name])


def count_parameters(state: TrainState) -> int:
    """How many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))
