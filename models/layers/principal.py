"""Principal components of rows with gaps, in float64 numpy.

A row is ``x = mean + W z + noise`` with ``z ~ N(0, I)`` and noise of variance σ² in every entry:
probabilistic principal components. Without gaps the maximum of the likelihood is known; with gaps
it is climbed to, and what is missing in a row is never filled in.

Sources: Tipping and Bishop 1999, "Probabilistic principal component analysis", section 3; Ilin
and Raiko 2010, "Practical approaches to principal component analysis in the presence of missing
values", section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROWS = 1 << 22
"""Numbers of the posterior covariances that exist at a time."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """A fitted model.

    Attributes:
        mean: ``[D]``.
        weights: W ``[D, K]``.
        noise: σ², of every entry.
    """

    mean: np.ndarray
    weights: np.ndarray
    noise: float

    def codes(
        self, rows: np.ndarray, mask: np.ndarray, *, shrink: float = 1.0
    ) -> np.ndarray:
        """The codes ``[N, K]`` of rows, from the entries that a mask shows.

        Args:
            rows: ``[N, D]``; what the mask hides may hold anything.
            mask: ``[N, D]``.
            shrink: Of σ²: with 1 the posterior mean, with 0 the code that is nearest to the
                row (and of equally near ones the smallest).
        """
        penalty = shrink * self.noise
        centred = np.where(mask, rows - self.mean, 0.0)
        if mask.all():
            gram = self.weights.T @ self.weights + penalty * np.eye(self._size)
            return centred @ self.weights @ np.linalg.pinv(gram, hermitian=True)
        out = np.empty((len(rows), self._size))
        for some in _pieces(len(rows), self._size):
            gram = _grams(mask[some], self.weights) + penalty * np.eye(self._size)
            wanted = (centred[some] @ self.weights)[..., None]
            inverse = np.linalg.pinv(gram, hermitian=True)
            out[some] = (inverse @ wanted)[..., 0]
        return out

    def rows(self, codes: np.ndarray) -> np.ndarray:
        """The rows ``[N, D]`` that codes stand for."""
        return codes @ self.weights.T + self.mean

    @property
    def _size(self) -> int:
        return self.weights.shape[1]


def principal_components(
    rows: np.ndarray, mask: np.ndarray, *, size: int, rounds: int = 50
) -> Components:
    """The components of rows.

    Args:
        rows: ``[N, D]``; what the mask hides may hold anything.
        mask: ``[N, D]``; every column shows something.
        size: Components K, fewer than D.
        rounds: Of expectation and maximization, where there are gaps.
    """
    shown = np.where(mask, rows, 0.0)
    count = np.maximum(mask.sum(axis=0), 1)
    mean = shown.sum(axis=0) / count
    # The exact solution with the mean in the gaps: all there is to do without any.
    found = _exact(np.where(mask, rows, mean), mean, size)
    if mask.all():
        return found
    for _ in range(rounds):
        found = _improved(found, shown, mask, count)
    return found


def _exact(rows: np.ndarray, mean: np.ndarray, size: int) -> Components:
    """Of rows without gaps: ``W = U (Λ - σ²)^½``, σ² the mean of the eigenvalues left out."""
    _, singular, directions = np.linalg.svd(rows - mean, full_matrices=False)
    values = np.zeros(rows.shape[1])
    values[: len(singular)] = np.square(singular) / len(rows)
    noise = max(values[size:].mean(), 1e-12 * max(values[0], 1e-300))
    kept = min(size, len(singular))
    weights = np.zeros((rows.shape[1], size))
    scale = np.sqrt(np.maximum(values[:kept] - noise, 0.0))
    weights[:, :kept] = directions[:kept].T * scale
    return Components(mean=mean, weights=weights, noise=float(noise))


def _improved(
    model: Components, shown: np.ndarray, mask: np.ndarray, count: np.ndarray
) -> Components:
    """One round: codes given the model, then each column's weights and mean given codes.

    Source: Liu, Rubin and Wu 1998, "Parameter expansion to accelerate EM", for the last step,
    without which it takes several hundred rounds.
    """
    size, width = model.weights.shape[1], shown.shape[1]
    moments = np.zeros((width, (size + 1) ** 2))
    products = np.zeros((width, size + 1))
    total = np.zeros((size + 1, size + 1))
    for some in _pieces(len(shown), size):
        codes, spread = _posterior(model, shown[some], mask[some])
        # A constant beside the codes, so that the mean is solved for with the weights.
        whole = np.concatenate([codes, np.ones((len(codes), 1))], axis=1)
        second = whole[:, :, None] * whole[:, None]
        second[:, :size, :size] += spread
        total += second.sum(axis=0)
        moments += mask[some].T.astype(float) @ second.reshape(len(codes), -1)
        products += shown[some].T @ whole
    moments = moments.reshape(width, size + 1, size + 1)
    moments[:, range(size), range(size)] += 1e-9 * count[:, None]
    solved = np.linalg.solve(moments, products[..., None])[..., 0]
    # Σ (x - m)² - 2 (x - m) zᵀw + wᵀ E[zzᵀ] w, where (w, m) solves the normal equations.
    squares = np.square(shown).sum() - np.sum(solved * products)
    noise = max(squares / count.sum(), 1e-12)
    # Codes as they were found have a mean and a covariance: into the weights with both.
    middle = total[size, :size] / len(shown)
    covariance = total[:size, :size] / len(shown) - np.outer(middle, middle)
    weights = solved[:, :size]
    return Components(
        mean=solved[:, size] + weights @ middle,
        weights=weights @ np.linalg.cholesky(covariance),
        noise=float(noise),
    )


def _posterior(
    model: Components, shown: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the codes of rows."""
    size = model.weights.shape[1]
    gram = _grams(mask, model.weights) + model.noise * np.eye(size)
    inverse = np.linalg.inv(gram)
    wanted = np.where(mask, shown - model.mean, 0.0) @ model.weights
    return (inverse @ wanted[..., None])[..., 0], model.noise * inverse


def _grams(mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``WᵀW`` over the shown entries of every row: ``[N, K, K]``."""
    size = weights.shape[1]
    outer = (weights[:, :, None] * weights[:, None]).reshape(len(weights), -1)
    return (mask.astype(float) @ outer).reshape(-1, size, size)


def _pieces(rows: int, size: int) -> list[slice]:
    """Rows in pieces whose covariances fit into memory."""
    step = max(1, _ROWS // (size + 1) ** 2)
    return [slice(start, start + step) for start in range(0, rows, step)]
