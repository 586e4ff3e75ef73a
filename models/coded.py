"""What families with a code have in common besides their layers, whatever the code is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.config import Config
from models.data.windows import Windows
from models.errors import ConfigError
from models.layers.window_coder import Coder, Written
from models.losses import Term
from models.metrics.probe import Probe
from models.metrics.sequence import SequenceMetric
from models.tasks.base import TaskData
from models.tasks.reconstruction import Task as Reconstruction
from models.training.problem import Batch, Hyper, Outputs
from models.variational import Scored

ACTS_IN: Mapping[str, str] = {
    "encoder": "prediction",
    "rollout": "prediction",
    "loss": "prediction",
    "coder": "reconstruction",
}
"""Parts of a configuration that only one task reads."""


def without_start(known: int) -> SequenceMetric:
    """The rmse of what follows from a start that no outputs were looked at for.

    Args:
        known: Outputs at the start of a window that are not scored.
    """
    return SequenceMetric(
        kind="rmse", start=known, name="rmse_without_start", output="without_start"
    )


def probes(
    data: TaskData, *, known: int, code: Callable[[Outputs], Array]
) -> tuple[Probe, ...]:
    """How much of a recorded truth x a linear map tells from the code: ``probe_r2.x0``, ….

    One for each channel of x at the last known sample, when the code ends; none where the
    data has no x.

    Args:
        data: What is known of data and task.
        known: Outputs at the start of a window that the code is made of.
        code: Outputs of a model → its code ``[B, L]``.
    """

    def of(channel: int) -> Probe:
        def truth(batch: Batch) -> tuple[Array, Array]:
            values = batch["x"][:, known - 1, channel]
            seen = batch.get("seen.x")
            if seen is None:
                return values, jnp.ones(values.shape, bool)
            return values, seen[:, known - 1, channel]

        return Probe(name=f"probe_r2.x{channel}", code=code, truth=truth)

    return tuple(map(of, range(data.channels.get("x", 0))))


def refuse_silent(config: Config, task: str) -> None:
    """Refuse keys of a configuration that only another task reads.

    Args:
        config: A family's.
        task: The task's name.

    Raises:
        ConfigError: One of them is not as it is by default.
    """
    usual = type(config)().flat()
    for key, value in config.flat().items():
        acts = ACTS_IN.get(key.partition(".")[0], task)
        if acts != task and value != usual[key]:
            raise ConfigError(
                f"`{key}` acts in the task `{acts}`, got {value!r} in `{task}`",
                hint=f"leave `{key}` out",
            )


def window_of(data: TaskData, windows: Windows) -> int:
    """Time steps of the windows that are reconstructed.

    Args:
        data: What is known of data and task.
        windows: How the train part is cut; such windows as are scored.

    Raises:
        ConfigError: The data is not of windows, or others are cut.
    """
    length: int | None = data.reference.settings.get("window")
    if length is None:
        raise ConfigError(
            "the family reconstructs windows of recordings, and "
            f"`{data.reference.name}` is of kind {data.reference.kind}",
            hint='ask for data={"kind": "windows", …}, or for another family',
        )
    if windows.window != length:
        raise ConfigError(
            f"windows are trained on as they are scored, of {length} time steps, got "
            f"`data.window` {windows.window}",
            hint=f"set `data.window` to {length}",
        )
    return length


def all_tries(
    task: Reconstruction, given: Batch, data: TaskData
) -> tuple[tuple[str, ...], Array, Array]:
    """A batch as it is given and with every hole, below one another.

    Args:
        task: The task.
        given: What a model may look at.
        data: Of the task.

    Returns:
        Their names in the outputs, the windows, and which of their entries are shown.
    """
    tries = task.tries(given, data)
    values, shown = (
        jnp.concatenate([found[name] for found in tries.values()])
        for name in (task.role, f"given.{task.role}")
    )
    return tuple(tries), values, shown


def tried(names: Iterable[str], written: Written) -> dict[str, Any]:
    """The outputs for what `all_tries` gave, by name, and the branches of the first.

    Args:
        names: Their names.
        written: For all of them below one another.
    """
    names = tuple(names)
    found = dict(zip(names, jnp.split(written.values, len(names)), strict=True))
    rows = len(found[names[0]])
    return found | branch_outputs([branch[:rows] for branch in written.branches])


def branch_outputs(branches: Iterable[Array]) -> dict[str, Array]:
    """The outputs of single branches, by name."""
    return {f"branch.{i}": values for i, values in enumerate(branches)}


def squared_term(scored: Scored) -> Term:
    """Mean squared error of every value seen, in squared standard deviations."""

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        return _mean_squared(scored, outputs, batch, scored.signal)

    return Term(function=term, count=scored.count)


def branch_terms(coder: Coder, scored: Scored) -> dict[str, Term]:
    """The mean over branches of their own mean squared errors; none of recurrent layers."""
    if coder.kind != "multiscale":
        return {}

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        names = [name for name in outputs if name.startswith("branch.")]
        each = [_mean_squared(scored, outputs, batch, name) for name in names]
        return jnp.mean(jnp.stack(each))

    return {
        "branches": Term(
            function=term, weight="coder.branch_weight", count=scored.count
        )
    }


def _mean_squared(
    scored: Scored, outputs: Outputs, batch: Batch, name: str
) -> Float[Array, ""]:
    total, count = scored.squared(outputs, batch, output=name)
    return jnp.sum(total) / jnp.maximum(jnp.sum(count), 1.0)
