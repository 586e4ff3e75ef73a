"""The learner's promises: one compilation, exact stopping and going on, an honest best."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.errors import ConfigError, UserError
from models.losses import Loss, Term
from models.metrics import Average
from models.training.problem import Problem
from models.training.programs import LIMIT, PROGRAMS, ProgramTable
from models.training.protocol import Countable, Evaluable, Resumable
from models.transforms import Transform, add_noise
from tests.test_models.training_toys import (
    Recurrent,
    ToyFeed,
    assert_bitwise,
    learner_of,
    leaves,
    mse,
    numbers,
    recurrent_problem,
    sequences,
    valid_windows,
)


@contextlib.contextmanager
def compilations():
    """Counts what XLA compiles, wherever the request comes from."""
    seen = []

    def listen(name, seconds, **_):
        if name == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_satisfies_the_protocols():
    learner = learner_of(recurrent_problem(), configuration={"a": 1})
    for protocol in (Resumable, Evaluable, Countable):
        assert isinstance(learner, protocol)
    assert learner.parameters == 4 + 16 + 4
    assert learner.configuration == {"a": 1}


def test_traced_values_seed_and_budget_share_one_compilation(tmp_path):
    feed = ToyFeed(sequences(0), batch_size=6)

    def life(problem, seed, epochs):
        learner = learner_of(problem, seed=seed, epochs=epochs, feed=feed)
        epochs = learner.fit(3)
        learner.save(tmp_path)
        learner.restore(tmp_path)
        learner.evaluate("valid")
        learner.predict(np.zeros((7, 1)))
        return learner, epochs

    with compilations() as seen:
        PROGRAMS.clear()
        first, epochs = life(recurrent_problem(), 0, 3)
    assert len(seen) >= 4
    assert epochs[0].compile_seconds > 0
    assert epochs[1].compile_seconds == 0
    with compilations() as seen:
        others = {
            "learning_rate": 5e-3,
            "weight_decay": 0.1,
            "clip_norm": 0.1,
            "b1": 0.5,
            "b2": 0.9,
            "decay_start": 0.1,
            "model.dropout": 0.3,
        }
        second, epochs = life(recurrent_problem(**others), 1, 9)
    assert seen == []
    assert all(e.compile_seconds == 0 for e in epochs)
    assert float(second.state.variables["rate"]) == np.float32(0.3)
    assert not np.array_equal(
        first.predict(np.ones((5, 1))), second.predict(np.ones((5, 1)))
    )


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": 5e-3},
        {"weight_decay": 0.5},
        {"clip_norm": 0.01},
        {"b1": 0.5},
        {"b2": 0.9},
        {"decay_start": 0.0},
        {"model.dropout": 0.3},
    ],
    ids=str,
)
def test_every_traced_value_is_alive(values):
    plain = learner_of(recurrent_problem()).fit()
    assert numbers(learner_of(recurrent_problem(**values)).fit()) != numbers(plain)


def test_seed_and_budget_are_alive_and_repeat():
    def values(**options):
        return numbers(learner_of(recurrent_problem(), **options).fit(4))

    plain = values(seed=3, epochs=4)
    assert values(seed=3, epochs=4) == plain
    assert values(seed=4, epochs=4) != plain
    assert values(seed=3, epochs=8) != plain


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 6])
def test_micro_batches_change_nothing_but_rounding(micro_batch):
    feed = ToyFeed(sequences(0), batch_size=12)
    whole = learner_of(recurrent_problem(), feed=feed)
    parts = learner_of(recurrent_problem(micro_batch=micro_batch), feed=feed)
    for a, b in zip(whole.fit(), parts.fit(), strict=True):
        for name, value in {**a.train, **a.valid}.items():
            np.testing.assert_allclose({**b.train, **b.valid}[name], value, rtol=1e-4)
    for a, b in zip(
        leaves(whole.state.params), leaves(parts.state.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_fit_and_fit_flat_cos_exhaust_fit_iter():
    def fresh():
        return learner_of(recurrent_problem(), epochs=4)

    expected = numbers(fresh().fit_iter(4))
    assert [n for n, _, _ in expected] == [1, 2, 3, 4]
    assert numbers(fresh().fit()) == numbers(fresh().fit_flat_cos()) == expected
    learner = fresh()
    assert numbers(
        [*learner.fit_iter(2), *learner.fit_iter(2), *learner.fit_iter(4)]
    ) == (expected)
    with pytest.raises(ConfigError, match="flat_cosine"):
        learner_of(recurrent_problem(schedule="constant")).fit_flat_cos()


def test_closing_from_outside_is_clean(tmp_path):
    expected = numbers(learner_of(recurrent_problem(), epochs=4).fit())
    learner = learner_of(recurrent_problem(), epochs=4)
    iterator = learner.fit_iter(4)
    got = [next(iterator)]
    iterator.close()
    learner.save(tmp_path)  # whole, though the iterator was cut short
    iterator = learner.fit_iter(4)
    got.append(next(iterator))
    with pytest.raises(KeyboardInterrupt):
        iterator.throw(KeyboardInterrupt)
    got.extend(learner.fit_iter(4))
    assert numbers(got) == expected


def spoiled_feed(*windows):
    arrays = sequences(0)
    arrays["y"][list(windows)] = np.nan
    return ToyFeed(arrays, batch_size=6)


def test_non_finite_steps_are_skipped_counted_and_left_out_of_the_mean():
    class Counter(nnx.Module):
        """One weight; counts its calls in a variable, and hands on the last batch."""

        def __init__(self, key):
            self.weight = nnx.Param(jnp.zeros(()))
            self.calls = nnx.BatchStat(jnp.zeros(()))

    def forward(model, batch, *, key, training, carry, hyper):
        mean = jnp.mean(batch["y"])
        model.calls.set_value(model.calls[...] + 1 + 0 * mean)
        return {"y": model.weight[...] + 0 * batch["y"]}, 0 * carry + mean

    problem = Problem(
        signature="counter",
        build=lambda key: Counter(key),
        forward=forward,
        loss=Loss(terms={"mse": Term(function=mse)}),
        metrics=recurrent_problem().metrics,
        initial_carry=lambda size: jnp.zeros(()),
    )
    (epoch,) = learner_of(problem, feed=spoiled_feed(5), epochs=1).fit()
    assert epoch.train["skipped"] == 1
    assert np.isfinite(epoch.train["loss"])
    assert np.isfinite(epoch.train["gradient_norm"])
    learner = learner_of(problem, feed=spoiled_feed(5), epochs=1)
    learner.fit()
    assert float(learner.state.variables["calls"]) == 3  # of four steps
    assert np.isfinite(float(learner.state.carry))
    assert int(learner.state.step) == 4

    learner = learner_of(problem, feed=spoiled_feed(*range(24)), epochs=1)
    before = leaves(learner.state.params)
    (epoch,) = learner.fit()
    assert np.isnan(epoch.train["loss"])
    assert epoch.train["skipped"] == 4
    assert_bitwise(before, leaves(learner.state.params))


def test_an_overflowing_norm_is_refused_too():
    """Finite gradients of 1e30 have an infinite norm in float32."""
    problem = recurrent_problem(signature="huge")
    huge = Loss(terms={"mse": Term(function=mse, weight=1e30)})
    learner = learner_of(replace(problem, loss=huge), epochs=1)
    before = leaves(learner.state.params)
    (epoch,) = learner.fit()
    assert epoch.train["skipped"] == 4
    assert_bitwise(before, leaves(learner.state.params))


@pytest.mark.parametrize("objective", [("rmse", "minimize"), ("fit", "maximize")])
def test_the_best_epoch_is_kept_and_used(objective, tmp_path):
    """A rate that makes the validation error go up and down."""
    problem = recurrent_problem(learning_rate=0.3, clip_norm=100.0)
    learner = learner_of(problem, epochs=12, objective=objective)
    predictions, values = {}, {}
    for epoch in learner.fit_iter(12):
        values[epoch.number] = epoch.valid[objective[0]]
        predictions[epoch.number] = learner.predict(np.ones((20, 1)))
    choose = min if objective[1] == "minimize" else max
    best = choose(values, key=lambda n: values[n])
    assert best != 12, "the test needs a last epoch that is not the best"
    assert int(learner.best.epoch) == best
    assert float(learner.best.value) == values[best]
    np.testing.assert_array_equal(learner.predict(np.ones((20, 1))), predictions[best])
    np.testing.assert_allclose(
        learner.evaluate("valid")[objective[0]], values[best], rtol=1e-6
    )
    learner.save(tmp_path)
    again = learner_of(problem, epochs=12, objective=objective)
    again.restore(tmp_path)
    assert again.evaluate("valid") == learner.evaluate("valid")


def test_a_non_finite_value_never_becomes_best():
    """The metric is NaN in the first epoch, infinite in the second, then finite."""

    class Clock(nnx.Module):
        def __init__(self, key):
            self.weight = nnx.Param(jnp.ones(()))
            self.steps = nnx.BatchStat(jnp.zeros(()))

    def forward(model, batch, *, key, training, carry, hyper):
        if training:
            model.steps.set_value(model.steps[...] + 1)
        steps = model.steps[...]
        value = jnp.where(steps < 5, jnp.nan, jnp.where(steps < 9, -jnp.inf, -steps))
        shape = batch["y"].shape[:1]
        return {
            "value": jnp.full(shape, value),
            "y": model.weight[...] * batch["y"],
        }, carry

    problem = Problem(
        signature="clock",
        build=lambda key: Clock(key),
        forward=forward,
        loss=Loss(terms={"mse": Term(function=mse)}),
        metrics=(Average(name="value", function=lambda o, b: o["value"]),),
    )
    learner = learner_of(problem, epochs=4, objective=("value", "minimize"))
    found = [(int(learner.best.epoch), e.valid["value"]) for e in learner.fit_iter(4)]
    assert [n for n, _ in found] == [0, 0, 3, 4]
    assert np.isnan(found[0][1])
    assert np.isinf(found[1][1])


def test_validation_scores_full_sequences_in_evaluation_mode():
    """The same whatever the windows, batches and dropout of training; checked in numpy."""
    valid = valid_windows() + (sequences(9, count=1, length=70),)
    learner = learner_of(
        recurrent_problem(**{"model.dropout": 0.5}), valid=valid, epochs=2
    )
    learner.fit()
    errors = np.concatenate(
        [(learner.predict(g["u"]) - g["y"]).ravel() for g in valid]
    ).astype(np.float64)
    got = learner.evaluate("valid")
    np.testing.assert_allclose(got["rmse"], np.sqrt(np.mean(errors**2)), rtol=1e-5)
    np.testing.assert_allclose(got["loss.mse"], np.mean(errors**2), rtol=1e-5)
    weights = {k: np.asarray(v, np.float64) for k, v in learner.best.params.items()}
    state, outputs = np.zeros(4), []
    for u in valid[2]["u"][0, :, 0]:
        state = np.tanh(u * weights["inward"][0] + state @ weights["around"])
        outputs.append(state @ weights["outward"])
    predicted = learner.predict(valid[2]["u"][0])
    np.testing.assert_allclose(predicted, outputs, rtol=1e-4, atol=1e-5)
    for batch_size, length in ((3, 20), (8, 11)):
        arrays = {k: v[:, :length] for k, v in sequences(0).items()}
        feed = ToyFeed(arrays, batch_size=batch_size)
        other = learner_of(recurrent_problem(), valid=valid, feed=feed)
        other.best = learner.best
        np.testing.assert_allclose(
            list(other.evaluate("valid").values()), list(got.values())
        )


def test_evaluate_and_predict_refuse():
    learner = learner_of(recurrent_problem(), test=lambda: (sequences(7, count=2),))
    assert set(learner.evaluate("test")) == set(learner.evaluate("valid"))
    assert learner.evaluate("test") != learner.evaluate("valid")
    with pytest.raises(UserError, match="tset") as caught:
        learner.evaluate("tset")
    assert "test" in str(caught.value.hint)
    with pytest.raises(UserError, match="test"):
        learner_of(recurrent_problem()).evaluate("test")
    with pytest.raises(UserError, match=r"\(5,\)"):
        learner.predict(np.zeros(5))
    assert learner.predict(np.zeros((5, 1))).shape == (5, 1)
    assert learner.predict(np.zeros((2, 5, 1))).shape == (2, 5, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": ("rsme", "minimize")}, "rsme"),
        ({"objective": ("rmse", "min")}, "min"),
        ({"epochs": 0}, "1 epoch"),
        ({"seed": -1}, "-1"),
        ({"seed": 2**32}, "4294967296"),
    ],
    ids=str,
)
def test_refuses_what_cannot_be_trained(options, words):
    with pytest.raises(ConfigError, match=words):
        learner_of(recurrent_problem(), **options)


def test_a_traced_value_that_nobody_set_is_named():
    problem = recurrent_problem(signature="nobody")
    with pytest.raises(ConfigError, match=r"model\.dropout"):
        learner_of(replace(problem, hyper={"model.drop": 0.0}))


def test_augmentations_act_in_training_only():
    plain = recurrent_problem(learning_rate=0.0, signature="plain")
    noise = add_noise(signal="u", scale="data.noise", unit=jnp.ones((1,)))
    noisy = replace(
        plain,
        signature="noisy",
        augmentations=(noise,),
        hyper={**plain.hyper, "data.noise": 0.5},
    )
    a, b = learner_of(plain, epochs=2), learner_of(noisy, epochs=2)
    for first, second in zip(a.fit(), b.fit(), strict=True):
        assert first.train["loss"] != second.train["loss"]
        assert first.valid == second.valid
    losses = [e.train["loss"] for e in b.records]
    assert losses[0] != losses[1], "the noise of two epochs must differ"
    missing = Transform(function=noise.function, values={"scale": "data.nois"})
    with pytest.raises(ConfigError, match=r"data\.nois"):
        learner_of(replace(noisy, signature="x", augmentations=(missing,))).fit()


def test_model_initialisation_leaves_the_order_of_the_data_alone():
    def other(key):
        return Recurrent(jax.random.fold_in(key, 7))

    problem = recurrent_problem()
    first = learner_of(problem, seed=5)
    second = learner_of(replace(problem, signature="other", build=other), seed=5)
    assert not np.array_equal(*(leaves(x.state.params)[0] for x in (first, second)))
    assert_bitwise(first.state.keys, second.state.keys)
    orders = [np.asarray(x.runner.engine.order(x.state)) for x in (first, second)]
    np.testing.assert_array_equal(*orders)


def test_the_program_table_is_bounded():
    assert PROGRAMS.limit == LIMIT
    table = ProgramTable(limit=2)
    one = np.float32(1)

    def compiled(name):
        program, seconds = table.get(name, lambda x: x + 1, (one,))
        assert float(program.call(one)) == 2
        return seconds > 0

    assert compiled("a")
    assert compiled("b")
    assert not compiled("a")
    assert compiled("c")  # `b` was used longest ago and leaves
    assert len(table) == 2
    assert not compiled("a")
    assert compiled("b")
