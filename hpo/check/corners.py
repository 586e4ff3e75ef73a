"""The corners of a space, and what families' models would be there; nothing is trained.

A child process (``python -m hpo.check.corners``) builds the models as shapes only, through
`jax.eval_shape`, because families load JAX and the driver must not.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.check import child
from models.errors import UserError
from models.protocols import Configured, Sizes
from search_spaces.space import Space

_BYTES = 4  # of a number in training
Measure = Callable[[Any], tuple[int, int]]
_COPIES = 5  # parameters, gradients, two moments of Adam, the best epoch's parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A family's answer to one configuration.

    Attributes:
        signature: Equal for configurations that share a compilation; empty where the
            family has no `Config`.
        parameters: Numbers that are trained; None where the model is not one of shapes.
        memory: Bytes of training, an estimate from above: parameters with their
            gradients, moments and best copy, and twice the forward values of a batch.
        error: Why the family refuses it; empty when it does not.
        hint: What the family says to do about it.
    """

    signature: str = ""
    parameters: int | None = None
    memory: int | None = None
    error: str = ""
    hint: str = ""


def middle(space: Space, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A whole point: `chosen` where it applies, the middle of every other dimension.

    Args:
        space: The space.
        chosen: Values by name; those of dimensions that do not exist here are left out.
    """
    return space.suggest(
        lambda name, distribution: chosen.get(name, _middle(distribution))
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corner:
    """A point of a space with no, one or two dimensions at an end.

    Attributes:
        keys: The dimensions at an end; none at the first point.
        point: Searched values by name.
    """

    keys: tuple[str, ...]
    point: Mapping[str, Any]

    def within(self, other: Corner) -> bool:
        """Whether `other` has at least this corner's dimensions at the same ends."""
        return all(
            k in other.keys and self.point[k] == other.point[k] for k in self.keys
        )


def corners(
    space: Space, first: Mapping[str, Any], *, together: int = 2
) -> list[Corner]:
    """The first point, and that point with dimensions at their ends.

    Args:
        space: The space.
        first: Where the other dimensions stay.
        together: How many dimensions are put to an end at the same time: 1 or 2.

    Returns:
        Distinct points; every choice of a categorical is an end. What conditions exclude
        is not among them.
    """
    ends = [(n, v) for n, d in space.distributions.items() for v in _ends(d)]
    moves: list[dict[str, Any]] = [{}]
    for count in range(1, together + 1):
        moves += [dict(chosen) for chosen in itertools.combinations(ends, count)]
    found: dict[str, Corner] = {}
    for move in moves:
        point = middle(space, {**first, **move})
        if all(name in point and point[name] == v for name, v in move.items()):
            corner = Corner(keys=tuple(move), point=point)
            found.setdefault(json.dumps(point), corner)
    return list(found.values())


def shapes(
    asked: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    *,
    data: Any,
    task: Mapping[str, Any],
) -> tuple[tuple[Shape, ...], ...]:
    """Build every configuration as shapes, in a child process.

    Args:
        asked: (``module:function`` of a `create`, its whole configurations) pairs.
        data: The prepared data reference.
        task: Name and settings of the task; empty for none.

    Raises:
        ForeignFailure: A family's module cannot be imported.
    """
    answers = child.ask(
        "hpo.check.corners",
        {"asked": asked, "data": data, "task": dict(task)},
        failure="the families' models cannot be built",
    )
    return tuple(tuple(Shape(**shape) for shape in answer) for answer in answers)


def _ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return distribution.low, distribution.high


def _middle(distribution: BaseDistribution) -> Any:
    """The middle on the distribution's own scale; the first choice of a categorical."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    low, high = distribution.low, distribution.high
    value = math.sqrt(low * high) if distribution.log else (low + high) / 2
    if distribution.step:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return int(value) if isinstance(distribution, IntDistribution) else value


def _family_shapes(
    reference: str,
    configurations: Sequence[Mapping[str, Any]],
    data: Any,
    task: Mapping[str, Any],
) -> Iterator[Shape]:
    """In the child: each configuration's shape, or why there is none."""
    name = reference.partition(":")[0]
    known = importlib.util.find_spec(name) is not None
    family: Any = importlib.import_module(name) if known else None
    names = vars(family) if known else {}
    kind: Configured | None = names.get("Config")
    tells = "problem" in names and data is not None and bool(task)
    measure = _measurer(family, data, task) if tells else None
    built: dict[str, Shape] = {}  # traced values change no shape
    for values in configurations:
        if kind is None:
            yield Shape()
            continue
        try:
            own = set(kind.keys())
            config = kind.from_flat({k: v for k, v in values.items() if k in own})
        except UserError as error:
            yield Shape(error=error.message, hint=error.hint or "")
            continue
        signature = repr(config.static_signature())
        if signature not in built:
            built[signature] = _built(config, signature, measure)
        yield built[signature]


def _built(config: Any, signature: str, measure: Measure | None) -> Shape:
    """One configuration's model as shapes."""
    if measure is None:
        return Shape(signature=signature)
    try:
        parameters, forward = measure(config)
    except UserError as error:
        return Shape(error=error.message, hint=error.hint or "")
    except Exception as error:  # whatever a family's own code raises refuses the point
        first = str(error).strip().partition("\n")[0]
        return Shape(error=f"{type(error).__name__}: {first}")
    if not forward:  # solved, not trained
        return Shape(signature=signature, parameters=parameters)
    memory = _BYTES * (_COPIES * parameters + 2 * forward)
    return Shape(signature=signature, parameters=parameters, memory=memory)


def _measurer(family: Any, data: Any, task: Mapping[str, Any]) -> Measure:
    """How large a family's models are on some data, which must be there."""
    module = cast(Sizes, importlib.import_module("models.family"))
    return module.sizes(family, data=data, task=task)


def _answers(question: Any) -> list[list[dict[str, Any]]]:
    data, task = question["data"], question["task"]
    return [
        [dataclasses.asdict(s) for s in _family_shapes(name, points, data, task)]
        for name, points in question["asked"]
    ]


if __name__ == "__main__":
    child.answer(_answers)
