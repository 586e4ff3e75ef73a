"""A lane equals the trial alone: closely in float32, to nine digits in float64."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from models.training.lanes import fit_lanes
from tests.test_models.training_toys import (
    KINDS,
    ToyFeed,
    learner_of,
    leaves,
    recurrent_problem,
    sequences,
    toy,
)

RATES = (1e-2, 3e-3, 2e-2)


def compare(kind, *, epochs, rtol, atol):
    alone = [
        toy(kind, learning_rate=r, seed=i, epochs=epochs) for i, r in enumerate(RATES)
    ]
    expected = [learner.fit() for learner in alone]
    lanes = [
        toy(kind, learning_rate=r, seed=i, epochs=epochs) for i, r in enumerate(RATES)
    ]
    together = list(fit_lanes(lanes, epochs))
    for lane, records in enumerate(expected):
        for number, epoch in enumerate(records):
            got = together[number][lane]
            for name, value in {**epoch.train, **epoch.valid}.items():
                np.testing.assert_allclose(
                    {**got.train, **got.valid}[name],
                    value,
                    rtol=rtol,
                    atol=atol,
                    err_msg=f"{name} of epoch {number + 1}",
                )
        for a, b in zip(
            leaves(alone[lane].state), leaves(lanes[lane].state), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
    return int(alone[0].state.step)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_fifty_steps_in_float64(kind):
    with jax.enable_x64(True):
        assert toy(kind).state.hyper["optimizer.learning_rate"].dtype == np.float64
        assert compare(kind, epochs=13, rtol=1e-9, atol=1e-12) >= 50


def test_three_steps_in_float32():
    feed = ToyFeed(sequences(0), batch_size=8)

    def trials():
        return [
            learner_of(
                recurrent_problem(learning_rate=rate, **{"model.dropout": 0.1 * seed}),
                seed=seed,
                feed=feed,
            )
            for seed, rate in enumerate(RATES)
        ]

    alone, lanes = trials(), trials()
    for learner in alone:
        learner.fit(1)
    list(fit_lanes(lanes, 1))
    for a, b in zip(alone, lanes, strict=True):
        assert int(a.state.step) == 3
        for name, value in {**a.records[0].train, **a.records[0].valid}.items():
            got = {**b.records[0].train, **b.records[0].valid}[name]
            np.testing.assert_allclose(got, value, rtol=1e-5, err_msg=name)
        for x, y in zip(leaves(a.state.params), leaves(b.state.params), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


def test_closing_lanes_gives_the_states_back():
    """Two epochs as lanes, then each goes on alone."""
    alone = [learner_of(recurrent_problem(), seed=s, epochs=4) for s in range(2)]
    lanes = [learner_of(recurrent_problem(), seed=s, epochs=4) for s in range(2)]
    iterator = fit_lanes(lanes, 4)
    next(iterator)
    next(iterator)
    iterator.close()
    for a, b in zip(alone, lanes, strict=True):
        rest = b.fit()
        assert [e.number for e in rest] == [3, 4]
        np.testing.assert_allclose(
            rest[-1].valid["rmse"], a.fit()[-1].valid["rmse"], rtol=1e-4
        )
        assert int(b.best.epoch) in (1, 2, 3, 4)


def test_refuses_what_cannot_share_a_program():
    first = learner_of(recurrent_problem())
    with pytest.raises(ValueError, match="signature"):
        next(fit_lanes([first, learner_of(recurrent_problem(signature="other"))], 2))
    ahead = learner_of(recurrent_problem())
    ahead.fit(1)
    with pytest.raises(ValueError, match="epochs behind"):
        next(fit_lanes([first, ahead], 2))
    for group in (sequences(8, count=1), sequences(1, count=3, length=50)):
        elsewhere = learner_of(
            recurrent_problem(), valid=(group, sequences(3, count=1))
        )
        with pytest.raises(ValueError, match="validation"):
            next(fit_lanes([first, elsewhere], 2))
    with pytest.raises(ValueError, match="at least one"):
        next(fit_lanes([], 2))
