"""Simulations as tokens, batch by batch, or all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from models.errors import TokenError
from models.layers.tokens.flatten import numbers
from models.layers.tokens.masks import Rules
from models.layers.tokens.tokens import Tokens

Arrays = Mapping[str, Array]


class SimulatorFunction(Protocol):
    """``(key, parameters, functional inputs) -> observations [n, …]`` by key."""

    def __call__(
        self, key: Key[Array, ""], parameters: Arrays, inputs: Arrays
    ) -> Arrays:
        """Simulate."""
        ...


@dataclass(frozen=True, kw_only=True)
class TokenGenerator:
    """Batches of simulations, the same whenever one iterates over them.

    Attributes:
        prior_fn: ``(key, n) -> parameters [n, …]`` by key.
        simulator_fn: See `SimulatorFunction`.
        functional_input_fn: ``(key, n) -> inputs [n, …, F]`` by the key that they belong to;
            None for no inputs.
        independence: The rules of the mask.
        n_samples: Simulations in all.
        batch_size: Of a batch; the last one may have fewer.
        seed: All randomness follows from it.
        batch_ndims: See `Tokens.from_pytree`.
    """

    prior_fn: Callable[[Key[Array, ""], int], Arrays]
    simulator_fn: SimulatorFunction
    functional_input_fn: Callable[[Key[Array, ""], int], Arrays] | None = None
    independence: Rules = None
    n_samples: int
    batch_size: int
    seed: int = 0
    batch_ndims: int | Mapping[str, int] = 1

    def __post_init__(self) -> None:
        """Refuse what makes no batch."""
        counts = (self.n_samples, self.batch_size)
        if not all(isinstance(n, int | np.integer) and n >= 1 for n in counts):
            raise TokenError(
                "A generator has at least one sample and one a batch, got "
                f"{self.n_samples} and {self.batch_size}",
                hint="set `n_samples` and `batch_size` to whole numbers from 1 on",
            )

    def __len__(self) -> int:
        """How many batches there are."""
        return math.ceil(self.n_samples / self.batch_size)

    def __iter__(self) -> Iterator[Tokens]:
        """The batches, from the first.

        Raises:
            TokenError: See `generate_static_dataset`.
        """
        before: Tokens | None = None
        for number in range(len(self)):
            tokens = self._batch(jax.random.key(self.seed), number)
            _require_same(before, tokens)
            before = tokens
            yield tokens

    def all_at(self, key: Key[Array, ""]) -> Tokens:
        """Every batch drawn from a key, joined.

        Raises:
            TokenError: As iterating does.
        """
        found = [self._batch(key, number) for number in range(len(self))]
        for before, tokens in zip(found, found[1:], strict=False):
            _require_same(before, tokens)
        inputs = [tokens.functional_inputs for tokens in found]
        return found[0].replaced(
            data=jnp.concatenate([tokens.data for tokens in found]),
            functional_inputs=None if inputs[0] is None else jnp.concatenate(inputs),
        )

    def _batch(self, key: Key[Array, ""], number: int) -> Tokens:
        rows = min(self.batch_size, self.n_samples - number * self.batch_size)
        of = jax.random.split(jax.random.fold_in(key, number), 3)
        parameters = self.prior_fn(of[0], rows)
        inputs: Arrays = {}
        if self.functional_input_fn is not None:
            inputs = self.functional_input_fn(of[1], rows)
        observed = self.simulator_fn(of[2], parameters, inputs)
        for what, arrays in (
            ("prior", parameters),
            ("function of inputs", inputs),
            ("simulator", observed),
        ):
            _require_sound(what, arrays, rows)
        if both := set(parameters) & set(observed):
            raise TokenError(
                f"The prior and the simulator both gave {sorted(both)}",
                hint="give observations keys of their own, or leave the parameters to the "
                "prior",
            )
        return Tokens.from_pytree(
            {**parameters, **observed},
            independence=self.independence,
            functional_inputs=inputs,
            batch_ndims=self.batch_ndims,
        )


def generate_static_dataset(
    key: Key[Array, ""],
    *,
    prior_fn: Callable[[Key[Array, ""], int], Arrays],
    simulator_fn: SimulatorFunction,
    functional_input_fn: Callable[[Key[Array, ""], int], Arrays] | None = None,
    independence: Rules = None,
    n_samples: int,
    batch_size: int | None = None,
    batch_ndims: int | Mapping[str, int] = 1,
) -> Tokens:
    """All simulations at once: what a `TokenGenerator` gives that has this key as its seed.

    Args:
        key: All randomness.
        prior_fn: As for `TokenGenerator`, as are the others.
        simulator_fn: Likewise.
        functional_input_fn: Likewise.
        independence: Likewise.
        n_samples: Likewise.
        batch_size: How many are simulated at a time, each time with a key of its own: to equal
            a generator, it must be the generator's. None for all at once.
        batch_ndims: Likewise.

    Raises:
        TokenError: Prior, inputs or simulator give no arrays by key, another number of rows,
            NaN or infinity, or another shape than in the batches before; or two of them give
            the same key.
    """
    return TokenGenerator(
        prior_fn=prior_fn,
        simulator_fn=simulator_fn,
        functional_input_fn=functional_input_fn,
        independence=independence,
        n_samples=n_samples,
        batch_size=n_samples if batch_size is None else batch_size,
        batch_ndims=batch_ndims,
    ).all_at(key)


def _require_sound(what: str, arrays: Any, rows: int) -> None:
    """Refuse simulations that are not finite, and such of another number of rows."""
    if not isinstance(arrays, Mapping):
        raise TokenError(
            f"The {what} gave {type(arrays).__name__}, not arrays by key",
            hint='return a mapping such as {"obs": array}',
        )
    for key, array in arrays.items():
        shape = np.shape(array)
        if not shape or shape[0] != rows:
            raise TokenError(
                f"The {what} gave {key!r} of shape {shape} for {rows} samples",
                hint=f"its first axis must be the samples: ({rows}, …)",
            )
        values = np.asarray(numbers(array, key))
        bad = ~np.isfinite(values)
        if bad.any():
            first = tuple(int(n) for n in np.argwhere(bad)[0])
            raise TokenError(
                f"The {what} gave {values[first]} for {key!r} at {first}, and "
                f"{int(bad.sum())} such values in {rows} samples",
                hint="mend it, or draw the prior where it is defined",
            )


def _require_same(before: Tokens | None, tokens: Tokens) -> None:
    if before is None:
        return
    shapes = [_shapes(t) for t in (before, tokens)]
    if before.slices != tokens.slices or shapes[0] != shapes[1]:
        raise TokenError(
            f"Simulations must have one shape, got {shapes[0]} and then {shapes[1]}",
            hint="make `Tokens` of arrays padded to the largest, and tell which tokens there "
            "are by `event_shapes`",
        )


def _shapes(tokens: Tokens) -> dict[str, Any]:
    """Of every key that of a sample's event and values; and the width of inputs."""
    found: dict[str, Any] = {
        key: (*info.event_shape, *info.batch_shape)
        for key, info in tokens.slices.items()
    }
    inputs = tokens.functional_inputs
    return found if inputs is None else {**found, "inputs": inputs.shape[-1]}
