"""Linear forecasts in closed form: one map from the past to the horizon, shared by all columns.

``ŷ[t+1…t+H] = y[t] + W (y[t-L+1…t] - y[t]) + b`` in standard deviations of each column, W by
least squares with a penalty over every window of the train part. It equals or beats many a
network on tables of a few columns, in seconds.

Sources: Zeng et al. 2023, "Are transformers effective for time series forecasting?" (NLinear);
Toner and Darlow 2024, "An analysis of linear time series forecasting models" (its closed form).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view

from models.config import Config as BaseConfig
from models.config import traced
from models.data.kinds.base import Part
from models.errors import DataError
from models.example import Example
from models.family import creator
from models.forecasting import Frame, LookBack, carried, seen_of
from models.tasks.base import TaskData
from models.training.closed_form import ClosedForm, Solution

TASKS = ("forecast",)
CLOSED_FORM = True
CAUSAL = False
_CHUNK = 2048  # windows of one column that exist at a time


@dataclass(frozen=True, kw_only=True)
class Ridge(BaseConfig):
    """How strongly the map is shrunk.

    Attributes:
        penalty: On the squared weights, relative to the mean squared error of the horizon's
            rows, both in standard deviations; the constant b is not penalized.
    """

    penalty: float = traced(1e-3, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `ridge`."""

    model: Ridge = field(default_factory=Ridge)
    data: LookBack = field(default_factory=LookBack)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What normal equations need of all windows.

    Attributes:
        count: Windows.
        mean: Of regressors and targets side by side, ``[L - 1 + H]``.
        products: Mean products of their distances from it, ``[L - 1 + H]`` squared.
    """

    count: int
    mean: np.ndarray
    products: np.ndarray


def problem(config: Config, data: TaskData) -> ClosedForm:
    """The thing to be solved.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: Nothing is left of a window to look back on.
    """
    frame, penalty = Frame.of(data, config.data), config.model.penalty

    def solve(part: Part) -> tuple[Solution, float]:
        return fitted(sums(part, frame), frame, penalty)

    def outputs(
        solution: Solution, batch: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        past = carried(frame.recent(batch, "y"), seen_of(batch, frame))
        past = (np.asarray(past, float) - frame.mean) / frame.std
        last = past[:, -1:]
        steps = np.einsum("blc,lh->bhc", past[:, :-1] - last, solution["weights"])
        late = last + steps + solution["constant"][None, :, None]
        return frame.whole(batch, late * frame.std + frame.mean)

    return ClosedForm(
        signature=("ridge", config.static_signature(), penalty, data.identity),
        solve=solve,
        outputs=outputs,
        parameters=frame.look_back * frame.horizon,
        lead=frame.look_back,
    )


def fitted(found: Sums, frame: Frame, penalty: float) -> tuple[Solution, float]:
    """The map, and its mean squared error over the windows.

    Args:
        found: Of the windows.
        frame: Their sizes.
        penalty: See `Ridge.penalty`.
    """
    size = frame.look_back - 1
    gram, cross = found.products[:size, :size], found.products[:size, size:]
    weights = np.zeros((size, frame.horizon))
    if size:
        matrix = gram + penalty * np.eye(size)
        weights = scipy.linalg.lstsq(matrix, cross)[0]
    constant = found.mean[size:] - found.mean[:size] @ weights
    errors = np.diag(found.products)[size:] - 2 * np.sum(weights * cross, axis=0)
    errors = errors + np.sum(weights * (gram @ weights), axis=0)
    return {"weights": weights, "constant": constant}, float(errors.mean())


def sums(part: Part, frame: Frame) -> Sums:
    """Accumulate what the normal equations need, a bounded number of windows at a time.

    Args:
        part: Of a series; windows whose horizon has a gap are left out.
        frame: Sizes of a window, and units.

    Raises:
        DataError: No window fits, or all have gaps.
    """
    width = frame.look_back - 1 + frame.horizon
    count, total = 0, np.zeros(width)
    products = np.zeros((width, width))
    for rows in _windows(part, frame):
        count += len(rows)
        total += rows.sum(axis=0)
        products += rows.T @ rows
    if not count:
        length, window = part.lengths[0], frame.look_back + frame.horizon
        raise DataError(
            f"no window of {window} rows can be learned from: part `{part.name}` of "
            f"`{part.reference.name}` has {length} rows"
            + (", and every horizon a gap" if length >= window else ""),
            hint=f"set `data.window` to at most {length}"
            if length < window
            else "lower the horizon, or fill gaps",
        )
    mean = total / count
    return Sums(
        count=count, mean=mean, products=products / count - np.outer(mean, mean)
    )


def _windows(part: Part, frame: Frame) -> Iterator[np.ndarray]:
    """Past and horizon less the last value, ``[windows, L - 1 + H]``, of column after column."""
    values = (np.asarray(part.load(0)["y"], float) - frame.mean) / frame.std
    window, past = frame.look_back + frame.horizon, frame.look_back
    if len(values) < window:
        return
    for column in values.T:
        every = sliding_window_view(column, window)
        for start in range(0, len(every), _CHUNK):
            chunk = every[start : start + _CHUNK]
            seen = np.isfinite(chunk)
            if not seen.all():
                kept = seen[:, past:].all(axis=1) & seen[:, :past].any(axis=1)
                chunk, seen = chunk[kept], seen[kept]
                early = carried(chunk[:, :past, None], seen[:, :past, None])[..., 0]
                chunk = np.concatenate([early, chunk[:, past:]], axis=1)
            last = chunk[:, past - 1 : past]
            yield np.concatenate([chunk[:, : past - 1], chunk[:, past:]], axis=1) - last


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(task=task, config={"data.window": 24}, epochs=1)
