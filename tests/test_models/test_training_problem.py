"""The parts of a problem beyond model, loss and metrics, each against numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.errors import UserError
from models.losses import Loss, Term, absolute_error
from models.metrics import Average, SequenceMetric
from models.training import evaluation
from models.training.optimizer import Optimizer
from models.training.problem import Problem, Schedule
from tests.test_models.training_toys import (
    ToyFeed,
    assert_bitwise,
    carried_feed,
    carried_problem,
    learner_of,
    numbers,
    sequences,
)


class Remembered(nnx.Variable):
    """A number that no gradient changes."""


class Scale(nnx.Module):
    """``y = weight · u + offset``; remembers what `start` found."""

    def __init__(self, key):
        self.weight = nnx.Param(0.5 + 0.1 * jax.random.uniform(key, (1,)))
        self.offset = nnx.Param(jnp.zeros((1,)))
        self.begun = Remembered(jnp.zeros(()))

    def __call__(self, u):
        return u * self.weight[...][None, None] + self.offset[...][None, None]


def forward(model, batch, *, key, training, carry, hyper):
    return {"y": model(batch["u"])}, carry


def distance(outputs, batch, hyper, *, wanted="y"):
    return jnp.mean(absolute_error(outputs["y"], batch[wanted]))


def away(outputs, batch, hyper):
    return distance(outputs, batch, hyper, wanted="away")


def scale_problem(signature, *, learning_rate=0.0, average=None, **changes):
    """A problem of two numbers; it learns nothing unless it is told a rate."""
    options = {} if average is None else {"averaged": True, "average": average}
    settings = {
        "forward": forward,
        "loss": Loss(terms={"distance": Term(function=distance)}),
        "metrics": (SequenceMetric(kind="rmse"),),
        "hyper": {},
        **changes,
    }
    return Problem(
        signature=("scale", signature),
        build=lambda key: Scale(key),
        optimizer=Optimizer(
            learning_rate=learning_rate, schedule="constant", **options
        ),
        **settings,
    )


def one_batch(seed=0, *, count=12):
    """A feed whose epoch is one step over everything, and its arrays in float64."""
    arrays = sequences(seed, count=count)
    return ToyFeed(arrays, batch_size=count), arrays


def weights(tree):
    return {name: np.asarray(value, np.float64) for name, value in tree.items()}


def apply(params, u):
    return u * float(params["weight"][0]) + float(params["offset"][0])


# Targets.


def shifted(key, batch, step):
    return batch | {"u": batch["u"] + 1.0}


def doubled(key, batch, step):
    return batch | {"u": batch["u"] * 2.0}


def tripled(key, batch, step):
    return batch | {"away": 3.0 * batch["u"]}


def only_u(batch):
    return {"u": batch["u"]}


def test_targets_act_in_training_and_scoring_behind_the_others_and_never_in_prediction():
    shown = []

    def watching(model, batch, *, key, training, carry, hyper):
        shown.append((training, tuple(sorted(batch))))
        return forward(
            model, batch, key=key, training=training, carry=carry, hyper=hyper
        )

    feed, arrays = one_batch()
    valid = (sequences(1, count=3),)
    problem = scale_problem(
        "targets",
        forward=watching,
        loss=Loss(terms={"away": Term(function=away)}),
        given=only_u,
        transforms=(shifted,),
        augmentations=(doubled,),
        targets=(tripled,),
    )
    learner = learner_of(problem, feed=feed, valid=valid, epochs=1)
    params = weights(learner.state.params)
    (epoch,) = learner.fit()
    trained, scored = 2.0 * (arrays["u"] + 1.0), valid[0]["u"] + 1.0
    for found, u in (
        (epoch.train["away"], trained),
        (epoch.valid["loss.away"], scored),
    ):
        np.testing.assert_allclose(
            found, np.abs(apply(params, u) - 3.0 * u).mean(), rtol=1e-5
        )
    assert set(shown) == {(True, ("away", "u")), (False, ("away", "u"))}
    shown.clear()
    u = arrays["u"][:2].astype(np.float32)
    outputs, _ = learner.outputs({"u": u, "y": np.full_like(u, np.nan)})
    np.testing.assert_allclose(outputs["y"], apply(params, u + 1.0), rtol=1e-5)
    assert set(shown) == {(False, ("u",))}


def test_random_targets_change_from_step_to_step_and_stand_still_in_scoring():
    def drawn(key, batch, step):
        return batch | {"away": jax.random.normal(key, batch["u"].shape)}

    problem = scale_problem(
        "drawn", loss=Loss(terms={"away": Term(function=away)}), targets=(drawn,)
    )
    feed, _ = one_batch()
    learner = learner_of(problem, feed=feed, epochs=3)
    epochs = learner.fit()
    assert len({e.train["away"] for e in epochs}) == 3
    assert len({e.valid["loss.away"] for e in epochs}) == 1
    assert learner.evaluate("valid")["loss.away"] == epochs[0].valid["loss.away"]


@pytest.mark.parametrize("micro_batch", [None, 3, 1])
def test_targets_of_micro_batches_are_drawn_one_by_one_and_learn_the_same(micro_batch):
    def drawn(key, batch, step):
        size = len(batch["u"])
        return batch | {
            "away": 3.0 * batch["u"],
            "draw": jax.random.uniform(key, (size,)),
        }

    def first(outputs, batch, hyper):
        return jnp.mean(batch["draw"])

    def second(outputs, batch, hyper):
        return jnp.square(jnp.mean(batch["draw"]))

    problem = scale_problem(
        ("parts", micro_batch),
        learning_rate=0.01,
        loss=Loss(
            terms={
                "away": Term(function=away),
                "first": Term(function=first),
                "second": Term(function=second),
            }
        ),
        targets=(drawn,),
        micro_batch=micro_batch,
    )
    feed, arrays = one_batch()
    learner = learner_of(problem, feed=feed, epochs=1)
    params = weights(learner.state.params)
    (epoch,) = learner.fit()
    away_now = np.abs(apply(params, arrays["u"]) - 3.0 * arrays["u"]).mean()
    np.testing.assert_allclose(epoch.train["away"], away_now, rtol=1e-5)
    spread = epoch.train["second"] - epoch.train["first"] ** 2
    assert (
        spread == pytest.approx(0, abs=1e-6) if micro_batch is None else spread > 1e-4
    )
    gradient = np.sign(apply(params, arrays["u"]) - 3.0 * arrays["u"])
    wanted = np.hypot((gradient * arrays["u"]).mean(), gradient.mean())
    np.testing.assert_allclose(epoch.train["gradient_norm"], wanted, rtol=1e-4)


# Schedules and terms.


def rising(signature, *, over, at_rest=0.25):
    """A weight that rises over a share of the horizon, shown by the model as well."""

    def showing(model, batch, *, key, training, carry, hyper):
        y = model(batch["u"])
        return {"y": y, "now": jnp.broadcast_to(hyper["now"], y.shape[:1])}, carry

    def shown(outputs, batch, hyper):
        return jnp.mean(outputs["now"])

    def rise(hyper, fraction):
        return jnp.minimum(fraction / over, 1.0)

    return scale_problem(
        signature,
        learning_rate=0.05,
        forward=showing,
        loss=Loss(
            terms={
                "distance": Term(function=distance, weight="now"),
                "shown": Term(function=shown, weight=0.0),
            }
        ),
        metrics=(
            SequenceMetric(kind="rmse"),
            Average(name="now", function=lambda o, b: o["now"]),
        ),
        schedules={"now": Schedule(function=rise, evaluation=at_rest)},
    )


def test_a_schedule_acts_in_training_and_has_its_stated_value_in_evaluation():
    feed = ToyFeed(sequences(0), batch_size=6)  # four steps
    learner = learner_of(rising("schedule", over=0.5), feed=feed, epochs=4)
    epochs = learner.fit()
    steps = (np.arange(16) + 0.5) / 16
    wanted = np.minimum(steps / 0.5, 1.0).reshape(4, 4).mean(axis=1)
    np.testing.assert_allclose([e.train["shown"] for e in epochs], wanted, rtol=1e-5)
    assert [e.valid["now"] for e in epochs] == [0.25] * 4
    assert learner.evaluate("valid")["now"] == 0.25
    outputs, _ = learner.outputs({"u": np.zeros((1, 5, 1))})
    assert outputs["now"] == 0.25


def test_an_evaluation_value_may_be_a_traced_one():
    problem = rising("traced", over=0.5, at_rest=lambda hyper: hyper["optimizer.b1"])
    (epoch, *_) = learner_of(problem).fit(1)
    np.testing.assert_allclose(epoch.valid["now"], 0.9, rtol=1e-6)


def test_an_annealed_weight_chooses_no_epoch():
    """A weighted loss would be least in the first epoch, when its weight still is."""
    learner = learner_of(
        rising("chosen", over=1.0), epochs=6, objective=("loss.distance", "minimize")
    )
    epochs = learner.fit()
    values = [e.valid["loss.distance"] for e in epochs]
    assert min(range(6), key=lambda i: epochs[i].train["loss"]) == 0
    assert int(np.argmin(values)) > 0
    assert int(learner.best.epoch) == 1 + int(np.argmin(values))
    assert float(learner.best.value) == min(values)


def test_terms_are_reported_in_validation_unweighted_and_per_sample():
    """Groups of three rows of 50 samples and one of 20: every sample counts once."""
    loss = Loss(terms={"distance": Term(function=distance, weight=7.0)})
    learner = learner_of(scale_problem("terms", loss=loss), epochs=1)
    params = weights(learner.state.params)
    (epoch,) = learner.fit()
    groups = (sequences(1, count=3, length=50), sequences(2, count=1))
    errors = [np.abs(apply(params, g["u"]) - g["y"]).ravel() for g in groups]
    wanted = np.concatenate(errors).mean()
    np.testing.assert_allclose(epoch.valid["loss.distance"], wanted, rtol=1e-5)
    np.testing.assert_allclose(epoch.train["loss"], 7 * epoch.train["distance"], 1e-6)


# Evaluation in batches.


def noisy(model, batch, *, key, training, carry, hyper):
    y = model(batch["u"])
    noise = jax.random.normal(key, ())
    rows = jnp.broadcast_to(noise, y.shape[:1])
    return {"y": y, "nested": {"noise": rows, "last": y[:, -1, 0]}}, carry


def described_problem(signature):
    def noise(outputs, batch, hyper):
        return jnp.mean(outputs["nested"]["noise"])

    return scale_problem(
        signature,
        forward=noisy,
        loss=Loss(
            terms={
                "distance": Term(function=distance),
                "noise": Term(function=noise, weight=0.0),
            }
        ),
        describe=lambda outputs, batch: {
            **outputs["nested"],
            "first": batch["u"][:, 0, 0],
        },
    )


def test_batches_and_a_remainder_score_what_the_whole_scores(monkeypatch):
    """Seven rows of 50 and three of 20 in batches of at most two and five rows."""
    groups = (sequences(1, count=7, length=50), sequences(2, count=3))
    whole = learner_of(described_problem("whole"), valid=groups, epochs=2)
    monkeypatch.setattr(evaluation, "BATCH_NUMBERS", 200)
    parts = learner_of(described_problem("parts"), valid=groups, epochs=2)
    sizes = [
        [evaluation.rows_of(batch) for batch in evaluation.batches(group)]
        for group in parts.valid
    ]
    assert sizes == [[2, 2, 2, 1], [3]]
    scores, wanted = parts.fit()[-1].valid, whole.fit()[-1].valid
    for name in ("rmse", "loss.distance"):
        np.testing.assert_allclose(scores[name], wanted[name], rtol=1e-6)
    error = np.concatenate(
        [(apply(weights(parts.best.params), g["u"]) - g["y"]).ravel() for g in groups]
    )
    np.testing.assert_allclose(scores["rmse"], np.sqrt(np.mean(error**2)), rtol=1e-5)

    described = parts.describe("valid")
    for name, wanted in (
        ("first", [g["u"][:, 0, 0] for g in groups]),
        ("last", [apply(weights(parts.best.params), g["u"][:, -1, 0]) for g in groups]),
    ):
        np.testing.assert_allclose(
            described[name], np.concatenate(wanted), rtol=1e-5, atol=1e-6
        )
    # Every batch has a key of its own, which is the same in every evaluation.
    drawn = described["noise"]
    batches = np.split(drawn, [2, 4, 6, 7])
    assert all(len(set(batch.tolist())) == 1 for batch in batches)
    assert len(set(drawn.tolist())) == 5
    samples = np.repeat([50, 20], [7, 3])
    wanted = np.average(drawn, weights=samples)
    np.testing.assert_allclose(scores["loss.noise"], wanted, rtol=1e-5)
    assert parts.evaluate("valid") == scores
    again = parts.describe("valid")
    assert all(np.array_equal(again[name], described[name]) for name in described)


def test_nothing_is_described_where_nothing_is_told():
    learner = learner_of(scale_problem("silent"))
    with pytest.raises(UserError, match="describes nothing"):
        learner.describe("valid")


def test_outputs_may_nest():
    learner = learner_of(described_problem("nested"))
    u = sequences(3, count=2)["u"]
    outputs, _ = learner.outputs({"u": u})
    assert set(outputs["nested"]) == {"noise", "last"}
    np.testing.assert_array_equal(outputs["nested"]["last"], outputs["y"][:, -1, 0])


# Averaged parameters.


def averaged(decay, **options):
    problem = scale_problem("averaged", learning_rate=0.05, average=decay)
    feed, _ = one_batch()
    return learner_of(problem, feed=feed, epochs=30, **options)


def test_averages_are_those_of_numpy_and_are_scored_kept_and_predicted_with(tmp_path):
    """One step an epoch, so that every step's parameters can be looked at."""
    learner, decay = averaged(0.7), 0.7
    average = weights(learner.state.params)
    for step, epoch in enumerate(learner.fit_iter(30)):
        params = weights(learner.state.params)
        share = min(decay, (1 + step) / (10 + step))
        average = {n: a * share + params[n] * (1 - share) for n, a in average.items()}
        found = weights(learner.state.average)
        for name, value in average.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
        error = [
            (apply(average, g["u"]) - g["y"]).ravel()
            for g in (sequences(1, count=3, length=50), sequences(2, count=1))
        ]
        rmse = np.sqrt(np.mean(np.concatenate(error) ** 2))
        np.testing.assert_allclose(epoch.valid["rmse"], rmse, rtol=1e-4)
        if int(learner.best.epoch) == epoch.number:
            assert_bitwise(learner.best.params, learner.state.average)
            kept = weights(learner.best.params)
        if epoch.number == 13:
            learner.save(tmp_path)
    assert (
        step > 20 and (1 + step) / (10 + step) > decay
    )  # the decay itself was reached
    u = sequences(4, count=1)["u"][0]
    np.testing.assert_allclose(learner.predict(u), apply(kept, u), rtol=1e-5, atol=1e-6)
    again = averaged(0.7)
    again.restore(tmp_path)
    assert numbers(again.fit()) == numbers(learner.records)
    assert_bitwise((again.state, again.best), (learner.state, learner.best))


