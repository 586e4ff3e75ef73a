"""Linear baseline in closed form: FIR and ARX models by least squares.

``y[t] = c + Σ_k B_k u[t-k] + Σ_k A_k y[t-k]``, fitted on the train part in units of its
standard deviation and simulated freely: the model feeds on its own past outputs, never on
measured ones. Without output lags it is a finite impulse response. Fitting and simulating
are plain numpy in float64; JAX is not used.

Source: Ljung 1999, "System Identification", sections 4.2 and 10.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.dataset import open_dataset
from models.errors import ConfigError, DataError
from models.example import Example
from models.layers.least_squares import least_squares, regression
from models.training import checkpoint
from models.training.checkpoint import CheckpointError
from models.training.protocol import Context, Epoch

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

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """Simulate freely from rest at the operating point.

        Args:
            u: ``[..., T, n_u]`` in physical units.

        Returns:
            ``[..., T, n_y]`` in physical units; not finite where the model is unstable.
        """
        u = np.asarray(u, float)
        batch = (u.reshape(-1, *u.shape[-2:]) - self.mean["u"]) / self.std["u"]
        with np.errstate(over="ignore", invalid="ignore"):
            y = self._simulate(self._forced(batch)) * self.std["y"] + self.mean["y"]
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

    def _simulate(self, forced: np.ndarray) -> np.ndarray:
        """Add the feedback of past outputs, step by step where outputs are coupled."""
        lags, width, _ = self.outputs.shape
        if not lags:
            return forced
        if width == 1:
            denominator = np.concatenate([[1.0], -self.outputs[:, 0, 0]])
            return scipy.signal.lfilter([1.0], denominator, forced, axis=1)
        y = np.zeros((forced.shape[0], lags + forced.shape[1], width))
        # Newest output first, as in a row of the regression.
        feedback = self.outputs.reshape(lags * width, width)
        for t in range(forced.shape[1]):
            past = y[:, t : t + lags][:, ::-1].reshape(len(y), -1)
            y[:, lags + t] = forced[:, t] + past @ feedback
        return y[:, lags:]


class LinearLearner:
    """Fits the model in its first and only epoch.

    Args:
        config: The model's configuration.
        context: The trial's data, seed (unused: nothing is random here) and budget.
    """

    def __init__(self, *, config: Config, context: Context) -> None:
        self._config = config
        self._data = open_dataset(context.data)
        self._model: Model | None = None
        self._epoch: Epoch | None = None
        self._announced = False

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Every configuration key with its value."""
        return self._config.flat()

    @property
    def parameters(self) -> int:
        """How many coefficients are fitted."""
        n_u, n_y = (len(self._statistics(s)[0]) for s in ("u", "y"))
        taps = self._config.model
        return n_y * (1 + taps.lags * n_u + taps.output_lags * n_y)

    @property
    def model(self) -> Model:
        """The fitted model.

        Raises:
            ConfigError: It has not been fitted yet.
        """
        if self._model is None:
            raise ConfigError("the model is not fitted yet", hint="run `fit()` first")
        return self._model

    def fit_iter(self, epochs: int) -> Iterator[Epoch]:
        """Fit and yield one `Epoch`; a restored learner yields the one it carries."""
        if epochs < 1 or self._announced:
            return
        if self._epoch is None:
            start = time.perf_counter()
            self._model, error = self._solve()
            valid = self.evaluate("valid")
            self._epoch = Epoch(
                1, {"loss": error}, valid, seconds=time.perf_counter() - start
            )
        self._announced = True
        yield self._epoch

    def fit(self) -> tuple[Epoch, ...]:
        """Fit, and return the one epoch in a tuple."""
        return tuple(self.fit_iter(1))

    def evaluate(self, part: str) -> dict[str, float]:
        """Metrics of the free-run simulation over a part, in physical units."""
        settings = self._data.reference.settings
        model, records = self.model, self._data.part(part)
        pairs = []
        for i in range(len(records.lengths)):
            record = records.load(i)
            pairs.append((model(record["u"]), np.asarray(record["y"], float)))
        return scores(
            pairs,
            start=settings.get("score_from", 0),
            also=settings.get("also_score_from", ()),
        )

    def predict(self, u: np.ndarray) -> np.ndarray:
        """Simulate ``[T, n_u]`` or ``[B, T, n_u]`` in physical units."""
        return self.model(u)

    def save(self, directory: Path) -> None:
        """Write coefficients and the epoch's record, atomically."""
        assert self._epoch is not None, "the harness saves after an epoch"
        metadata = {"signature": self._signature(), "epoch": asdict(self._epoch)}
        checkpoint.write(Path(directory), _arrays(self.model), metadata)

    def restore(self, directory: Path) -> None:
        """Read what `save` wrote.

        Raises:
            CheckpointError: There is none, or it was written by another configuration or
                other data.
        """
        arrays, metadata = checkpoint.read(Path(directory))
        if metadata["signature"] != self._signature():
            raise CheckpointError(
                f"the checkpoint in {directory} belongs to another configuration or data",
                hint="restore it into a learner created the same way",
            )
        self._model = _from_arrays(arrays)
        self._epoch = Epoch(**metadata["epoch"])
        self._announced = False

    def _signature(self) -> list[Any]:
        hashes = dict(self._data.reference.hashes)
        return [self._config.flat(), hashes.get("train"), hashes.get("valid")]

    def _statistics(self, signal: str) -> tuple[np.ndarray, np.ndarray]:
        statistics = self._data.statistics
        return np.asarray(statistics.mean[signal]), np.asarray(statistics.std[signal])

    def _solve(self) -> tuple[Model, float]:
        """The least-squares model, and its one-step mean squared error over train."""
        taps = self._config.model
        (u_mean, u_std), (y_mean, y_std) = map(self._statistics, ("u", "y"))
        part = self._data.part("train")

        def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for i in range(len(part.lengths)):
                record = part.load(i)
                u = (np.asarray(record["u"], float) - u_mean) / u_std
                y = (np.asarray(record["y"], float) - y_mean) / y_std
                yield from regression(u, y, taps.lags, taps.output_lags)

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


