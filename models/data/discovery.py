"""Groups of columns that vary together: clusters of 1 − |correlation|, in numpy and scipy.

Average linkage, above all, leaves columns alone. Such orphans go to the cluster whose centroid they
correlate with most before a clustering is scored: no score is of clusters that are not used.

Sources: Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and validation of
cluster analysis"; `scipy.cluster.hierarchy` for the linkages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.cluster.hierarchy
from scipy.spatial.distance import squareform

from models.errors import DataError, near_matches

LINKAGES = ("average", "complete", "ward")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How columns are clustered.

    Attributes:
        linkage: One of `LINKAGES`; empty tries all of them. Ward's is meant for Euclidean
            distances, which these are not; it is there because others use it.
        least: Fewest clusters that are tried.
        most: Most clusters that are tried.
        smallest: Columns that a cluster needs; members of smaller ones are orphans.
    """

    linkage: str = ""
    least: int = 2
    most: int = 25
    smallest: int = 3

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Options:
        """Options by name.

        Raises:
            DataError: One is unknown or refused.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in asked:
            if name not in known:
                raise DataError(
                    f"a discovery of groups has no option `{name}`",
                    hint=near_matches(str(name), known),
                )
        options = cls(**asked)
        if options.linkage not in ("", *LINKAGES):
            raise DataError(
                f"`linkage` must be one of {', '.join(LINKAGES)}, got {options.linkage!r}",
                hint=near_matches(str(options.linkage), LINKAGES),
            )
        numbers = (options.least, options.most, options.smallest)
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
        if not whole or not (2 <= options.least <= options.most) or numbers[2] < 1:
            raise DataError(
                "a discovery tries from `least` (2 or more) to `most` clusters of `smallest` "
                f"(1 or more) columns, got {options.least}, {options.most} and "
                f"{options.smallest}",
                hint='for example {"auto": {"most": 12, "smallest": 3}}',
            )
        return options


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """What was found.

    Attributes:
        groups: Name to columns, the largest group first.
        linkage: By which it was found.
        asked: Clusters that the tree was cut into, before orphans were given away.
        orphans: Columns that were.
        silhouette: Mean silhouette of the groups.
        closest: Largest |correlation| between centroids of two groups.
        tried: Linkage, clusters asked for and left, orphans and silhouette of all that was
            tried.
    """

    groups: dict[str, tuple[int, ...]]
    linkage: str
    asked: int
    orphans: int
    silhouette: float
    closest: float
    tried: tuple[tuple[str, int, int, int, float], ...]


def discovered(rows: np.ndarray, options: Options) -> Discovery:
    """The clustering of columns with the largest mean silhouette.

    Args:
        rows: ``[N, D]``, NaN where a value is missing; units of columns do not matter.
        options: How.

    Raises:
        DataError: A column is constant, or no clustering has two clusters that are large
            enough.
    """
    correlations = correlated(rows)
    apart = 1.0 - np.abs(correlations)
    best: tuple[float, str, int, int, np.ndarray] | None = None
    tried = []
    for linkage in (options.linkage,) if options.linkage else LINKAGES:
        tree = scipy.cluster.hierarchy.linkage(squareform(apart), linkage)
        for count in range(options.least, min(options.most, len(apart) - 1) + 1):
            cut = scipy.cluster.hierarchy.fcluster(tree, count, "maxclust")
            labels, orphans = adopted(cut, correlations, smallest=options.smallest)
            _, sizes = np.unique(labels, return_counts=True)
            left = len(sizes)
            if left < 2 or sizes.min() < options.smallest:
                continue
            score = silhouette(apart, labels)
            tried.append((linkage, count, left, orphans, round(score, 4)))
            if best is None or score > best[0] + 1e-12:
                best = (score, linkage, count, orphans, labels)
    if best is None:
        raise DataError(
            f"{len(apart)} columns have no two clusters of {options.smallest} columns each",
            hint="lower `smallest`, or name the groups by hand",
        )
    score, linkage, count, orphans, labels = best
    groups = _by_size(labels)
    return Discovery(
        groups={f"group_{i}": columns for i, columns in enumerate(groups, 1)},
        linkage=linkage,
        asked=count,
        orphans=orphans,
        silhouette=float(score),
        closest=_closest(groups, correlations),
        tried=tuple(tried),
    )


def correlated(rows: np.ndarray) -> np.ndarray:
    """Correlations ``[D, D]`` of columns, with missing values at their column's mean.

    Raises:
        DataError: A column is constant.
    """
    scaled = np.nan_to_num(rows - np.nanmean(rows, axis=0))
    lengths = np.linalg.norm(scaled, axis=0)
    if not (lengths > 0).all():
        raise DataError(
            f"column {int(np.argmin(lengths))} is constant and correlates with nothing",
            hint="drop constant columns: `--clean`",
        )
    scaled = scaled / lengths
    found = np.clip(scaled.T @ scaled, -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return (found + found.T) / 2


def adopted(
    labels: np.ndarray, correlations: np.ndarray, *, smallest: int
) -> tuple[np.ndarray, int]:
    """Labels after members of clusters that are too small went to the nearest other one.

    Nearest is the cluster whose centroid, the mean of its standardized columns with their
    signs aligned, has the largest |correlation| with the column.

    Args:
        labels: ``[D]``.
        correlations: ``[D, D]``.
        smallest: Columns that a cluster needs.

    Returns:
        Labels, and how many columns moved. Nothing moves where no cluster is large enough.
    """
    names, sizes = np.unique(labels, return_counts=True)
    large = names[sizes >= smallest]
    lost = np.flatnonzero(~np.isin(labels, large))
    if not len(large) or not len(lost):
        return labels, 0
    out = labels.copy()
    weights = np.stack(
        [_centroid(np.flatnonzero(labels == n), correlations) for n in large]
    )
    near = np.abs(weights @ correlations[:, lost])
    lengths = np.sqrt(np.einsum("gd,de,ge->g", weights, correlations, weights))
    out[lost] = large[np.argmax(near / lengths[:, None], axis=0)]
    return out, len(lost)


def silhouette(apart: np.ndarray, labels: np.ndarray) -> float:
    """Mean over columns of how much nearer their own cluster is than the next; 0 for one alone.

    Args:
        apart: Distances ``[D, D]``.
        labels: ``[D]``, of at least two clusters.
    """
    names, places = np.unique(labels, return_inverse=True)
    member = np.eye(len(names))[places]
    sizes = member.sum(axis=0)
    sums = apart @ member
    own = sizes[places]
    within = sums[np.arange(len(places)), places] / np.maximum(own - 1, 1)
    means = sums / sizes
    means[np.arange(len(places)), places] = np.inf
    next_ = means.min(axis=1)
    longer = np.maximum(within, next_)
    each = np.where(longer > 0, (next_ - within) / np.where(longer > 0, longer, 1), 0.0)
    return float(np.where(own > 1, each, 0.0).mean())


def _centroid(columns: np.ndarray, correlations: np.ndarray) -> np.ndarray:
    """Weights ``[D]`` of a cluster's centroid: ±1 by the sign beside its most central member."""
    inner = correlations[np.ix_(columns, columns)]
    central = int(np.argmax(np.abs(inner).sum(axis=1)))
    weights = np.zeros(len(correlations))
    weights[columns] = np.where(inner[central] < 0, -1.0, 1.0)
    return weights


def _by_size(labels: np.ndarray) -> list[tuple[int, ...]]:
    """Columns of every cluster, the largest first, then by their first column."""
    found = [np.flatnonzero(labels == name) for name in np.unique(labels)]
    ordered = sorted(found, key=lambda columns: (-len(columns), columns[0]))
    return [tuple(columns.tolist()) for columns in ordered]


def _closest(groups: list[tuple[int, ...]], correlations: np.ndarray) -> float:
    weights = np.stack([_centroid(np.array(g), correlations) for g in groups])
    inner = weights @ correlations @ weights.T
    lengths = np.sqrt(np.diag(inner))
    between = np.abs(inner / np.outer(lengths, lengths))
    np.fill_diagonal(between, 0.0)
    return float(between.max())
