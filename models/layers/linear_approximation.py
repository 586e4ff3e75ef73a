"""The best linear approximation of a nonlinear system, as a small state space.

Ridge regressions on past inputs (FIR) and on past inputs and outputs (ARX) give impulse responses,
each of which is realised with the wanted number of states; the one that simulates the validation
part best is taken, and its outputs are fitted once more. All in units of standard deviation and in
float64 numpy.

Sources: Pintelon and Schoukens 2012, "System Identification: A Frequency Domain Approach",
chapter 3 (the best linear approximation); Ljung 1999, "System Identification", section 4.2;
Kung 1978.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from models.layers.least_squares import regression
from models.layers.realization import StateSpace, kung

Records = Sequence[tuple[np.ndarray, np.ndarray]]
"""Inputs ``[T, n_u]`` and outputs ``[T, n_y]`` of every record, NaN where one is missing."""

FIR_LAGS, ARX_LAGS = (50, 100, 200), (4, 8, 20)
EXTRA_POLES = (0.3, 0.9)
RESPONSE = 200
"""Samples of an impulse response that are realised."""
SIMULATED = 6000
"""Samples of the validation part that candidates are simulated over."""


@dataclass(frozen=True, kw_only=True)
class Approximation:
    """A linear model with a constant in its outputs.

    Attributes:
        system: States have unit variance over the train part.
        constant: ``[n_y]``.
    """

    system: StateSpace
    constant: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Second moments of one regression on the most lags, of which any fewer are a part."""

    matrix: np.ndarray
    count: int
    inputs: int
    outputs: int
    lags: int

    def response(self, lags: int, output_lags: int, ridge: float) -> np.ndarray:
        """The impulse response ``[RESPONSE, n_y, n_u]`` of a ridge regression.

        Args:
            lags: Inputs that count, the present one included.
            output_lags: Past outputs that count.
            ridge: Penalty on the squared coefficients, relative to the variance of y.
        """
        wide = 1 + self.lags * self.inputs
        chosen = np.r_[
            : 1 + lags * self.inputs, wide : wide + output_lags * self.outputs
        ]
        targets = np.arange(len(self.matrix) - self.outputs, len(self.matrix))
        penalty = np.full(len(chosen), ridge * self.count)
        penalty[0] = 0.0
        normal = self.matrix[np.ix_(chosen, chosen)] + np.diag(penalty)
        found = scipy.linalg.lstsq(normal, self.matrix[np.ix_(chosen, targets)])[0]
        split = 1 + lags * self.inputs
        forward = found[1:split].reshape(lags, self.inputs, self.outputs)
        back = found[split:].reshape(output_lags, self.outputs, self.outputs)
        response = np.zeros((RESPONSE, self.outputs, self.inputs))
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(RESPONSE):
                if t < lags:
                    response[t] = forward[t].T
                for k in range(min(t, output_lags)):
                    response[t] += back[k].T @ response[t - 1 - k]
        return response


def best_linear_approximation(
    train: Records,
    valid: Records,
    *,
    order: int,
    extra: int = 0,
    ridge: float,
    radius: float,
) -> Approximation:
    """The linear state space of a given order that simulates the validation part best.

    Args:
        train: Records in units of standard deviation.
        valid: Likewise.
        order: States.
        extra: Further states, slow and fast lags of the inputs that y does not read.
        ridge: Penalty of the regressions on inputs, relative to the variance of y; a
            hundredth of it is that of the regressions on outputs, too.
        radius: Largest modulus of a pole.
    """
    train, valid = _filled(train), _filled(valid)
    candidates = [
        kung(response, order).stable(radius) for response in _responses(train, ridge)
    ]
    # The lags may be fewer than the order on short records; nothing is known then.
    nothing = StateSpace(
        a=np.zeros((order, order)),
        b=np.zeros((order, train[0][0].shape[1])),
        c=np.zeros((train[0][1].shape[1], order)),
        d=np.zeros((train[0][1].shape[1], train[0][0].shape[1])),
    )
    candidates = [s for s in candidates if np.isfinite(s.a).all()] or [nothing]
    part = _beginning(valid, SIMULATED)
    errors = [
        _error(Approximation(system=s, constant=_zero(s)), part) for s in candidates
    ]
    best = candidates[int(np.argmin(errors))]
    model = _refitted(best, train)
    lags = np.linspace(*EXTRA_POLES, extra) if extra > 1 else np.full(extra, 0.6)
    return _scaled(replace(model, system=model.system.extended(lags)), train)


