"""Batches that begin short and grow over training: few lengths, one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from models.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Windows are cut to one of a few lengths, the shortest that holds what is asked for.

    Each length is a branch of the one compiled step, of which a step runs one: a schedule
    compiles as many as there are lengths, and short windows really cost less. (Where several
    trials train as lanes of one program, every step runs all branches.)

    Attributes:
        sizes: Lengths in samples, rising; the last one is the whole window.
        share: Name of a schedule or traced value: how far windows have grown, from 0 (the
            shortest) to 1 (whole).

    Raises:
        ConfigError: Lengths do not rise, or one is empty.
    """

    sizes: tuple[int, ...]
    share: str

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        if not self.sizes or min(self.sizes) < 1 or not rising:
            raise ConfigError(
                f"lengths rise from 1 sample or more, got {list(self.sizes)}"
            )

    def place(self, hyper: Mapping[str, Array]) -> Int[Array, ""]:
        """Which length a step takes.

        Args:
            hyper: Traced values and schedules by name.
        """
        first, last = self.sizes[0], self.sizes[-1]
        share = jnp.clip(hyper[self.share], 0.0, 1.0)
        asked = jnp.ceil(first + share * (last - first)).astype(jnp.int32)
        return jnp.sum(jnp.asarray(self.sizes, jnp.int32) < asked, dtype=jnp.int32)

    def apply(
        self,
        batch: Mapping[str, Array],
        hyper: Mapping[str, Array],
        function: Callable[[dict[str, Array]], T],
    ) -> T:
        """What a function gives of the shortened batch.

        Args:
            batch: Entries ``[B, T, …]`` whose T is the whole window are cut.
            hyper: Traced values and schedules by name.
            function: Of a batch; what it gives must not depend on the length in shape.
        """
        whole = self.sizes[-1]

        def branch(size: int) -> Callable[[dict[str, Array]], Any]:
            def run(batch: dict[str, Array]) -> Any:
                return function(
                    {
                        name: a[:, :size] if a.shape[1:2] == (whole,) else a
                        for name, a in batch.items()
                    }
                )

            return run

        return jax.lax.switch(
            self.place(hyper), [branch(size) for size in self.sizes], dict(batch)
        )


def lengths_between(shortest: int, window: int, count: int) -> tuple[int, ...]:
    """So many lengths, evenly apart, both ends among them.

    Args:
        shortest: Samples of the first.
        window: Samples of the last.
        count: How many, at least 2; fewer where they would be equal.
    """
    found = np.unique(np.round(np.linspace(shortest, window, count)).astype(int))
    return tuple(int(size) for size in found)
