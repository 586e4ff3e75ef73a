"""Derivatives of sampled signals by finite differences: nine operators, found by name.

Every operator keeps the length of the signal. Where its stencil would reach past an end, the
nearest samples that reach the same order of accuracy take its place, so the order holds up to
both ends (`tests/test_models/test_physics_differences.py` measures it).

The names are those of TSFast's PIRNN. There the ``_double`` ones are computed in float64. Where
JAX computes in single precision there is no float64 to go to, so here they are *compensated*:
every product is exact and the rounding of every sum is carried along, which gives the sum of a
float64 computation rounded once to the precision at hand, with `jax_enable_x64` or without. What
neither can mend is the rounding of the samples themselves: half a unit in the last place of a
sample is divided by ``step**derivative`` like everything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.errors import ConfigError, near_matches

Signal = Float[Array, "batch time channel"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One operator along time.

    Attributes:
        derivative: Which derivative it approximates, from 1 to 3.
        accuracy: The power of the step that its error falls with.
        offsets: Samples that it reads around its own, away from the ends.
        compensated: Whether the rounding of sums is carried along.
    """

    derivative: int
    accuracy: int
    offsets: tuple[int, ...]
    compensated: bool = False

    @property
    def shortest(self) -> int:
        """Fewest samples that a signal must have."""
        reach = max(self.offsets) - min(self.offsets) + 1
        return max(reach, self.derivative + self.accuracy)

    def __call__(self, values: Signal, *, step: float) -> Signal:
        """The derivative at every sample.

        Args:
            values: ``[B, T, C]``.
            step: Time between two samples, in s.

        Returns:
            ``[B, T, C]``, in the unit of the values per s (to the power of the derivative).

        Raises:
            ConfigError: The signal is shorter than the stencil.
        """
        length = values.shape[1]
        if length < self.shortest:
            raise ConfigError(
                f"this difference reads {self.shortest} samples, got a signal of {length}",
                hint="use longer windows, or a difference that reads fewer samples",
            )
        before, after = -min(self.offsets), max(self.offsets)
        points = self.derivative + self.accuracy
        inner = [values[:, before + o : length - after + o] for o in self.offsets]
        head = [values[:, k : k + 1] for k in range(points)]
        tail = [
            values[:, length - points + k : length - points + k + 1]
            for k in range(points)
        ]
        pieces = [
            *(self._sum(head, [k - t for k in range(points)]) for t in range(before)),
            self._sum(inner, self.offsets),
            *(
                self._sum(tail, [k - points + t for k in range(points)])
                for t in range(after, 0, -1)
            ),
        ]
        return jnp.concatenate(pieces, axis=1) / step**self.derivative

    def _sum(self, samples: Sequence[Array], offsets: Sequence[int]) -> Array:
        """The stencil on given offsets applied to their samples, for a step of 1."""
        weights, divisor = stencil(self.derivative, tuple(offsets))
        if self.compensated:
            total = _compensated(samples, weights)
        else:
            total = sum(
                (w * s for w, s in zip(weights, samples, strict=True)),
                start=jnp.zeros_like(samples[0]),
            )
        return total / divisor


DIFFERENCES = {
    "diff1_forward": Difference(derivative=1, accuracy=1, offsets=(0, 1)),
    "diff1_forward_double": Difference(
        derivative=1, accuracy=1, offsets=(0, 1), compensated=True
    ),
    "diff1_central": Difference(derivative=1, accuracy=2, offsets=(-1, 0, 1)),
    "diff1_central4_double": Difference(
        derivative=1, accuracy=4, offsets=(-2, -1, 0, 1, 2), compensated=True
    ),
    "diff2_forward": Difference(derivative=2, accuracy=1, offsets=(0, 1, 2)),
    "diff2_central": Difference(derivative=2, accuracy=2, offsets=(-1, 0, 1)),
    "diff2_central_double": Difference(
        derivative=2, accuracy=2, offsets=(-1, 0, 1), compensated=True
    ),
    "diff3_forward": Difference(derivative=3, accuracy=1, offsets=(0, 1, 2, 3)),
    "diff3_central": Difference(derivative=3, accuracy=2, offsets=(-2, -1, 0, 1, 2)),
}
"""The operators by name."""


def difference(name: str) -> Difference:
    """The operator of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in DIFFERENCES:
        raise ConfigError(
            f"unknown difference `{name}`", hint=near_matches(name, DIFFERENCES)
        )
    return DIFFERENCES[name]


@cache
def stencil(derivative: int, offsets: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Whole weights and the number they are divided by, for a step of 1.

    They differentiate every polynomial of a degree below the number of offsets exactly: the
    solution of ``Σ_j w_j o_j^m = m! [m = derivative]``, in rational numbers.

    Args:
        derivative: Which derivative.
        offsets: Samples around the one in question; more of them than `derivative`.
    """
    count = len(offsets)
    rows = [
        [Fraction(o**m) for o in offsets]
        + [Fraction(math.factorial(m) if m == derivative else 0)]
        for m in range(count)
    ]
    for column in range(count):
        pivot = next(r for r in range(column, count) if rows[r][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for row in range(count):
            if row != column:
                factor = rows[row][column]
                rows[row] = [
                    a - factor * b for a, b in zip(rows[row], rows[column], strict=True)
                ]
    found = [row[-1] for row in rows]
    divisor = math.lcm(*(w.denominator for w in found))
    return tuple(int(w * divisor) for w in found), divisor


def _compensated(samples: Sequence[Array], weights: Sequence[int]) -> Array:
    """``Σ w s`` as if in twice the precision.

    Whole weights are cut into powers of two, whose products are exact.

    Source: Neumaier 1974; the exact error of a sum is Knuth's (TAOCP 2, 4.2.2, theorem B).
    """
    total = jnp.zeros_like(samples[0])
    lost = jnp.zeros_like(total)
    for weight, sample in zip(weights, samples, strict=True):
        sign = 1 if weight > 0 else -1
        for bit in range(abs(weight).bit_length()):
            if abs(weight) >> bit & 1:
                term = (sign * 2**bit) * sample
                after = total + term
                kept = after - total
                lost = lost + ((total - (after - kept)) + (term - kept))
                total = after
    return total + lost
