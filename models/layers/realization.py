"""Linear state spaces from impulse responses, in float64 numpy.

``x⁺ = A x + B u``, ``y = C x + D u``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg


@dataclass(frozen=True, kw_only=True)
class StateSpace:
    """A linear state space.

    Attributes:
        a: ``[n, n]``.
        b: ``[n, n_u]``.
        c: ``[n_y, n]``.
        d: ``[n_y, n_u]``.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray

    @property
    def order(self) -> int:
        """How many states there are."""
        return len(self.a)

    def states(self, u: np.ndarray) -> np.ndarray:
        """The states ``[T, n]`` from rest, the first one zero; infinite where unstable.

        Args:
            u: ``[T, n_u]``.
        """
        driven = u @ self.b.T
        found = np.empty((len(u), self.order))
        state, turned = np.zeros(self.order), np.ascontiguousarray(self.a.T)
        with np.errstate(over="ignore", invalid="ignore"):
            for t, push in enumerate(driven):
                found[t] = state
                state = state @ turned + push
        return found

    def outputs(self, u: np.ndarray) -> np.ndarray:
        """The outputs ``[T, n_y]`` from rest.

        Args:
            u: ``[T, n_u]``.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return self.states(u) @ self.c.T + u @ self.d.T

    def turned(self, forth: np.ndarray) -> StateSpace:
        """The same system with states ``forth @ x``.

        Args:
            forth: ``[n, n]``, invertible.
        """
        back = np.linalg.inv(forth)
        return StateSpace(
            a=forth @ self.a @ back, b=forth @ self.b, c=self.c @ back, d=self.d
        )

    def extended(self, poles: np.ndarray) -> StateSpace:
        """The same system beside first-order lags of the sum of its inputs, not yet read.

        Args:
            poles: Of the lags ``[m]``, real.
        """
        count = len(poles)
        return StateSpace(
            a=scipy.linalg.block_diag(self.a, np.diag(poles)),
            b=np.concatenate([self.b, np.ones((count, self.b.shape[1]))]),
            c=np.concatenate([self.c, np.zeros((len(self.c), count))], axis=1),
            d=self.d,
        )

    def stable(self, radius: float) -> StateSpace:
        """The same system with every pole of modulus at most `radius`.

        Poles outside the unit circle are reflected into it first: that keeps the modulus of
        the frequency response of each up to a factor.

        Args:
            radius: At most 1; where it is 1, poles on the circle stay.
        """
        poles, modes = np.linalg.eig(self.a)
        size = np.abs(poles)
        if (size <= radius).all():
            return self
        inside = np.where(size > 1, 1 / np.maximum(size, 1e-300), size)
        inside = np.minimum(inside, radius)
        moved = poles * (inside / np.maximum(size, 1e-300))
        a = (modes * moved) @ np.linalg.inv(modes)
        return StateSpace(a=np.real(a), b=self.b, c=self.c, d=self.d)


def kung(response: np.ndarray, order: int) -> StateSpace:
    """The realisation of an impulse response with a given number of states.

    Args:
        response: ``[L, n_y, n_u]``; entry k answers k samples after the impulse.
        order: States; no more than the response's Hankel matrix has rows or columns.

    Source: Kung 1978, "A new identification and model reduction algorithm via singular
    value decompositions".
    """
    length, outputs, inputs = response.shape
    rows = length // 2
    columns = length - rows
    places = 1 + np.arange(rows)[:, None] + np.arange(columns - 1)[None, :]
    hankel = response[places].transpose(0, 2, 1, 3)
    hankel = hankel.reshape(rows * outputs, (columns - 1) * inputs)
    left, values, right = scipy.linalg.svd(hankel, full_matrices=False)
    root = np.sqrt(values[:order])
    observed, reached = left[:, :order] * root, root[:, None] * right[:order]
    a = scipy.linalg.lstsq(observed[:-outputs], observed[outputs:])[0]
    return StateSpace(a=a, b=reached[:, :inputs], c=observed[:outputs], d=response[0])


def observer_gain(system: StateSpace, *, disturbance: float) -> np.ndarray:
    """The gain ``[n, n_y]`` by which an error of y corrects the next state.

    The stationary Kalman filter for disturbances of all states of variance 1 and noise of
    the outputs of variance ``1 / disturbance``; zero where that filter does not exist.

    Args:
        system: The system.
        disturbance: How strongly states are disturbed, relative to the noise.
    """
    a, c = system.a, system.c
    noise = np.eye(len(c)) / disturbance
    try:
        spread = scipy.linalg.solve_discrete_are(a.T, c.T, np.eye(len(a)), noise)
        gain: np.ndarray = a @ spread @ c.T @ np.linalg.inv(c @ spread @ c.T + noise)
    except (ValueError, np.linalg.LinAlgError):
        return np.zeros((len(a), len(c)))
    return gain if np.isfinite(gain).all() else np.zeros_like(gain)
