"""How sequence families change batches in training only: noise, offsets, early ends, growth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from models.config import Config, static, traced
from models.data.windows import Windows
from models.errors import ConfigError
from models.sequence_loss import WindowLoss
from models.tasks.base import TaskData
from models.training.lengths import Lengths, lengths_between
from models.training.problem import Hyper, Schedule, Transforms
from models.transforms import (
    Transform,
    add_bias,
    add_noise,
    add_varying_noise,
    end_at_random,
    ramp,
)

GROWN = "augmentation.grown"
"""Schedule: how far windows have grown, from 0 to 1; whole in evaluation."""
_ADDED = ("noise", "varying_noise", "bias")


@dataclass(frozen=True, kw_only=True)
class Augmentation(Config):
    """Changes of the training batches; everything is off by default.

    Noise and offsets are added to the inputs, in standard deviations of each of them over the
    train part, so that one range suits every record.

    Attributes:
        noise: Standard deviation of white noise.
        varying_noise: Spread of a level of noise that every window draws for itself.
        groups: A number for every input: equal ones share a level of `varying_noise`; all
            do where there are none.
        bias: Standard deviation of an offset that is constant over a window.
        probability: Share of the windows that get each of these.
        random_end: Smallest number of samples up to which the errors of a window count,
            which then end at random; 0 for whole windows.
        shortest: Samples of a window at the start of training; 0 for whole windows.
        lengths: To how many lengths windows are cut while they grow; each is compiled.
        grow_from: Fraction of the horizon at which windows begin to grow.
        grow_until: Fraction at which they are whole.
    """

    noise: float = traced(0.0, low=0.0, off=0.0)
    varying_noise: float = traced(0.0, low=0.0, off=0.0)
    groups: tuple[int, ...] = static((), low=0)
    bias: float = traced(0.0, low=0.0, off=0.0)
    probability: float = traced(1.0, low=0.0, high=1.0, off=1.0)
    random_end: int = static(0, low=0)
    shortest: int = static(0, low=0)
    lengths: int = static(4, low=2, high=16)
    grow_from: float = traced(0.2, low=0.0, high=1.0)
    grow_until: float = traced(0.6, low=0.0, high=1.0)

    def unused(self) -> frozenset[str]:
        """What nothing reads beside the others, so that signatures are as before it was asked."""
        silent: set[str] = set()
        if not any(self.on(name) for name in _ADDED):
            silent |= {"probability"}
        if not self.groups or not self.on("varying_noise"):
            silent |= {"groups"}
        if not self.random_end:
            silent |= {"random_end"}
        if not self.shortest:
            silent |= {"shortest", "lengths", "grow_from", "grow_until"}
        return frozenset(silent)

    def check(self, *, data: Windows, loss: WindowLoss, known: int = 0) -> None:
        """Refuse windows that are cut to nothing, or that follow one another and end early.

        Args:
            data: How the train part is cut.
            loss: What is minimised.
            known: Outputs at the start of every window that are given.

        Raises:
            ConfigError: A shortened window has no sample that counts or is longer than a
                window; or windows in a row leave something out.
        """
        least = known + loss.n_skip + loss.n_cut + 1
        for name in ("random_end", "shortest"):
            size = getattr(self, name)
            if size and not least <= size <= data.window:
                raise ConfigError(
                    f"`augmentation.{name}` must be from {least} (what is known, skipped or "
                    f"cut, and one sample more) to `data.window` {data.window}, got {size}",
                    hint="set it to 0 for whole windows",
                )
        if self.shortest and data.order == "consecutive":
            raise ConfigError(
                f"`augmentation.shortest` is {self.shortest}, but windows that follow one "
                "another leave nothing out (`data.order` is `consecutive`)",
                hint="set `augmentation.shortest` to 0",
            )

    def functions(self, data: TaskData) -> Transforms:
        """The batch functions that are on, in a fixed order.

        Args:
            data: Of the task; gives the inputs' standard deviations.

        Raises:
            ConfigError: There are not as many groups as inputs.
        """
        unit = jnp.asarray(data.statistics.std["u"])
        chance = "augmentation.probability" if self.on("probability") else None
        shared: dict[str, Any] = {"signal": "u", "unit": unit, "probability": chance}
        found: list[Transform] = []
        if self.on("noise"):
            found.append(add_noise(scale="augmentation.noise", **shared))
        if self.on("varying_noise"):
            name = "augmentation.varying_noise"
            found.append(add_varying_noise(scale=name, groups=self.groups, **shared))
        if self.on("bias"):
            found.append(add_bias(scale="augmentation.bias", **shared))
        if self.random_end:
            found.append(end_at_random(shortest=self.random_end))
        return tuple(found)

    def growth(self, data: Windows) -> tuple[Lengths | None, dict[str, Schedule]]:
        """How windows grow, and the schedule that says how far they have.

        Args:
            data: How the train part is cut.
        """
        if not self.shortest:
            return None, {}
        sizes = lengths_between(self.shortest, data.window, self.lengths)
        schedule = Schedule(function=_grown, evaluation=1.0)
        return Lengths(sizes=sizes, share=GROWN), {GROWN: schedule}


def _grown(hyper: Hyper, fraction: Array) -> Array:
    ends = (hyper["augmentation.grow_from"], hyper["augmentation.grow_until"])
    return ramp(fraction, start=0.0, end=1.0, left=ends[0], right=ends[1])
