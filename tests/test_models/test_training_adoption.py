"""One learner goes on from another's state: everything is the donor's but the values set."""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from hpo.testing.learners import check_adoption
from models.errors import ConfigError
from models.training.checkpoint import NAME, CheckpointError
from models.training.protocol import Adoptable
from tests.test_models.training_toys import (
    ToyFeed,
    assert_bitwise,
    learner_of,
    leaves,
    numbers,
    recurrent_problem,
    sequences,
)

RATE = "optimizer.learning_rate"
DROPOUT = "model.dropout"


def test_it_conforms(tmp_path):
    seeds = itertools.count()

    def create(values):
        problem = recurrent_problem(**{k.split(".")[-1]: v for k, v in values.items()})
        return learner_of(problem, seed=next(seeds), epochs=4)

    check_adoption(create, tmp_path, epochs=4, traced={RATE: 0.05})


def saved(place, *, stop=2, seed=3, epochs=5, **values):
    """A donor that was trained for a while, and its folder."""
    donor = learner_of(recurrent_problem(**values), seed=seed, epochs=epochs)
    assert isinstance(donor, Adoptable)
    donor.fit(stop)
    donor.save(place)
    return donor


def test_only_the_values_that_are_set_differ_from_the_donor(tmp_path):
    donor = saved(tmp_path, **{DROPOUT: 0.1})
    mine = learner_of(recurrent_problem(learning_rate=0.5), seed=8, epochs=5)
    mine.fit(1)
    mine.adopt(tmp_path, {RATE: 0.002, DROPOUT: 0.4})
    assert float(mine.state.hyper[RATE]) == pytest.approx(0.002)  # TSFast: 0.01
    assert mine.seed == donor.seed
    for name in ("params", "optimizer", "keys", "step", "epoch"):
        assert_bitwise(getattr(mine.state, name), getattr(donor.state, name))
    assert_bitwise(mine.best, donor.best)
    others = {k: v for k, v in donor.state.hyper.items() if k not in (RATE, DROPOUT)}
    assert others
    assert all(float(mine.state.hyper[k]) == float(v) for k, v in others.items())
    assert leaves(mine.state.variables)[0] == pytest.approx(0.4), "the model reads it"
    assert leaves(donor.state.variables)[0] == pytest.approx(0.1)


def test_with_the_same_values_it_is_the_donor_never_stopped(tmp_path):
    whole = learner_of(recurrent_problem(**{DROPOUT: 0.2}), seed=3, epochs=5)
    expected = numbers(whole.fit())
    saved(tmp_path, **{DROPOUT: 0.2})
    mine = learner_of(recurrent_problem(learning_rate=0.5), seed=8, epochs=5)
    mine.adopt(tmp_path, {RATE: 1e-2})
    assert numbers(mine.fit_iter(5)) == expected
    assert_bitwise((mine.state, mine.best), (whole.state, whole.best))


def test_the_new_rate_is_what_it_trains_with(tmp_path):
    """At rate 0 nothing moves, whatever the moments are; at another one everything does."""
    donor = saved(tmp_path)
    still, moved = (learner_of(recurrent_problem(), epochs=5) for _ in range(2))
    still.adopt(tmp_path, {RATE: 0.0})
    moved.adopt(tmp_path, {RATE: 0.02})
    still.fit(4)
    moved.fit(4)
    assert_bitwise(still.state.params, donor.state.params)
    pairs = zip(leaves(moved.state.params), leaves(donor.state.params), strict=True)
    assert all(np.any(a != b) for a, b in pairs)


def test_a_chain_of_adoptions_is_one_training_of_one_learner(tmp_path):
    """Pieces in learners of their own, and all pieces in one: the same numbers."""
    saved(tmp_path / "a")
    second = learner_of(recurrent_problem(), seed=1, epochs=5)
    second.adopt(tmp_path / "a", {RATE: 0.03})
    second.fit(4)
    second.save(tmp_path / "b")
    third = learner_of(recurrent_problem(), seed=2, epochs=5)
    third.adopt(tmp_path / "b", {RATE: 0.001, DROPOUT: 0.3})
    chained = numbers(third.fit())

    one = learner_of(recurrent_problem(), seed=3, epochs=5)
    found = list(one.fit_iter(2))
    for stop, then, values in (
        (2, 4, {RATE: 0.03}),
        (4, 5, {RATE: 0.001, DROPOUT: 0.3}),
    ):
        one.save(tmp_path / "one")
        one.adopt(tmp_path / "one", values)
        found += list(one.fit_iter(then))[stop:]
    assert numbers(found) == chained
    assert_bitwise((one.state, one.best), (third.state, third.best))


