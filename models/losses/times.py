"""Which times of a row count, and how much: weights along it, and where rows end at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from models.errors import ConfigError


def time_weights(
    length: int, *, first: Array | float = 1.0, last: Array | float = 0.1
) -> Float[Array, " time"]:
    """Weights that go from `first` to `last` on a logarithmic scale.

    Args:
        length: Samples of a row.
        first: Weight of the first one; positive.
        last: Weight of the last one; positive.

    Raises:
        ConfigError: One is a plain number, and not positive.
    """
    for name, end in (("first", first), ("last", last)):
        if not isinstance(end, Array) and not end > 0:
            raise ConfigError(
                f"weights go along a logarithmic scale, so that `{name}` is positive, got "
                f"{end}",
                hint="0.001 leaves next to nothing of an end, `cut` nothing at all",
            )
    ends = [jnp.log(jnp.asarray(x, jnp.zeros(()).dtype)) for x in (first, last)]
    along = jnp.linspace(0.0, 1.0, length, dtype=ends[0].dtype)
    return jnp.exp(ends[0] * (1.0 - along) + ends[1] * along)


def random_lengths(
    key: Key[Array, ""], rows: int, *, shortest: int, longest: int
) -> Int[Array, " row"]:
    """A length for every row, short ones more often: the density falls linearly to 0.

    Args:
        key: Randomness of this batch.
        rows: How many lengths.
        shortest: The commonest and smallest length.
        longest: The largest length.
    """
    # The inverse of the triangular distribution with its mode at the lower end.
    share = 1.0 - jnp.sqrt(jax.random.uniform(key, (rows,)))
    drawn = shortest + jnp.floor(share * (longest - shortest + 1)).astype(jnp.int32)
    return jnp.minimum(drawn, longest)


def require_some(shortest: int) -> None:
    """Refuse rows of which nothing is sure to count.

    Args:
        shortest: Samples of a row that count at least.

    Raises:
        ConfigError: It is not at least 1.
    """
    if shortest < 1:
        raise ConfigError(
            f"`shortest` is at least 1 sample, or nothing is learned, got {shortest}"
        )


def up_to(lengths: Int[Array, " row"], time: int) -> Bool[Array, "row time 1"]:
    """The samples of each row before its length."""
    return (jnp.arange(time)[None, :] < lengths[:, None])[..., None]
