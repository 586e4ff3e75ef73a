"""Steps that are refused and parameters that stay, beside the constructs that look alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from models.errors import ConfigError
from models.training.gradients import GradientEngine
from models.training.optimizer import Optimizer
from models.training.size import forward_size
from models.training.state import HORIZON, initialize
from tests.test_models.test_training_optimizer import gradients, run, start
from tests.test_models.training_toys import (
    ToyFeed,
    learner_of,
    leaves,
    numbers,
    recurrent_problem,
    sequences,
)

PLAIN = {"learning_rate": 0.01, "schedule": "constant", "weight_decay": 0.1}


def engine_of(**values):
    problem = recurrent_problem(signature=str(values), **values)
    hyper = {k: jnp.asarray(v) for k, v in problem.values().items()}
    hyper[HORIZON] = jnp.asarray(10.0)
    graph, state, _ = initialize(problem, batch_size=6, seed=jnp.uint32(0), hyper=hyper)
    engine = GradientEngine(
        problem=problem, graph=graph, feed=None, objective="rmse", direction="minimize"
    )
    return jax.jit(engine.step), state


def batches():
    """A calm batch, and one whose gradient is huge and finite."""
    arrays = {k: jnp.asarray(v[:6], jnp.float32) for k, v in sequences(0).items()}
    return arrays, {**arrays, "y": 1e3 * arrays["y"]}


def moments(state):
    return leaves(state.optimizer.inner_state)


def test_a_large_gradient_changes_nothing_and_is_counted():
    calm, huge = batches()
    step, state = engine_of(skip_norm=10.0, **PLAIN)
    state, said = step(state, calm)
    assert bool(said["finite"]) and float(said["gradient_norm"]) < 10
    after, said = step(state, huge)
    assert float(said["gradient_norm"]) > 10 and not bool(said["finite"])
    for a, b in zip(leaves(state.params), leaves(after.params), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(moments(state), moments(after), strict=True):
        np.testing.assert_array_equal(a, b)
    again, said = step(after, calm)
    assert bool(said["finite"])
    assert not np.array_equal(leaves(again.params)[0], leaves(after.params)[0])
    # What stands next to it: clipping takes the step, shortened.
    step, state = engine_of(clip_norm=10.0, **PLAIN)
    state, _ = step(state, calm)
    clipped, said = step(state, huge)
    assert bool(said["finite"])
    assert not np.array_equal(leaves(clipped.params)[0], leaves(state.params)[0])


def test_skipped_steps_are_told_and_the_threshold_is_traced():
    arrays = sequences(0)
    arrays["y"][:6] *= 1e3
    feed = ToyFeed(arrays, batch_size=6)

    def trained(**values):
        learner = learner_of(recurrent_problem(**values), feed=feed, epochs=2)
        return learner, learner.fit()

    _, none = trained()
    some, first = trained(skip_norm=50.0)
    other, second = trained(skip_norm=1e9)
    assert [e.train["skipped"] for e in none] == [0, 0]
    assert all(e.train["skipped"] > 0 for e in first)
    assert numbers(second) == numbers(none), "nothing is above a billion"
    assert (
        some.problem.optimizer.static_signature()
        == other.problem.optimizer.static_signature()
    )


@jax.numpy_dtype_promotion("standard")  # optax itself asks for it
def test_not_a_number_is_skipped_where_zero_nans_moves():
    """`optax.zero_nans` makes a gradient zero; the moments still decay and move."""
    refused = run(Optimizer(**PLAIN), 3, spoil=(2,))
    before = run(Optimizer(**PLAIN), 2)
    jax.tree.map(np.testing.assert_array_equal, refused, before)
    chain = optax.chain(optax.zero_nans(), optax.adamw(0.01, weight_decay=0.1))
    params = start()
    state = chain.init(params)
    for number in range(3):
        g = gradients(number)
        if number == 2:
            g["a"][:], g["b"][:] = np.nan, np.nan
            kept = params
        updates, state = chain.update(g, state, params)
        params = optax.apply_updates(params, updates)
    assert not np.array_equal(params["a"], kept["a"])


@jax.numpy_dtype_promotion("standard")  # optax itself asks for it
def test_frozen_parameters_stay_and_the_others_train_as_if_alone():
    optimizer = Optimizer(frozen=("b",), **{**PLAIN, "clip_norm": 0.5})
    params = run(optimizer, 6)
    np.testing.assert_array_equal(params["b"], start()["b"])
    # The clipping norm is that of `a` alone: optax on a tree without `b`.
    chain = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adamw(0.01, weight_decay=0.1)
    )
    alone = {"a": start()["a"]}
    state = chain.init(alone)
    for number in range(6):
        updates, state = chain.update({"a": gradients(number)["a"]}, state, alone)
        alone = optax.apply_updates(alone, updates)
    np.testing.assert_allclose(params["a"], alone["a"], rtol=1e-4)
    # What stands next to it: `optax.masked` hands raw gradients through where it is false.
    masked = optax.masked(optax.adamw(0.01), {"a": True, "b": False})
    whole = start()
    updates, _ = masked.update(gradients(0), masked.init(whole), whole)
    assert not np.array_equal(optax.apply_updates(whole, updates)["b"], whole["b"])


def test_frozen_paths_of_a_model_in_training():
    problem = recurrent_problem(signature="frozen", frozen=("around",), **PLAIN)
    learner = learner_of(problem, epochs=2)
    before = {k: np.asarray(v) for k, v in learner.state.params.items()}
    learner.fit()
    after = learner.state.params
    np.testing.assert_array_equal(after["around"], before["around"])
    assert not np.array_equal(after["inward"], before["inward"])


def test_what_cannot_be_frozen_is_refused():
    for frozen, words in (
        (("aruond",), "no parameter's path"),
        (("aroun",), "no parameter's path"),
        (("around", "inward", "outward"), "nothing to train"),
    ):
        problem = recurrent_problem(signature=str(frozen), frozen=frozen)
        with pytest.raises(ConfigError, match=words) as caught:
            learner_of(problem).fit()
        if frozen == ("aruond",):
            assert "around" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="trains all parameters"):
        Optimizer(kind="levenberg_marquardt", frozen=("around",))


def test_what_cannot_be_frozen_is_told_by_shapes_alone():
    """As `hpo check` asks, before anything is trained."""
    shapes = {
        name: jax.ShapeDtypeStruct((6, *values.shape[1:]), jnp.float32)
        for name, values in sequences(0).items()
    }
    plain = forward_size(recurrent_problem(signature="all"), shapes)
    some = recurrent_problem(signature="some", frozen=("around",))
    assert forward_size(some, shapes) == plain
    with pytest.raises(ConfigError, match="no parameter's path"):
        forward_size(recurrent_problem(signature="odd", frozen=("aruond",)), shapes)


def test_what_is_not_asked_leaves_no_trace():
    plain = Optimizer()
    said = {key for key, _ in plain.static_signature()} | set(plain.traced())
    assert not {"skip_norm", "frozen"} & said
    assert ("skip_norm", "on") in Optimizer(skip_norm=1.0).static_signature()
    assert ("frozen", ("head",)) in Optimizer(frozen=("head",)).static_signature()
    vector, _ = ravel_pytree(start())
    assert plain.trained(vector, start()) is vector