def test_what_was_adopted_is_saved_and_restored_like_any_other(tmp_path):
    saved(tmp_path / "donor")
    mine = learner_of(recurrent_problem(), seed=8, epochs=5)
    mine.adopt(tmp_path / "donor", {RATE: 0.002})
    expected = numbers(mine.fit())
    mine.adopt(tmp_path / "donor", {RATE: 0.002})
    mine.fit(3)
    mine.save(tmp_path / "mine")
    again = learner_of(recurrent_problem(learning_rate=0.002), seed=3, epochs=5)
    again.restore(tmp_path / "mine")
    assert numbers(again.fit_iter(5)) == expected
    for seed, rate in ((8, 0.002), (3, 1e-2)):
        other = learner_of(recurrent_problem(learning_rate=rate), seed=seed, epochs=5)
        with pytest.raises(CheckpointError, match="another (seed|hyper)"):
            other.restore(tmp_path / "mine")


def gained():
    """A problem whose predictions depend on a traced value in evaluation, too."""
    problem = recurrent_problem(signature=("gained",), learning_rate=1e-3)

    def forward(model, batch, *, key, training, carry, hyper):
        return {"y": hyper["model.gain"] * model(batch["u"])[0]}, carry

    return replace(problem, forward=forward, hyper={**problem.hyper, "model.gain": 1.0})


def test_the_best_epoch_is_evaluated_with_the_values_it_was_trained_with(tmp_path):
    donor = learner_of(gained(), epochs=5)
    donor.fit(2)
    donor.save(tmp_path / "a")
    mine = learner_of(gained(), epochs=5)
    mine.adopt(tmp_path / "a", {"model.gain": 50.0})  # worse than before
    mine.fit()
    best = min(mine.records, key=lambda e: e.valid["rmse"])
    assert best.number == int(mine.best.epoch) <= 2
    assert mine.evaluate("valid")["rmse"] == pytest.approx(best.valid["rmse"])
    assert float(mine.at_best().hyper["model.gain"]) == 1.0, "what is exported"
    u = sequences(4, count=1)["u"]
    assert np.array_equal(mine.predict(u), donor.predict(u))
    mine.save(tmp_path / "b")
    problem = replace(gained(), hyper={**gained().hyper, "model.gain": 50.0})
    again = learner_of(problem, epochs=5)
    again.restore(tmp_path / "b")
    assert again.evaluate("valid") == mine.evaluate("valid")
    assert float(again.state.hyper["model.gain"]) == 50.0


@pytest.mark.parametrize(
    ("traced", "rule"),
    [
        ({"optimizer.schedule": 1.0}, "`optimizer.schedule` is not traced"),
        ({"optimizer.learning_rat": 1e-3}, "is not traced"),
        ({RATE: float("nan")}, "must be a finite number, got nan"),
        ({RATE: float("inf")}, "must be a finite number, got inf"),
    ],
)
def test_values_that_cannot_be_set_leave_the_learner_as_it_was(tmp_path, traced, rule):
    saved(tmp_path)
    mine = learner_of(recurrent_problem(), seed=8, epochs=5)
    before = leaves(mine.state)
    with pytest.raises(ConfigError, match=rule):
        mine.adopt(tmp_path, traced)
    assert_bitwise(before, leaves(mine.state))
    assert mine.seed == 8
    assert [e.number for e in mine.fit_iter(1)] == [1]


def test_a_donor_of_another_kind_is_refused(tmp_path):
    saved(tmp_path / "budget", epochs=6)
    saved(tmp_path / "damaged")
    (tmp_path / "damaged" / NAME).write_bytes(b"nothing")
    feed = ToyFeed(sequences(0), batch_size=8)
    for mine, place, rule in (
        (learner_of(recurrent_problem(), epochs=5), "budget", "another epochs: 6.0"),
        (learner_of(recurrent_problem(), epochs=5), "damaged", "is damaged"),
        (learner_of(recurrent_problem(), epochs=5), "missing", "no checkpoint"),
        (
            learner_of(recurrent_problem(micro_batch=2), epochs=6, feed=feed),
            "budget",
            "another signature",
        ),
    ):
        before = leaves(mine.state)
        with pytest.raises(CheckpointError, match=rule):
            mine.adopt(tmp_path / place, {RATE: 1e-3})
        assert_bitwise(before, leaves(mine.state))
    assert jnp.isfinite(mine.state.step)
