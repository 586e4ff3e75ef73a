"""Flow matching: straight paths from noise to data, and when along them to look.

With noise z ~ N(0, I) and data x a path is ``x_t = (1 - (1-σ) t) z + t x``, and its velocity
``x - (1-σ) z``. A flow that moves noise to data has at every point the mean velocity of the
paths through it; whatever a model does, it errs by their spread.

Source: Lipman et al. 2023, "Flow matching for generative modeling", equations 20 to 23, in
the form that does not divide by ``1 - (1-σ) t``.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.special
from jaxtyping import Array, Float, Key

from models.losses.elementwise import require_same_shape

_EDGE = 1e-6
KINDS = ("uniform", "logit_normal", "power")


class Paths(NamedTuple):
    """Points on paths, when each is passed, and with which velocity.

    Attributes:
        point: ``[B, K, …]``: K places for each of B rows.
        time: ``[B, K]``.
        velocity: ``[B, K, …]``.
    """

    point: Float[Array, "row look ..."]
    time: Float[Array, "row look"]
    velocity: Float[Array, "row look ..."]


def straight_paths(
    noise: Float[Array, "row look ..."],
    end: Float[Array, "row ..."],
    time: Float[Array, "row look"],
    *,
    sigma: Float[Array, ""],
) -> Paths:
    """Points on the paths from noise to the rows' data.

    Args:
        noise: Where each path begins.
        end: The data.
        time: When to look, from 0 to 1.
        sigma: Deviation of the noise that is left at the end.

    Raises:
        ValueError: The data has another shape than the noise.
    """
    require_same_shape(noise[:, 0], end)
    when = time.reshape(*time.shape, *(1,) * (noise.ndim - 2))
    ends = jnp.broadcast_to(end[:, None], noise.shape)
    point = (1 - (1 - sigma) * when) * noise + when * ends
    return Paths(point, time, ends - (1 - sigma) * noise)


def strata(key: Key[Array, ""], rows: int, looks: int) -> Float[Array, "row look"]:
    """Uniform numbers in (0, 1), spread evenly over the rows of a look and the looks of a row.

    Every look has one number in each of B equal intervals; those of a row are 1/K apart. A
    mean over them varies far less than one over independent numbers.

    Args:
        key: Randomness within the intervals, and of their order.
        rows: B.
        looks: K.
    """
    order, inside = jax.random.split(key)
    place = jax.random.permutation(order, jnp.arange(rows)).astype(jnp.zeros(()).dtype)
    first = (place + jax.random.uniform(inside, (rows,))) / rows
    apart = jnp.arange(looks, dtype=first.dtype) / looks
    return jnp.mod(first[:, None] + apart[None], 1.0)


def times(
    numbers: Float[Array, "*shape"],
    kind: str,
    *,
    power: Float[Array, ""] | float = 0.0,
    location: Float[Array, ""] | float = 0.0,
    scale: Float[Array, ""] | float = 1.0,
) -> Float[Array, "*shape"]:
    """Times from uniform numbers, by the quantiles of a distribution.

    Args:
        numbers: In (0, 1).
        kind: ``uniform``; ``power``, of density ``(power + 1) t^power``; or
            ``logit_normal``: ``logit t ~ N(location, scale²)``.
        power: 0 is uniform; more of it looks nearer to the end.
        location: 0 is the middle; more of it looks nearer to the end.
        scale: How far times spread; positive.

    Source: Wildberger et al. 2023, "Flow matching for scalable simulation-based inference",
    section 3, for the power; Esser et al. 2024, "Scaling rectified flow transformers",
    section 3.1, for the logit normal.
    """
    if kind == "power":
        return numbers ** (1 / (1 + power))
    if kind == "logit_normal":
        inside = jnp.clip(numbers, _EDGE, 1 - _EDGE)
        return jax.nn.sigmoid(location + scale * jax.scipy.special.ndtri(inside))
    return numbers
