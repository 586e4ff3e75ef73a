"""A cycle that every column repeats, learned, taken out of the past and put into the forecast.

Source: Lin et al. 2024, "CycleNet: enhancing time series forecasting through modeling periodic
patterns".
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.errors import ConfigError
from models.layers.calendar import DAY, WEEK, place


class Cycle(nnx.Module):
    """A value of every column at every place of a cycle; zeros when new.

    Args:
        length: Rows of the cycle.
        step: Seconds between two rows.
        channels: Columns.

    Raises:
        ConfigError: A week is no whole number of cycles, or a day of steps.
    """

    def __init__(self, *, length: int, step: int, channels: int) -> None:
        if DAY % step or (WEEK // step) % length:
            fitting = f"{DAY // step} for a day, {WEEK // step} for a week, or 0"
            raise ConfigError(
                f"a week of {WEEK / step:g} rows must be a whole number of cycles, got "
                f"`model.cycle` {length} with {step} s between two rows",
                hint="set it to 0: a day is no whole number of rows"
                if DAY % step
                else f"set it to {fitting}",
            )
        self.step, self.length = step, length
        self.values = nnx.Param(jnp.zeros((length, channels)))

    def __call__(
        self, times: Float[Array, "batch time 2"]
    ) -> Float[Array, "batch time channel"]:
        """The cycle at some times.

        Args:
            times: Days since 1970, and seconds of the day.
        """
        return self.values[...][place(times, step=self.step, length=self.length)]
