"""How far predicted orientations are from measured ones, in degrees, over what is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from models.errors import ConfigError, near_matches
from models.layers.quaternion import (
    Quaternion,
    angle,
    heading,
    inclination,
    only_turns,
    relative,
)
from models.losses.elementwise import require_same_shape
from models.losses.quaternion import degrees
from models.metrics.accumulators import Mean

Measure = Callable[[Quaternion], Float[Array, "*shape"]]
ANGLES: dict[str, Measure] = {
    "inclination": inclination,
    "total": angle,
    "heading": heading,
}


def scored_samples(
    batch: Mapping[str, Array], *, start: int = 0
) -> Bool[Array, "batch time"]:
    """Which samples of a batch count: late enough, in movement, and measured in full.

    Args:
        batch: With ``y`` ``[B, T, 4]``, and masks ``seen.y`` ``[B, T, 4]`` and ``movement``
            ``[B, T, 1]`` (above a half: it moves) where there are any.
        start: Samples at the start of every row that do not count.
    """
    shape = batch["y"].shape[:2]
    counts = jnp.broadcast_to((jnp.arange(shape[1]) >= start)[None], shape)
    if "seen.y" in batch:
        counts = counts & jnp.all(batch["seen.y"], axis=-1)
    if "movement" in batch:
        counts = counts & (batch["movement"][..., 0] > 0.5)
    return counts


class AngleMetric:
    """The root mean square of one angle between prediction and measurement, in degrees.

    Of the turn ``q = prediction · measurement⁻¹ = [w, x, y, z]``, seen in the world's axes:

    * ``total``: its angle, ``2 acos |w|``;
    * ``inclination``: what is wrong about the vertical, ``2 acos √(w² + z²)``;
    * ``heading``: what is wrong about the north, ``2 atan |z / w|``.

    Source: Laidig, Caruso, Cereatti and Seel 2021 (BROAD), section 4, whose arc cosines are
    written as arc tangents here, which single precision does not round away near zero.

    Args:
        kind: One of these names, which it is reported as.
        start: Samples at the start of every row that do not count.

    Raises:
        ConfigError: The kind is unknown.
    """

    def __init__(self, *, kind: str, start: int = 0) -> None:
        if kind not in ANGLES:
            raise ConfigError(
                f"unknown angle `{kind}`", hint=near_matches(kind, ANGLES)
            )
        self.name, self.start = kind, start

    def init(self, outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Mean:
        """The empty accumulator."""
        return Mean(jnp.zeros((), jnp.int32), jnp.zeros((1,), batch["y"].dtype))

    def update(
        self, state: Mean, outputs: Mapping[str, Array], batch: Mapping[str, Array]
    ) -> Mean:
        """Add one batch.

        Raises:
            ValueError: Prediction and measurement differ in shape.
        """
        prediction, target = outputs["y"], batch["y"]
        require_same_shape(prediction, target)
        counts = scored_samples(batch, start=self.start)
        # What does not count may be NaN; its angle is zero.
        turn = relative(
            *(only_turns(counts[..., None], q) for q in (prediction, target))
        )
        squares = jnp.square(degrees(ANGLES[self.name](turn)))
        return Mean(
            state.count + jnp.sum(counts, dtype=jnp.int32),
            state.total + jnp.sum(squares),
        )

    def finish(self, state: Mean) -> Float[Array, ""]:
        """The angle in degrees; NaN where nothing counted."""
        return jnp.sqrt(state.value[0])


def angle_metrics(*, start: int = 0) -> tuple[AngleMetric, ...]:
    """All three, from sample `start` on."""
    return tuple(AngleMetric(kind=kind, start=start) for kind in ANGLES)
