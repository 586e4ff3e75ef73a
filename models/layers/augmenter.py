"""A token for every column of a window, of its shape over time and of a few of its statistics.

Beside the map of the look-back that an inverted transformer reads columns with, it tells what
such a map cannot: how much a column changes, how it correlates with itself, on what level and
scale it lies.

``summarizer="plain"`` and ``ar="inclusive"`` are the augmenter as it was first specified. There
the weights of attention depend on one number, ``u[t]``, through an affine map: the summary has
rank 1 and does not know in which order values came; and what the autoregression is to give lies
in its own window, so that ``w = (0, …, 0, 1)`` makes no error. By default times are encoded,
several queries ask, the value behind the window is predicted, and features have a running scale.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.errors import ConfigError
from models.layers.batch_normalization import BatchNormalization
from models.layers.dropout import entry_dropout, split_key
from models.layers.initialization import normal_parameter
from models.layers.layer_normalization import LayerNorm
from models.layers.linear import Linear
from models.layers.traced import Traced

Summarizer = Literal["timed", "plain"]
Residual = Literal["next", "inclusive"]


class TokenSemanticAugmenter(nnx.Module):
    """Columns ``[B, L, C]`` with their level and scale to tokens ``[B, C, D]``.

    Args:
        d_model: Numbers D of a token.
        d_intra: Numbers of what attention over time reads.
        ar_order: Order of the autoregression.
        mlp_ratio: Width of the hidden layer, over D.
        dropout: Its rate, until the configuration's own is set.
        eps: Keeps divisions and logarithms finite.
        use_skip: Whether the summary also reaches the token through a linear map.
        use_dyn: Whether features tell of first and second differences: mean and population
            variance of the first, mean of the second.
        use_ar: Of the autoregression: variance of its residual, sum of its weights' sizes.
        use_acf: Of the autocorrelation at lags 1 and 2.
        use_scale: Of level and log scale.
        ar_learnable: Whether the weights of the autoregression are learned; else they stay
            as they were drawn.
        n_vars: Columns, for weights of each column's own; None for one for all.
        summarizer: How time is read (see above).
        queries: Of ``timed``.
        ar: What the autoregression predicts.
        dropout_name: Configuration key that the dropout rate follows.

    Raises:
        ConfigError: Several queries with a plain summarizer, or an order below 1.
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_intra: int = 64,
        ar_order: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        eps: float = 1e-5,
        use_skip: bool = True,
        use_dyn: bool = True,
        use_ar: bool = True,
        use_acf: bool = True,
        use_scale: bool = True,
        ar_learnable: bool = True,
        n_vars: int | None = None,
        summarizer: Summarizer = "timed",
        queries: int | None = None,
        ar: Residual = "next",
        dropout_name: str = "augmenter.dropout",
    ) -> None:
        if ar_order < 1:
            raise ConfigError(f"`ar_order` must be at least 1, got {ar_order}")
        if summarizer == "plain" and queries not in (None, 1):
            raise ConfigError(
                f"a plain summarizer has one query, got {queries}",
                hint="leave `queries` out, or take `timed`",
            )
        self.eps, self.ar_order = eps, ar_order
        self.n_vars = n_vars if use_ar else None
        self.ar = ar
        self.use_dyn, self.use_ar, self.use_acf = use_dyn, use_ar, use_acf
        self.use_scale, self.plain = use_scale, summarizer == "plain"
        self.features = 3 * use_dyn + 2 * use_acf + 2 * use_ar + 2 * use_scale
        self.rate = Traced(dropout, name=dropout_name)
        count = 1 if self.plain else (queries or 4)
        self.intra_proj = Linear(inputs=1, outputs=d_intra)
        self.query = normal_parameter((count, d_intra), deviation=0.02)
        if not self.plain:
            self.time_proj = Linear(inputs=d_intra, outputs=d_intra, bias=False)
            self.gather = Linear(inputs=count * d_intra, outputs=d_intra)
        self.summary_norm = LayerNorm(d_intra)
        if use_ar:
            kernel = (ar_order,) if n_vars is None else (n_vars, ar_order)
            self.ar_weight = normal_parameter(
                kernel, deviation=0.01, trained=ar_learnable
            )
        if self.features:
            self.feature_norm = (
                LayerNorm(self.features)
                if self.plain
                else BatchNormalization(self.features)
            )
        joint = d_intra + self.features
        self.fusion_norm = LayerNorm(joint)
        self.widen = Linear(inputs=joint, outputs=round(mlp_ratio * d_model))
        self.narrow = Linear(inputs=round(mlp_ratio * d_model), outputs=d_model)
        self.skip = (
            Linear(inputs=d_intra, outputs=d_model, bias=False) if use_skip else None
        )

    def __call__(
        self,
        x: Float[Array, "batch time channel"],
        mu: Float[Array, ...],
        sigma: Float[Array, ...],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch channel number"]:
        """The tokens.

        Args:
            x: ``[B, L, C]``, as they came: not standardized.
            mu: Mean of every column, ``[B, C]``, or ``[B, L, C]`` of which the mean is taken.
            sigma: Its standard deviation, likewise.
            key: Of training: switches dropout on, and lets the running scale follow.

        Raises:
            ValueError: The window is too short for the autoregression or the differences, or
                has other columns than there are weights of their own for.
        """
        shortest = max(self.ar_order + 1, 3)
        if x.shape[1] < shortest:
            raise ValueError(
                f"the augmenter needs at least {shortest} time steps for order "
                f"{self.ar_order} and second differences, got {x.shape[1]}"
            )
        if self.n_vars not in (None, x.shape[2]):
            raise ValueError(
                f"the augmenter has weights for {self.n_vars} columns, got {x.shape[2]}"
            )
        mu, sigma = (s.mean(axis=1) if s.ndim == 3 else s for s in (mu, sigma))
        scaled = (x - mu[:, None]) / (sigma[:, None] + self.eps)
        columns = jnp.swapaxes(scaled, 1, 2)
        summary = self.summary_norm(self._summary(columns))
        joint = summary
        if self.features:
            found = self.described(columns, mu, sigma)
            if isinstance(self.feature_norm, LayerNorm):
                found = self.feature_norm(found)
            else:
                found = self.feature_norm(found, training=key is not None)
            joint = jnp.concatenate([summary, found], axis=-1)
        first, second = split_key(key, 2)
        rate = self.rate[...]
        wide = jax.nn.gelu(self.widen(self.fusion_norm(joint)), approximate=False)
        token = self.narrow(entry_dropout(wide, rate, first))
        token = entry_dropout(token, rate, second)
        return token if self.skip is None else token + self.skip(summary)

    def described(
        self,
        columns: Float[Array, "batch channel time"],
        mu: Float[Array, "batch channel"],
        sigma: Float[Array, "batch channel"],
    ) -> Float[Array, "batch channel feature"]:
        """The features of standardized columns, those that are switched on.

        Args:
            columns: ``[B, C, L]``.
            mu: Their level, as it came.
            sigma: Their scale, likewise.
        """
        found: list[Array] = []
        if self.use_dyn:
            steps = jnp.diff(columns, axis=-1)
            bends = jnp.diff(steps, axis=-1)
            found += [steps.mean(-1), steps.var(-1), bends.mean(-1)]
        if self.use_acf:
            found += [autocorrelation(columns, lag, self.eps) for lag in (1, 2)]
        if self.use_ar:
            residual = self._residual(columns)
            size = jnp.sum(jnp.abs(self.ar_weight[...]), axis=-1)
            found += [residual.var(-1), jnp.broadcast_to(size, columns.shape[:2])]
        if self.use_scale:
            found += [mu, jnp.log(sigma + self.eps)]
        return jnp.stack(found, axis=-1)

    def _summary(
        self, columns: Float[Array, "batch channel time"]
    ) -> Float[Array, "batch channel number"]:
        """What the queries read of every column, before it is normalized."""
        weight, bias = self.intra_proj.weight[...][0], self.intra_proj.bias
        assert bias is not None, "made with one"
        query = self.query[...]
        root = math.sqrt(query.shape[1])
        if self.plain:  # affine in u, so that neither scores nor sums need the vectors
            scores = (columns * (query[0] @ weight) + query[0] @ bias[...]) / root
            tilted = jnp.sum(jax.nn.softmax(scores, axis=-1) * columns, axis=-1)
            return tilted[..., None] * weight[None, None] + bias[...][None, None]
        times = self.time_proj(time_encoding(columns.shape[-1], query.shape[1])[None])
        base = times[0] + bias[...][None]
        values = jax.nn.relu(
            columns[..., None] * weight[None, None, None] + base[None, None]
        )
        scores = jnp.einsum("bcld,kd->bckl", values, query) / root
        read = jnp.einsum("bckl,bcld->bckd", jax.nn.softmax(scores, axis=-1), values)
        return self.gather(read.reshape(*columns.shape[:2], -1))

    def _residual(
        self, columns: Float[Array, "batch channel time"]
    ) -> Float[Array, "batch channel residual"]:
        """What the autoregression leaves of every value that it can predict."""
        order, length = self.ar_order, columns.shape[-1]
        ahead = 1 if self.ar == "next" else 0
        count = length - order + 1 - ahead
        kernel = jnp.broadcast_to(self.ar_weight[...], (columns.shape[1], order))
        predicted = sum(
            (columns[..., k : k + count] * kernel[None, :, k, None])
            for k in range(order)
        )
        first = order - 1 + ahead
        return columns[..., first : first + count] - predicted


def autocorrelation(
    columns: Float[Array, "*batch time"], lag: int, eps: float = 0.0
) -> Float[Array, "*batch"]:
    """Of columns of mean 0: the mean product `lag` steps apart, over the mean square.

    Args:
        columns: ``[…, L]``.
        lag: Steps; each mean is over the products that there are.
        eps: Added to the mean square.
    """
    products = columns[..., lag:] * columns[..., : columns.shape[-1] - lag]
    return products.mean(-1) / (jnp.square(columns).mean(-1) + eps)


def time_encoding(length: int, size: int) -> Float[Array, "time number"]:
    """Sines and cosines of the steps before the end, of periods from 2π to 20,000π.

    Source: Vaswani et al. 2017, "Attention is all you need", section 3.5.
    """
    back = np.arange(length)[::-1, None]
    rates = 1e4 ** (-np.arange(0, size, 2) / size)
    both = np.stack([np.sin(back * rates), np.cos(back * rates)], axis=-1)
    return jnp.asarray(both.reshape(length, -1)[:, :size], jnp.zeros(()).dtype)
