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
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.check import child
from models.errors import UserError
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
    """

    signature: str = ""
    parameters: int | None = None
    memory: int | None = None
    error: str = ""


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
    asked: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], *, data: Any
) -> tuple[tuple[Shape, ...], ...]:
    """Build every configuration as shapes, in a child process.

    Args:
        asked: (``module:function`` of a `create`, its whole configurations) pairs.
        data: The prepared data reference.

    Raises:
        ForeignFailure: A family's module cannot be imported.
    """
    answers = child.ask(
        "hpo.check.corners",
        {"asked": asked, "data": data},
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
    reference: str, configurations: Sequence[Mapping[str, Any]], data: Any
) -> Iterator[Shape]:
    """In the child: each configuration's shape, or why there is none."""
    name = reference.partition(":")[0]
    known = importlib.util.find_spec(name) is not None
    names = vars(importlib.import_module(name)) if known else {}
    kind, model = names.get("Config"), names.get("Model")
    shaped = model is not None and not names.get("CLOSED_FORM")
    measure = _measurer(model, data) if shaped and isinstance(data, dict) else None
    built: dict[str, Shape] = {}  # traced values change no shape
    for values in configurations:
        if kind is None:
            yield Shape()
            continue
        try:
            own = set(kind.keys())
            config = kind.from_flat({k: v for k, v in values.items() if k in own})
        except UserError as error:
            yield Shape(error=error.message)
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
        return Shape(error=error.message)
    except Exception as error:  # whatever a family's own code raises refuses the point
        first = str(error).strip().partition("\n")[0]
        return Shape(error=f"{type(error).__name__}: {first}")
    memory = _BYTES * (_COPIES * parameters + 2 * forward)
    return Shape(signature=signature, parameters=parameters, memory=memory)


def _measurer(model: Any, data: Mapping[str, Any]) -> Measure:
    """Open the data once; then build models on its channels and cut its train part."""
    dataset = importlib.import_module("models.data.dataset").open_dataset(data)
    make_plan = importlib.import_module("models.data.plan").make_plan
    statistics, train = dataset.statistics, dataset.part("train")

    def measure(config: Any) -> tuple[int, int]:
        make_plan(train, config.data)
        return _measure(model, config, statistics)

    return measure


def _measure(model: Any, config: Any, statistics: Any) -> tuple[int, int]:
    """Parameters, and all numbers that the forward pass of a batch computes."""
    import jax
    from flax import nnx

    def build(key: Any) -> Any:
        return model(config=config.model, statistics=statistics, key=key)

    key = jax.random.key(0)
    trained = jax.eval_shape(lambda k: nnx.state(build(k), nnx.Param), key)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(trained))
    channels = len(statistics.mean["u"])
    window = (config.data.batch_size, config.data.window, channels)
    u = jax.eval_shape(lambda: jax.numpy.zeros(window))
    made = jax.make_jaxpr(lambda k, x: build(k)(x))(key, u)
    return parameters, math.prod(window) + _computed(made.jaxpr)


def _computed(program: Any) -> int:
    """Numbers that a program's steps give, those of inner programs once."""
    from jax.extend.core import ClosedJaxpr, Jaxpr

    total = 0
    for step in program.eqns:
        given = [p for v in step.params.values() for p in _listed(v)]
        inner = [p.jaxpr if isinstance(p, ClosedJaxpr) else p for p in given]
        own = sum(math.prod(getattr(v.aval, "shape", ())) for v in step.outvars)
        total += max(own, sum(_computed(p) for p in inner if isinstance(p, Jaxpr)))
    return total


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _answers(question: Any) -> list[list[dict[str, Any]]]:
    return [
        [dataclasses.asdict(s) for s in _family_shapes(name, points, question["data"])]
        for name, points in question["asked"]
    ]


if __name__ == "__main__":
    child.answer(_answers)
