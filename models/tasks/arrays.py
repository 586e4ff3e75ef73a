"""Arrays of a batch, as tasks show, hide and rescale them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from models.metrics.accumulators import Metric

# Of a role, in front of its name.
_MASKS = ("", "seen.", "given.", "scored.", "counted.")


@dataclass(frozen=True, kw_only=True)
class Units:
    """An affine change of physical units: ``value · scale + offset``.

    Attributes:
        scale: Factor by role; 1 where a role is not named.
        offset: Added, by role; 0 where a role is not named.
    """

    scale: Mapping[str, float]
    offset: Mapping[str, float]

    def of(self, role: str, values: np.ndarray) -> np.ndarray:
        """The values of a role in these units."""
        return values * self.scale.get(role, 1.0) + self.offset.get(role, 0.0)


SAME = Units(scale={}, offset={})


def shown(values: Any, mask: Any, mean: np.ndarray) -> Any:
    """Values where a mask is true, and the mean of their channel elsewhere.

    Args:
        values: ``[…, C]``, JAX or numpy.
        mask: Of a shape that broadcasts to it.
        mean: ``[C]``.
    """
    arrays = values.__array_namespace__()
    fill = arrays.asarray(mean, dtype=values.dtype)
    return arrays.where(mask, values, arrays.broadcast_to(fill, values.shape))


def without(batch: Mapping[str, Any], *roles: str) -> dict[str, Any]:
    """A batch less some roles and every mask of theirs."""
    hidden = {f"{mask}{role}" for mask in _MASKS for role in roles}
    return {name: array for name, array in batch.items() if name not in hidden}


def on_device(pair: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Any:
    """Outputs and batch in the precision of the device."""
    import jax

    from models.data.device import default_dtype

    def place(array: Any) -> Any:
        array = np.asarray(array)
        if np.issubdtype(array.dtype, np.floating):
            array = array.astype(default_dtype(), copy=False)
        return jax.numpy.asarray(array)

    return jax.tree.map(place, tuple(dict(p) for p in pair))


def accumulated(
    metrics: Iterable[Metric],
    found: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> dict[str, float]:
    """What metrics make of outputs that were computed elsewhere.

    Args:
        metrics: By what each is reported as.
        found: Outputs and batches ``[B, …]`` of every group; at least one.
    """
    metrics, states = tuple(metrics), []
    for pair in map(on_device, found):
        states = states or [metric.init(*pair) for metric in metrics]
        states = [
            metric.update(state, *pair)
            for metric, state in zip(metrics, states, strict=True)
        ]
    return {
        metric.name: float(metric.finish(state))
        for metric, state in zip(metrics, states, strict=True)
    }