def _responses(train: Records, ridge: float) -> Iterator[np.ndarray]:
    """Impulse responses of all regressions that the records are long enough for."""
    longest = max(len(u) for u, _ in train)
    most = max(2, min(max(FIR_LAGS), longest // 4))
    moments = _moments(train, most, min(max(ARX_LAGS), most))
    for lags in sorted({min(n, most) for n in FIR_LAGS}):
        yield moments.response(lags, 0, ridge)
    for lags in sorted({min(n, most) for n in ARX_LAGS}):
        response = moments.response(lags, lags, ridge / 100)
        if np.isfinite(response).all() and np.abs(response).max() < 1e6:
            yield response


def _moments(train: Records, lags: int, output_lags: int) -> _Moments:
    inputs, outputs = train[0][0].shape[1], train[0][1].shape[1]
    width = 1 + lags * inputs + output_lags * outputs + outputs
    matrix, count = np.zeros((width, width)), 0
    for u, y in train:
        for rows, targets in regression(u, y, lags, output_lags):
            both = np.concatenate([rows, targets], axis=1)
            matrix += both.T @ both
            count += len(both)
    return _Moments(
        matrix=matrix, count=max(count, 1), inputs=inputs, outputs=outputs, lags=lags
    )


def _refitted(system: StateSpace, train: Records) -> Approximation:
    """C, D and a constant by least squares on the simulated states."""
    width = system.order + system.b.shape[1] + 1
    matrix = np.zeros((width, width))
    target = np.zeros((width, len(system.c)))
    for u, y in train:
        rows = np.concatenate([system.states(u), u, np.ones((len(u), 1))], axis=1)
        late = _unknown_start(u)
        matrix += rows[late:].T @ rows[late:]
        target += rows[late:].T @ y[late:]
    found = scipy.linalg.lstsq(matrix, target)[0].T
    n = system.order
    system = replace(system, c=found[:, :n], d=found[:, n:-1])
    return Approximation(system=system, constant=found[:, -1])


def _scaled(model: Approximation, train: Records) -> Approximation:
    """The same model with states of unit variance over the train part."""
    system = model.system
    states = np.concatenate([system.states(u) for u, _ in train])
    deviation = np.std(states, axis=0)
    usable = np.isfinite(deviation) & (deviation > 1e-9)
    scale = np.where(usable, 1 / np.where(usable, deviation, 1.0), 1.0)
    return replace(model, system=system.turned(np.diag(scale)))


def _filled(records: Records) -> Records:
    """The records with gaps bridged by straight lines: few rows of a regression have none."""

    def bridged(values: np.ndarray) -> np.ndarray:
        whole, time = np.array(values), np.arange(len(values))
        for channel in whole.T:
            seen = np.isfinite(channel)
            channel[~seen] = np.interp(
                time[~seen],
                time[seen] if seen.any() else [0],
                channel[seen] if seen.any() else [0.0],
            )
        return whole

    return [(bridged(u), bridged(y)) for u, y in records]


def _beginning(records: Records, samples: int) -> Records:
    """As many whole records as are needed, the last one cut."""
    found = []
    for u, y in records:
        found.append((u[:samples], y[:samples]))
        samples -= len(u)
        if samples <= 0:
            break
    return found


def _error(model: Approximation, records: Records) -> float:
    """Root mean square of what a free simulation leaves, its mean apart."""
    errors = []
    for u, y in records:
        with np.errstate(over="ignore", invalid="ignore"):
            error = model.system.outputs(u) + model.constant - y
        errors.append(error[_unknown_start(u) :])
    value = float(np.sqrt(np.mean(np.var(np.concatenate(errors), axis=0))))
    return value if np.isfinite(value) else np.inf


def _unknown_start(u: np.ndarray) -> int:
    """Samples of a record that are left out: it need not begin at rest."""
    return min(RESPONSE, len(u) // 4)


def _zero(system: StateSpace) -> np.ndarray:
    return np.zeros(len(system.c))
