"""Linear baseline in closed form: FIR and ARX models by least squares.

``y[t] = c + Σ_k B_k u[t-k] + Σ_k A_k y[t-k]``, fitted on the train part in units of its
standard deviation and simulated freely: the model feeds on its own past outputs, on
measured ones only as far as the task gives them. Without output lags it is a finite impulse
response. Fitting and simulating are plain numpy in float64.

Source: Ljung 1999, "System Identification", sections 4.2 and 10.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.signal

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.kinds.base import Part
from models.errors import DataError
from models.example import Example
from models.family import creator
from models.layers.least_squares import least_squares, regression
from models.tasks.base import TaskData
from models.tasks.prediction import GIVEN
from models.training.closed_form import ClosedForm, Solution

TASKS = ("simulation", "prediction")
CLOSED_FORM = True
CAUSAL = True


@dataclass(frozen=True, kw_only=True)
class LeastSquares(BaseConfig):
    """How far the model looks back, and how strongly its coefficients are shrunk.

    Attributes:
        lags: Input samples that count, the present one included.
        output_lags: Past outputs that count; 0 gives a finite impulse response.
        ridge: Penalty on the squared coefficients relative to the mean squared error, both
            in units of standard deviation; the constant is not penalized.
    """

    lags: int = static(128, low=1)
    output_lags: int = static(0, low=0)
    ridge: float = traced(0.0, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `linear`."""

    model: LeastSquares = field(default_factory=LeastSquares)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted linear model in units of standard deviation; physical units outside.

    Attributes:
        inputs: ``[lags, n_u, n_y]``; entry k multiplies ``u[t-k]``.
        outputs: ``[output_lags, n_y, n_y]``; entry k multiplies ``y[t-1-k]``.
        constant: ``[n_y]``.
        mean: Per signal ``u`` and ``y``, per channel, in physical units.
        std: Likewise.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    constant: np.ndarray
    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]

    def __call__(self, u: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Simulate freely from rest at the operating point, or behind known outputs.

        Args:
            u: ``[..., T, n_u]`` in physical units.
            known: The first outputs ``[..., K, n_y]``: from sample K on the model feeds on
                them instead of on rest.

        Returns:
            ``[..., T, n_y]`` in physical units, the known ones as they are; not finite
            where the model is unstable.
        """
        u = np.asarray(u, float)
        batch = (u.reshape(-1, *u.shape[-2:]) - self.mean["u"]) / self.std["u"]
        forced = self._forced(batch)
        start = np.zeros((len(batch), 0, forced.shape[-1]))
        if known is not None:
            first = np.asarray(known, float)
            first = (first - self.mean["y"]) / self.std["y"]
            start = first.reshape(-1, *first.shape[-2:])
        with np.errstate(over="ignore", invalid="ignore"):
            free = self._simulate(forced[:, start.shape[1] :], start)
            y = np.concatenate([start, free], axis=1) * self.std["y"] + self.mean["y"]
        return y.reshape(*u.shape[:-1], -1)

    def _forced(self, u: np.ndarray) -> np.ndarray:
        """The part driven by inputs and constant: ``[N, T, n_y]``."""
        taps, channels, width = self.inputs.shape
        total = np.tile(self.constant, (*u.shape[:2], 1))
        for c in range(channels):
            for d in range(width):
                filtered = scipy.signal.lfilter(self.inputs[:, c, d], 1.0, u[..., c])
                total[..., d] += filtered
        return total

    def _simulate(self, forced: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Add the feedback of past outputs, step by step where outputs are coupled.

        Args:
            forced: The driven part ``[N, T, n_y]`` of the samples to simulate.
            start: Outputs just before them ``[N, K, n_y]``; rest before those.
        """
        lags, width, _ = self.outputs.shape
        if not lags:
            return forced
        past = np.concatenate([np.zeros((len(forced), lags, width)), start], axis=1)
        past = past[:, -lags:]
        if width == 1:
            denominator = np.concatenate([[1.0], -self.outputs[:, 0, 0]])
            if not start.shape[1]:
                return scipy.signal.lfilter([1.0], denominator, forced, axis=1)
            state = np.stack(
                [scipy.signal.lfiltic([1.0], denominator, p[::-1, 0]) for p in past]
            )
            y, _ = scipy.signal.lfilter(
                [1.0], denominator, forced, axis=1, zi=state[..., None]
            )
            return y
        y = np.concatenate([past, np.zeros(forced.shape)], axis=1)
        # Newest output first, as in a row of the regression.
        feedback = self.outputs.reshape(lags * width, width)
        for t in range(forced.shape[1]):
            recent = y[:, t : t + lags][:, ::-1].reshape(len(y), -1)
            y[:, lags + t] = forced[:, t] + recent @ feedback
        return y[:, lags:]


def problem(config: Config, data: TaskData) -> ClosedForm:
    """The thing to be solved.

    Args:
        config: The configuration.
        data: What is known of data and task.
    """
    taps, channels = config.model, data.channels
    scale = {s: (data.statistics.mean[s], data.statistics.std[s]) for s in ("u", "y")}
    regressors = 1 + taps.lags * channels["u"] + taps.output_lags * channels["y"]

    def solve(part: Part) -> tuple[Solution, float]:
        model, error = fit(part, taps, scale)
        return _arrays(model), error

    def outputs(
        solution: Solution, batch: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        known = batch["y"][:, : _known(batch)] if "y" in batch else None
        return {"y": _from_arrays(solution)(batch["u"], known)}

    return ClosedForm(
        signature=("linear", config.static_signature(), taps.ridge, data.identity),
        solve=solve,
        outputs=outputs,
        parameters=channels["y"] * regressors,
    )


def fit(
    part: Part,
    taps: LeastSquares,
    scale: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> tuple[Model, float]:
    """The least-squares model, and its one-step mean squared error over a part.

    Args:
        part: Records with ``u`` and ``y``; rows with a missing value are left out.
        taps: How far the model looks back.
        scale: Mean and standard deviation of ``u`` and ``y``, per channel.

    Raises:
        DataError: Every record is too short.
    """
    (u_mean, u_std), (y_mean, y_std) = scale["u"], scale["y"]

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(len(part.lengths)):
            record = part.load(i)
            u = (np.asarray(record["u"], float) - u_mean) / u_std
            y = (np.asarray(record["y"], float) - y_mean) / y_std
            for rows, target in regression(u, y, taps.lags, taps.output_lags):
                whole = np.isfinite(rows).all(axis=1) & np.isfinite(target).all(axis=1)
                yield rows[whole], target[whole]

    solution, error = least_squares(blocks(), ridge=taps.ridge)
    if solution is None:
        raise DataError(
            f"every train file is too short for {max(taps.lags, taps.output_lags)} "
            f"lags; the longest has {max(part.lengths)} samples",
            hint="lower `model.lags` and `model.output_lags`",
        )
    n_u, n_y = len(u_mean), len(y_mean)
    split = 1 + taps.lags * n_u
    model = Model(
        constant=solution[0],
        inputs=solution[1:split].reshape(taps.lags, n_u, n_y),
        outputs=solution[split:].reshape(taps.output_lags, n_y, n_y),
        mean={"u": u_mean, "y": y_mean},
        std={"u": u_std, "y": y_std},
    )
    return model, error


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task, config={"model.lags": 6, "model.output_lags": 2}, epochs=1
    )


def _known(batch: Mapping[str, np.ndarray]) -> int:
    """Samples up to the last known output of any row; gaps before it hold the mean."""
    known = np.flatnonzero(np.any(batch[GIVEN], axis=(0, 2)))
    return int(known[-1]) + 1 if len(known) else 0


def _arrays(model: Model) -> dict[str, np.ndarray]:
    arrays = {
        "inputs": model.inputs,
        "outputs": model.outputs,
        "constant": model.constant,
    }
    for signal in ("u", "y"):
        arrays[f"mean.{signal}"] = model.mean[signal]
        arrays[f"std.{signal}"] = model.std[signal]
    return {name: np.ascontiguousarray(a) for name, a in arrays.items()}


def _from_arrays(arrays: Mapping[str, np.ndarray]) -> Model:
    return Model(
        inputs=arrays["inputs"],
        outputs=arrays["outputs"],
        constant=arrays["constant"],
        mean={s: arrays[f"mean.{s}"] for s in ("u", "y")},
        std={s: arrays[f"std.{s}"] for s in ("u", "y")},
    )