def scores(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], *, start: int, also: tuple[int, ...]
) -> dict[str, float]:
    """The metrics of `models.metrics.sequence`, in float64 and without JAX.

    Args:
        pairs: Predicted and measured ``[T, n_y]`` of every sequence, in physical units.
        start: Samples at the start of every sequence that are not scored.
        also: Further starts, for ``rmse_from_5`` and so on.

    Raises:
        DataError: A sequence has no sample left to score.
    """
    pairs = list(pairs)
    shortest = min(len(y) for _, y in pairs)
    if shortest <= max(start, *also, 0):
        raise DataError(
            f"scores start at sample {max(start, *also, 0)}, but a sequence has only "
            f"{shortest} samples"
        )

    def errors(first: int) -> np.ndarray:
        return np.concatenate([(p - y)[first:] for p, y in pairs])

    target = np.concatenate([y[start:] for _, y in pairs])
    with np.errstate(all="ignore"):  # an unstable model's infinities are its score
        rmse = np.sqrt(np.mean(errors(start) ** 2, axis=0))
        ratio = rmse / target.std(axis=0)
        out = {
            "rmse": rmse.mean(),
            "mae": np.abs(errors(start)).mean(axis=0).mean(),
            "nrmse": ratio.mean(),
            "fit": (100 * (1 - ratio)).mean(),
            "r2": (1 - ratio**2).mean(),
        }
        for first in also:
            out[f"rmse_from_{first}"] = np.sqrt(
                (errors(first) ** 2).mean(axis=0)
            ).mean()
    return {name: float(value) for name, value in out.items()}


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


def create(config: Mapping[str, Any] | Config, context: Context) -> LinearLearner:
    """Make the learner of one trial.

    Args:
        config: Dotted keys, or a `Config`.
        context: The trial's data reference, seed and budget.

    Raises:
        ConfigError: A key is unknown or a value is refused.
        DataError: The data is missing or damaged.
    """
    if not isinstance(config, Config):
        config = Config.from_flat(config)
    return LinearLearner(config=config, context=context)


def example() -> Example:
    """A tiny problem for the conformance suite."""
    return Example(config={"model.lags": 6, "model.output_lags": 2}, epochs=1)