def test_the_decay_is_traced_and_alive():
    first = averaged(0.7).fit(12)
    second = averaged(0.3).fit(12)
    assert all(epoch.compile_seconds == 0 for epoch in second)
    assert [e.train for e in first] == [e.train for e in second]
    assert first[-1].valid != second[-1].valid


# Starting from data.


def remembering(model, batch, *, key, hyper):
    """Keep the mean of what is given, and move a parameter."""
    assert set(batch) == {"u"}
    model.begun.set_value(jnp.mean(batch["u"]))
    model.offset.set_value(jnp.full((1,), hyper["begin"]))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_model_starts_from_the_first_batch_of_its_first_epoch(streaming, tmp_path):
    arrays = sequences(0)
    feed = ToyFeed(arrays, batch_size=6, streaming=streaming)
    problem = scale_problem(
        "start",
        hyper={"begin": 3.0},
        given=only_u,
        transforms=(shifted,),
        start=remembering,
        average=0.5,
    )
    learner = learner_of(problem, feed=feed, seed=5)
    rows = np.asarray(learner.runner.engine.order(learner.state))[0]
    wanted = arrays["u"][rows].mean() + 1.0
    np.testing.assert_allclose(learner.state.variables["begun"], wanted, rtol=1e-5)
    for params in (learner.state.params, learner.state.average, learner.best.params):
        assert float(params["offset"][0]) == 3.0
    assert learner.evaluate("valid")["rmse"] > 2.0, (
        "the started model is what is scored"
    )
    learner.fit(2)
    np.testing.assert_allclose(learner.state.variables["begun"], wanted, rtol=1e-5)
    learner.save(tmp_path)
    again = learner_of(problem, feed=feed, seed=5)
    again.restore(tmp_path)
    assert numbers(again.fit()) == numbers((*learner.records, *learner.fit()))
    other = learner_of(problem, feed=feed, seed=6)
    assert float(other.state.variables["begun"]) != float(
        again.state.variables["begun"]
    )


# Carry.


def test_a_stream_in_two_pieces_is_the_stream():
    learner = learner_of(carried_problem(), feed=carried_feed(), epochs=2)
    learner.fit()
    u = sequences(7, count=2, length=40)["u"]
    whole, last = learner.outputs({"u": u})
    early, carry = learner.outputs({"u": u[:, :15]})
    late, after = learner.outputs({"u": u[:, 15:]}, carry)
    joined = np.concatenate([early["y"], late["y"]], axis=1)
    np.testing.assert_allclose(joined, whole["y"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(after, last, rtol=1e-6, atol=1e-7)
    anew, _ = learner.outputs({"u": u[:, 15:]})
    assert np.abs(anew["y"] - late["y"])[:, 0].max() > 1e-3, "the carry is ignored"
