"""Product and residual codes by k-means, in float64 numpy: vectors as a few tokens.

A vector is cut into groups of numbers; each group is replaced by the nearest of a codebook's
codes, what is left by one of the next stage's. Codebooks are fitted by Lloyd's iterations from
k-means++.

Sources: Jégou et al. 2011, "Product quantization for nearest neighbor search"; Juang and Gray
1982, "Multiple stage vector quantization for speech coding" for the stages.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import scipy.cluster.vq

_SEED = 0
_ROUNDS = 30


def fit_codes(
    vectors: np.ndarray, *, groups: int, bits: int, stages: int
) -> np.ndarray:
    """Codebooks ``[groups, stages, 2**bits, ceil(K / groups)]`` for vectors ``[N, K]``.

    Numbers are dealt out to the groups one by one in the order they have, so that each group
    gets a part of what carries much; groups that get fewer are filled with zeros.
    """
    rest = dealt(vectors, groups)
    books = np.zeros((groups, stages, 2**bits, rest.shape[-1]))
    for group in range(groups):
        left = rest[:, group]
        for stage in range(stages):
            books[group, stage] = _k_means(left, 2**bits, seed=_SEED + stage)
            left = left - books[group, stage][_nearest(left, books[group, stage])]
    return books


def tokens_of(vectors: np.ndarray, books: np.ndarray) -> np.ndarray:
    """The codes' numbers ``[N, groups, stages]``."""
    groups, stages = books.shape[:2]
    rest = dealt(vectors, groups)
    tokens = np.zeros((len(vectors), groups, stages), np.int64)
    for group in range(groups):
        left = rest[:, group]
        for stage in range(stages):
            tokens[:, group, stage] = _nearest(left, books[group, stage])
            left = left - books[group, stage][tokens[:, group, stage]]
    return tokens


def vectors_of(tokens: np.ndarray, books: np.ndarray, *, size: int) -> np.ndarray:
    """The vectors ``[N, size]`` that tokens stand for."""
    groups, stages = books.shape[:2]
    pieces = np.stack(
        [
            sum(books[g, s][tokens[:, g, s]] for s in range(stages))
            for g in range(groups)
        ],
        axis=1,
    )
    return pieces.swapaxes(1, 2).reshape(len(tokens), -1)[:, :size]


def dealt(vectors: np.ndarray, groups: int) -> np.ndarray:
    """Vectors ``[N, K]`` as groups ``[N, groups, ceil(K / groups)]``."""
    width = math.ceil(vectors.shape[1] / groups)
    filled = np.zeros((len(vectors), width * groups))
    filled[:, : vectors.shape[1]] = vectors
    return filled.reshape(len(vectors), width, groups).swapaxes(1, 2)


def _k_means(points: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    distinct = np.unique(points, axis=0)
    if len(distinct) <= count:  # every point is a code
        return distinct[np.arange(count) % len(distinct)]
    start = _plus_plus(points, count, np.random.default_rng(seed))
    with warnings.catch_warnings():  # a code that nothing is near stays where it is
        warnings.simplefilter("ignore")
        codes, _ = scipy.cluster.vq.kmeans2(points, start, iter=_ROUNDS, minit="matrix")
    return codes


def _plus_plus(
    points: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """Points as first codes, each drawn by its squared distance from those before.

    Source: Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding".
    """
    codes = [points[random.integers(len(points))]]
    apart = np.square(points - codes[0]).sum(axis=1)
    while len(codes) < count:
        codes.append(points[random.choice(len(points), p=apart / apart.sum())])
        apart = np.minimum(apart, np.square(points - codes[-1]).sum(axis=1))
    return np.array(codes)


def _nearest(points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return scipy.cluster.vq.vq(points, codes)[0]
