"""Oscillators and tanks, solved by diffrax in float64; `models.physics` states them.

Time runs in samples, and every sample is cut into a power of two of equal steps: times are
then exact, saved states lie on steps, and no step crosses a kink of the input, which is a
straight line between samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.physics.equations import bouc_wen, cascaded_tanks, duffing

Field = Callable[[Float[Array, " state"], Float[Array, ""]], Float[Array, " state"]]


def solve(
    field: Field, start: np.ndarray, u: np.ndarray, *, rate: float, steps: int
) -> np.ndarray:
    """States at every sample.

    Args:
        field: ``(state, input) -> derivative`` per second; hashable, for one compilation
            serves all inputs of equal length.
        start: State at the first sample, ``[S]``.
        u: Input ``[T]``, linear between samples.
        rate: Samples per second.
        steps: Steps per sample; a power of two.

    Returns:
        ``[T, S]``, float64. JAX must have been set to 64 bits.
    """
    levels, start = jnp.asarray(u, jnp.float64), jnp.asarray(start, jnp.float64)
    return np.asarray(_run(levels, start, field=field, rate=rate, steps=steps))


@partial(jax.jit, static_argnames=("field", "rate", "steps"))
def _run(
    levels: Float[Array, " time"],
    start: Float[Array, " state"],
    *,
    field: Field,
    rate: float,
    steps: int,
) -> Float[Array, "time state"]:
    samples = len(levels)

    def derivative(t: Array, state: Array, levels: Array) -> Array:
        left = jnp.clip(jnp.floor(t).astype(jnp.int32), 0, samples - 2)
        part = t - left.astype(jnp.float64)
        level = levels[left] * (1 - part) + levels[left + 1] * part
        return field(state, level) / rate

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        diffrax.Tsit5(),
        t0=0.0,
        t1=float(samples - 1),
        dt0=1.0 / steps,
        y0=start,
        args=levels,
        saveat=diffrax.SaveAt(ts=jnp.arange(samples, dtype=jnp.float64)),
        adjoint=diffrax.DirectAdjoint(),
        max_steps=None,
    )
    return solution.ys


@dataclass(frozen=True, kw_only=True)
class Oscillator:
    """``mass y'' + damping y' + stiffness y + cubic y³ = force``.

    Attributes:
        mass: In kg.
        damping: In N s/m.
        stiffness: In N/m.
        cubic: In N/m³; 0 makes it linear.
    """

    mass: float = 1.0
    damping: float = 0.8
    stiffness: float = 40.0
    cubic: float = 0.0

    def field(self, state: Array, level: Array) -> Array:
        """Velocity and acceleration for a displacement, a velocity and a force."""
        return duffing.derivative(state, level[None], vars(self))

    def simulate(self, force: np.ndarray, *, rate: float, steps: int = 8) -> np.ndarray:
        """Displacement in m, ``[T]``, from rest.

        Args:
            force: In N, ``[T]``.
            rate: Samples per second.
            steps: Steps per sample; a power of two.
        """
        return solve(self.field, np.zeros(2), force, rate=rate, steps=steps)[:, 0]


@dataclass(frozen=True, kw_only=True)
class Tanks:
    """Two tanks, one above the other: `models.physics.equations.cascaded_tanks`.

    Attributes:
        pump: Inflow per volt, in cm/s.
        upper_outflow: Bernoulli coefficient of the upper tank, in √cm/s.
        lower_outflow: Bernoulli coefficient of the lower tank, in √cm/s.
        caught: Share of the spill that lands in the lower tank.
        brim: Height of both tanks, in cm.
    """

    pump: float = 0.04
    upper_outflow: float = 0.05
    lower_outflow: float = 0.05
    caught: float = 0.4
    brim: float = 10.0

    def field(self, state: Array, level: Array) -> Array:
        """Change of both levels in cm/s for a pump voltage."""
        return cascaded_tanks.derivative(state, level[None], vars(self))

    def simulate(
        self, voltage: np.ndarray, *, rate: float, steps: int = 32
    ) -> np.ndarray:
        """Both levels in cm, ``[T, 2]``, from the equilibrium of the first voltage.

        Args:
            voltage: Of the pump, in V, ``[T]``; not negative.
            rate: Samples per second.
            steps: Steps per sample; a power of two.
        """
        inflow = self.pump * float(voltage[0])
        upper = min((inflow / self.upper_outflow) ** 2, self.brim)
        flow = self.upper_outflow * np.sqrt(upper)
        lower = min(
            ((flow + self.caught * (inflow - flow)) / self.lower_outflow) ** 2,
            self.brim,
        )
        start = np.array([upper, lower])
        levels = solve(self.field, start, voltage, rate=rate, steps=steps)
        return np.clip(levels, 0.0, self.brim)


def hysteresis(force: np.ndarray, *, rate: float, steps: int = 32) -> np.ndarray:
    """Displacement in m, ``[T]``, of Bouc and Wen's oscillator with its published values.

    Args:
        force: In N, ``[T]``.
        rate: Samples per second.
        steps: Steps per sample; a power of two.
    """
    return solve(_hysteretic, np.zeros(3), force, rate=rate, steps=steps)[:, 0]


def _hysteretic(state: Array, level: Array) -> Array:
    values = bouc_wen.EQUATION.values
    return bouc_wen.derivative(state, level[None], values)
