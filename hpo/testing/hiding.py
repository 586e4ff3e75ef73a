"""Checks that hidden entries, entries that were not seen, and scoring change nothing.

For learners of the engine: what is hidden is overwritten with huge numbers and with NaN, and
everything that came out must come out again, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

SPOILED = (1e30, float("nan"))


def check_not_given(learner: Any) -> None:
    """Entries that a model is not given change none of its outputs.

    Args:
        learner: A fitted gradient learner.
    """
    for batch in _groups(learner):
        plain = _outputs(learner, batch)
        given = _given(learner, batch)
        hidden = {
            name: ~_mask(given, f"given.{name}", values)
            if name in given
            else np.ones(np.shape(values), bool)
            for name, values in _floats(batch)
        }
        assert any(mask.any() for mask in hidden.values()), "everything is given"
        for value in SPOILED:
            _same(_outputs(learner, _spoiled(batch, hidden, value)), plain)


def check_not_seen(learner: Any) -> None:
    """Entries that were not seen change no output, loss, score or gradient.

    Args:
        learner: A fitted gradient learner, on data with gaps.
    """
    step = _step_of(learner)

    def found(scored: Mapping[str, Any], trained: Mapping[str, Any]) -> Any:
        return (
            _outputs(learner, scored),
            _score(learner, scored),
            _leaves(step(learner.state, dict(trained))),
        )

    (scored, *_), trained = _groups(learner), _training_batch(learner)
    plain = found(scored, trained)
    for value in SPOILED:
        _same(found(_gaps_spoiled(scored, value), _gaps_spoiled(trained, value)), plain)


def check_evaluation_changes_nothing(
    learner: Any, given: Mapping[str, np.ndarray]
) -> None:
    """Scores, predictions and descriptions leave the whole training state alone.

    Args:
        learner: Fitted.
        given: What a prediction of one row takes, by role.
    """
    before = _leaves(learner.state), _leaves(learner.best)
    scores = learner.evaluate("valid")
    learner.predict(given)
    if learner.problem.describe is not None:
        learner.describe("valid")
    assert learner.evaluate("valid") == scores
    _same((_leaves(learner.state), _leaves(learner.best)), before)


def check_refused_step(learner: Any) -> None:
    """A step whose loss is not finite changes no parameter, variable, average or carry.

    Args:
        learner: A fitted gradient learner.
    """
    state, batch = learner.state, dict(_training_batch(learner))
    spoiled = {
        name: np.full(np.shape(values), np.nan, np.asarray(values).dtype)
        for name, values in _floats(batch)
    }
    after, values = _step_of(learner)(state, batch | spoiled)
    assert not bool(values["finite"]), "a batch of NaN was taken for a finite step"
    for part in ("params", "variables", "average", "carry"):
        _same(_leaves(getattr(after, part)), _leaves(getattr(state, part)))


def _groups(learner: Any) -> tuple[dict[str, Any], ...]:
    return tuple(dict(group) for group in learner.valid)


def _training_batch(learner: Any) -> Mapping[str, Any]:
    import jax

    feed = learner.feed
    order = feed.order(jax.random.key(0))
    if feed.arrays is not None:
        batch: Mapping[str, Any] = feed.batch(feed.arrays, order[0])
        return batch
    chunk = next(iter(feed.chunks(np.asarray(order)[:1])))
    return {name: values[0] for name, values in chunk.items()}


def _given(learner: Any, batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a scored batch that the model sees."""
    evaluation = learner.runner.engine.evaluation
    given: Mapping[str, Any] = evaluation.shown(learner.state.hyper, batch)
    return given


def _outputs(learner: Any, batch: Mapping[str, Any]) -> list[np.ndarray]:
    outputs, _ = learner.runner.outputs(learner.state, learner.best, dict(batch))
    return _leaves(outputs)


def _score(learner: Any, batch: Mapping[str, Any]) -> list[np.ndarray]:
    return _leaves(learner.runner.metrics(learner.state, learner.best, (dict(batch),)))


def _step_of(learner: Any) -> Callable[..., Any]:
    """A training step, compiled; gradients show in the moments it gives back."""
    import jax

    return jax.jit(learner.runner.engine.step)


def _gaps_spoiled(batch: Mapping[str, Any], value: float) -> dict[str, Any]:
    """A batch with its gaps overwritten."""
    gaps = {
        name: ~np.asarray(batch[f"seen.{name}"])
        for name, _ in _floats(batch)
        if f"seen.{name}" in batch
    }
    assert any(mask.any() for mask in gaps.values()), "nothing is missing in the batch"
    return _spoiled(batch, gaps, value)


def _floats(batch: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, values in batch.items():
        if np.issubdtype(np.asarray(values).dtype, np.floating):
            yield name, values


def _mask(given: Mapping[str, Any], name: str, values: Any) -> np.ndarray:
    found = given.get(name, np.ones(np.shape(values), bool))
    return np.broadcast_to(np.asarray(found), np.shape(values))


def _spoiled(
    batch: Mapping[str, Any], masks: Mapping[str, np.ndarray], value: float
) -> dict[str, Any]:
    changed = dict(batch)
    for name, mask in masks.items():
        values = np.array(batch[name])
        values[mask] = value
        changed[name] = values
    return changed


def _leaves(tree: Any) -> list[np.ndarray]:
    import jax

    def plain(leaf: Any) -> np.ndarray:
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf)

    return [plain(leaf) for leaf in jax.tree.leaves(tree)]


def _same(first: Any, second: Any) -> None:
    pairs = zip(_flat(first), _flat(second), strict=True)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in pairs), (
        "what is hidden, or scoring, changed a number"
    )


def _flat(value: Any) -> list[np.ndarray]:
    return (
        [leaf for item in value for leaf in _flat(item)]
        if isinstance(value, (list, tuple))
        else [value]
    )
