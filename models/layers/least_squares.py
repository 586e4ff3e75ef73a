"""Linear regression over sequences in bounded memory, in float64 numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.linalg

_CHUNK = 8192  # rows of the regression matrix that exist at a time


def regression(
    u: np.ndarray, y: np.ndarray, lags: int, output_lags: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of the regression within one record, a bounded number at a time.

    Only samples whose whole past lies in the record make a row, so nothing is mixed across
    the boundaries of files.

    Args:
        u: ``[T, n_u]``.
        y: ``[T, n_y]``.
        lags: Input samples per row, the present one included.
        output_lags: Past outputs per row.

    Yields:
        Regressors ``[rows, 1 + lags·n_u + output_lags·n_y]`` (constant first, then newest
        samples first) and targets ``[rows, n_y]``.
    """
    first = max(lags - 1, output_lags)
    for start in range(first, len(u), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(u)))[:, None]
        yield (
            np.concatenate(
                [
                    np.ones((len(rows), 1)),
                    u[rows - np.arange(lags)].reshape(len(rows), -1),
                    y[rows - 1 - np.arange(output_lags)].reshape(len(rows), -1),
                ],
                axis=1,
            ),
            y[rows[:, 0]],
        )


def least_squares(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], *, ridge: float
) -> tuple[np.ndarray | None, float]:
    """Minimize ``mean |y - X b|² + ridge |b|²`` (the first column of X is not penalized).

    Blocks are folded into a triangular factor one by one, so memory stays small and the
    condition number is not squared as in the normal equations.

    Args:
        blocks: Regressors ``[rows, P]`` and targets ``[rows, Q]``.
        ridge: The penalty.

    Returns:
        Coefficients ``[P, Q]`` (None when there was no row) and the mean squared error.

    Source: Golub and Van Loan, "Matrix Computations", section 5.3 (QR updating).
    """
    factor, count, width = None, 0, 0
    for x, y in blocks:
        count, width = count + len(x), x.shape[1]
        stacked = np.concatenate([x, y], axis=1)
        if factor is not None:
            stacked = np.concatenate([factor, stacked])
        factor = np.linalg.qr(stacked, mode="r")
    if factor is None:
        return None, math.nan
    penalty = math.sqrt(ridge * count) * np.eye(width)
    penalty[0, 0] = 0.0
    left, right = factor[:, :width], factor[:, width:]
    zeros = np.zeros((width, right.shape[1]))
    solution = scipy.linalg.lstsq(
        np.concatenate([left, penalty]), np.concatenate([right, zeros])
    )[0]
    residual = left @ solution - right
    return solution, float(np.sum(residual**2) / (count * right.shape[1]))
