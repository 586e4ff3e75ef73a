"""How large a problem is, from shapes alone: nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from models.training.frozen import trained_entries
from models.training.problem import Batch, Problem
from models.transforms.batch import apply_transforms


def forward_size(
    problem: Problem, shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[int, int]:
    """Parameters, and all numbers that the forward pass of a training step computes.

    Args:
        problem: What is learned.
        shapes: Of a training batch, by name.

    Raises:
        ConfigError: Nothing would be trained, or a frozen path names no parameter.
    """

    def run(key: Any, batch: Batch) -> Any:
        size = next(iter(batch.values())).shape[0]
        carry = problem.initial_carry(size) if problem.initial_carry else None
        if carry is not None:
            batch = batch | {"reset": jax.numpy.ones((size,), bool)}
        zero = jax.numpy.zeros(())
        hyper = problem.scheduled(
            {n: jax.numpy.full((), v) for n, v in problem.values().items()}, zero
        )
        at = {"key": key, "step": jax.numpy.zeros((), jax.numpy.int32), "hyper": hyper}
        for transforms in (problem.transforms, problem.augmentations):
            batch = apply_transforms(transforms, batch=batch, **at)
        targets = apply_transforms(problem.targets, batch=batch, **at)
        outputs, _ = problem.forward(
            problem.build(key),
            problem.visible(batch, targets),
            key=key,
            training=True,
            carry=carry,
            hyper=hyper,
        )
        return outputs

    key = jax.random.key(0)
    trained = jax.eval_shape(lambda k: nnx.state(problem.build(k), nnx.Param), key)
    if problem.optimizer.frozen:
        trained_entries(nnx.to_pure_dict(trained), problem.optimizer.frozen)
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
