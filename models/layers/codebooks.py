"""Codebooks: where codes lie, and what moves them.

Each holds G of them side by side, K codes of D numbers each, and answers to three calls:
``vectors()`` gives the codes, ``begin`` puts them somewhere, ``follow`` is told in training
which points chose which code.
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.layers.k_means import (
    Codes,
    Points,
    Sizes,
    Tokens,
    assigned,
    drawn,
    there,
)
from models.layers.traced import Traced

_NOTHING = 1e-20
"""Average count below which a code was not chosen for so long that its mean is lost."""


class Followed(nnx.Variable):
    """A number moved by averages over batches, never by a gradient."""


class Codebook(Protocol):
    """What a quantizer asks of a codebook."""

    def vectors(self) -> Codes:
        """The codes."""
        ...

    def begin(self, vectors: Codes) -> None:
        """Put the codes somewhere."""
        ...

    def follow(self, points: Points, tokens: Tokens, key: Key[Array, ""]) -> None:
        """Move after a batch of points and the codes they chose."""
        ...


class Average(nnx.Module):
    """An exponential average that begins with nothing: zero and the weight of zero.

    ``value()`` divides by the weight that came together so far, so that it is a weighted mean
    of what was added from the first batch on.

    Args:
        shape: Of what is averaged.

    Source: Kingma and Ba 2015, "Adam", section 3 (the correction of the initial zero).
    """

    def __init__(self, *shape: int) -> None:
        self.sum = Followed(jnp.zeros(shape))
        self.weight = Followed(jnp.zeros(()))

    def add(self, values: Array, decay: Float[Array, ""] | float) -> None:
        """Forget a little and add."""
        self.sum.set_value(decay * self.sum[...] + (1 - decay) * values)
        self.weight.set_value(decay * self.weight[...] + (1 - decay))

    def value(self) -> Array:
        """The mean; zero of nothing."""
        return self.sum[...] / jnp.maximum(self.weight[...], _NOTHING)

    def replace(self, values: Array) -> None:
        """Make this the mean, with the weight there is."""
        self.sum.set_value(values * self.weight[...])


class AveragedCodebook(nnx.Module):
    """Codes are exponential averages of the points that chose them.

    A code that nothing chooses stays where it is. One whose average count falls below a
    fraction of the fair share N/K begins anew at a point of the batch, with that share for a
    count and the sum that belongs to it: its next mean is the point again, not less of it.

    Args:
        shape: ``(G, K, D)``.
        vectors: Where the codes begin.
        name: Of the configuration's part with ``decay`` and ``revive_below``.
        sizes: Codes that each codebook really has, the first ones; None for all K.

    Source: van den Oord et al. 2017, "Neural discrete representation learning", appendix A.1;
    the averages' correction after Sonnet's ``VectorQuantizerEMA``, revival after Dhariwal et
    al. 2020, "Jukebox", section 3.
    """

    def __init__(self, vectors: Codes, *, name: str, sizes: Sizes = None) -> None:
        groups, codes, size = vectors.shape
        self.sizes = sizes or (codes,) * groups
        self.codes = Followed(vectors)
        self.counts = Average(groups, codes)
        self.sums = Average(groups, codes, size)
        self.decay = Traced(0.0, name=f"{name}.decay")
        self.revive_below = Traced(0.0, name=f"{name}.revive_below")

    def vectors(self) -> Codes:
        """The codes."""
        return self.codes[...]

    def begin(self, vectors: Codes) -> None:
        """Put the codes somewhere; the first batch moves them to its means."""
        self.codes.set_value(vectors)

    def follow(self, points: Points, tokens: Tokens, key: Key[Array, ""]) -> None:
        """Add a batch to the averages, and revive what nothing chooses."""
        count, decay = self.codes[...].shape[1], self.decay[...]
        counts, sums = assigned(tokens, points, count)
        self.counts.add(counts, decay)
        self.sums.add(sums, decay)
        counts, sums = self.counts.value(), self.sums.value()
        means = sums / jnp.maximum(counts, _NOTHING)[..., None]
        moved = jnp.where((counts > _NOTHING)[..., None], means, self.codes[...])
        fair = points.shape[0] / jnp.asarray(self.sizes, counts.dtype)[:, None]
        share = self.revive_below[...] * fair
        dead = (counts < share) & there(self.sizes, count)
        fresh = drawn(key, points, count)
        self.codes.set_value(jnp.where(dead[..., None], fresh, moved))
        self.counts.replace(jnp.where(dead, share, counts))
        begun = fresh * share[..., None]
        self.sums.replace(jnp.where(dead[..., None], begun, sums))


class LearnedCodebook(nnx.Module):
    """Codes are parameters, drawn to their points by a term of the loss.

    Args:
        vectors: Where the codes begin.

    Source: van den Oord et al. 2017, "Neural discrete representation learning", equation 3.
    """

    def __init__(self, vectors: Codes) -> None:
        self.codes = nnx.Param(vectors)

    def vectors(self) -> Codes:
        """The codes."""
        return self.codes[...]

    def begin(self, vectors: Codes) -> None:
        """Put the codes somewhere."""
        self.codes.set_value(vectors)

    def follow(self, points: Points, tokens: Tokens, key: Key[Array, ""]) -> None:
        """Nothing: the gradient moves the codes."""


class LinearCodebook(nnx.Module):
    """Codes are a trained linear map of vectors that stay where they began.

    Every code moves whenever one of them is chosen, so that none is left behind. The map
    begins as the identity.

    Args:
        vectors: Where the codes begin.

    Source: Zhu et al. 2024, "Addressing representation collapse in vector quantized models
    with one linear layer" (SimVQ), equation 5.
    """

    def __init__(self, vectors: Codes) -> None:
        groups, _, size = vectors.shape
        self.fixed = Followed(vectors)
        self.map = nnx.Param(jnp.tile(jnp.eye(size)[None], (groups, 1, 1)))

    def vectors(self) -> Codes:
        """The codes."""
        return jnp.einsum("gkd,gde->gke", self.fixed[...], self.map[...])

    def begin(self, vectors: Codes) -> None:
        """Put the codes somewhere, as long as the map is the identity."""
        self.fixed.set_value(vectors)

    def follow(self, points: Points, tokens: Tokens, key: Key[Array, ""]) -> None:
        """Nothing: the gradient moves the map."""
