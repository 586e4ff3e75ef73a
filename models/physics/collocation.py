"""Collocation: inputs and starts that no data has, where an equation must hold all the same."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from models.config import Config, static, traced
from models.physics.equation import Equation
from models.physics.excitation import EXCITATIONS, Excitation
from models.physics.states import Signals, StateScale, cut_inputs

INPUTS = "collocation.u"
START = "collocation.start"
TRACED = ("amplitude", "frequency", "bias", "noise", "hidden_std")
"""Fields of `Collocation` that a draw reads as arrays."""


@dataclass(frozen=True, kw_only=True)
class Collocation(Config):
    """Fresh excitations of every step, inside the compiled one.

    Attributes:
        excitation: Kind of the inputs; see `models.physics.excitation`.
        start: What a trajectory begins with: ``none``, the network at rest;
            ``state_encoder``, a physical state drawn from where states lie, encoded;
            ``random_hidden``, a hidden state drawn from N(0, `hidden_std`²).
        rows: Trajectories of every step.
        samples: Of each trajectory.
        amplitude: Highest amplitude of the inputs, in their standard deviations around
            their mean; a quarter of it is the lowest.
        frequency: Highest frequency, in cycles per sample; the lowest is one period of the
            trajectory, or the highest where that is lower.
        bias: Deviation of a constant that is added to every input, in those of the input.
        noise: Deviation of white noise that is added, likewise.
        synchronized: Whether the inputs share their frequencies, phases and times.
        hidden_std: See `start`.
    """

    excitation: str = static("multisine", choices=tuple(EXCITATIONS))
    start: str = static(
        "state_encoder", choices=("none", "state_encoder", "random_hidden")
    )
    rows: int = static(16, low=1)
    samples: int = static(50, low=6)
    amplitude: float = traced(2.0, low=0.0)
    frequency: float = traced(0.1, low=0.0, high=0.5)
    bias: float = traced(0.5, low=0.0)
    noise: float = traced(0.0, low=0.0)
    synchronized: bool = static(False)
    hidden_std: float = traced(0.1, low=0.0)

    def draw(
        self,
        key: Key[Array, ""],
        *,
        equation: Equation,
        scale: StateScale,
        signals: Signals,
        hidden: int,
        values: dict[str, Array],
    ) -> dict[str, Array]:
        """Inputs and starts of one step.

        Args:
            key: The only randomness.
            equation: Whose inputs are kept in their declared ranges.
            scale: Of its states.
            signals: Of the train part.
            hidden: Numbers of a flat hidden state.
            values: The fields of `TRACED` by name.

        Returns:
            ``collocation.u`` ``[N, T, U]`` in physical units, and ``collocation.start``:
            physical states ``[N, S]``, or hidden ones ``[N, H]``.
        """
        first, second = jax.random.split(key)
        slowest = jnp.minimum(values["frequency"], 1.0 / self.samples)
        excitation = Excitation(
            kind=self.excitation,
            rate=signals.rate,
            amplitude=(0.25 * values["amplitude"], values["amplitude"]),
            frequency=(slowest * signals.rate, values["frequency"] * signals.rate),
            bias=values["bias"],
            noise=values["noise"],
            synchronized=self.synchronized,
        )
        drawn = excitation.draw(
            first, rows=self.rows, samples=self.samples, inputs=len(signals.u_mean)
        )
        mean, std = (
            jnp.asarray(numbers, drawn.dtype)[None, None]
            for numbers in (signals.u_mean, signals.u_std)
        )
        found = {INPUTS: cut_inputs(equation, mean + std * drawn)}
        if self.start == "state_encoder":
            low, high = (
                jnp.asarray(v, drawn.dtype)[None] for v in (scale.low, scale.high)
            )
            shares = jax.random.uniform(second, (self.rows, len(scale.low)))
            found[START] = low + (high - low) * shares
        elif self.start == "random_hidden":
            normal = jax.random.normal(second, (self.rows, hidden))
            found[START] = values["hidden_std"] * normal
        return found
