"""How large a problem is, from shapes alone: nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from models.training.problem import Batch, Problem


def forward_size(
    problem: Problem, shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[int, int]:
    """Parameters, and all numbers that the forward pass of a batch computes.

    Args:
        problem: What is learned.
        shapes: Of a training batch, by name.
    """

    def run(key: Any, batch: Batch) -> Any:
        size = next(iter(batch.values())).shape[0]
        carry = problem.initial_carry(size) if problem.initial_carry else None
        if carry is not None:
            batch = batch | {"reset": jax.numpy.ones((size,), bool)}
        hyper = {n: jax.numpy.asarray(v, float) for n, v in problem.values().items()}
        outputs, _ = problem.forward(
            problem.build(key),
            problem.given(batch),
            key=key,
            training=False,
            carry=carry,
            hyper=problem.at_rest(hyper),
        )
        return outputs

    key = jax.random.key(0)
    trained = jax.eval_shape(lambda k: nnx.state(problem.build(k), nnx.Param), key)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(trained))
    made = jax.make_jaxpr(run)(key, dict(shapes))
    read = sum(math.prod(s.shape) for s in shapes.values())
    return parameters, read + _computed(made.jaxpr)


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
