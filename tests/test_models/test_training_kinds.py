"""Every kind of problem the engine serves: alone, as lanes, saved and restored, streamed."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from models.training.lanes import fit_lanes, stack, unstack
from tests.test_models.training_toys import (
    KINDS,
    assert_bitwise,
    leaves,
    numbers,
    toy,
)

pytestmark = pytest.mark.slow

RATES = (1e-2, 3e-3, 2e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_learns_under_the_scanned_epoch(kind):
    learner = toy(kind, epochs=30)
    before = jax.tree.map(np.asarray, learner.state)
    epochs = learner.fit()
    term = learner.problem.loss.names[0]
    losses = [e.train[term] for e in epochs]
    assert np.mean(losses[-5:]) < 0.98 * np.mean(losses[:2])
    assert all(np.isfinite(list(e.valid.values())).all() for e in epochs)
    assert {*learner.problem.loss.names, "loss", "skipped", "gradient_norm"} == set(
        epochs[0].train
    )
    for name in ("params", "variables", "carry"):
        old, new = leaves(getattr(before, name)), leaves(getattr(learner.state, name))
        changed = [not np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
        fixed = kind in ("recurrent", "carried") and name == "variables"
        assert not any(changed) if fixed else all(changed), (name, changed)


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_equal_the_trials_alone(kind):
    """Three epochs; four to six steps each."""
    alone = [toy(kind, learning_rate=r, seed=i) for i, r in enumerate(RATES)]
    expected = [learner.fit(1) for learner in alone]
    lanes = [toy(kind, learning_rate=r, seed=i) for i, r in enumerate(RATES)]
    (together,) = fit_lanes(lanes, 1)
    for lane, (epoch,) in enumerate(expected):
        for name, value in {**epoch.train, **epoch.valid}.items():
            got = {**together[lane].train, **together[lane].valid}[name]
            np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-5, err_msg=name)
        for a, b in zip(
            leaves(alone[lane].state), leaves(lanes[lane].state), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    rates = [lane.state.hyper["optimizer.learning_rate"] for lane in lanes]
    np.testing.assert_allclose(rates, RATES, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_stop_save_restore_continue_is_bitwise(kind, tmp_path):
    whole = toy(kind, epochs=7)
    expected = whole.fit()
    first = toy(kind, epochs=7)
    for epoch in first.fit_iter(7):
        if epoch.number == 3:
            break
    first.save(tmp_path)
    second = toy(kind, epochs=7)
    second.restore(tmp_path)
    assert numbers(second.fit()) == numbers(expected)
    assert_bitwise((second.state, second.best), (whole.state, whole.best))
    assert second.evaluate("valid") == whole.evaluate("valid")


@pytest.mark.parametrize("kind", KINDS)
def test_streaming_sees_what_resident_sees(kind):
    resident, streamed = toy(kind), toy(kind, streaming=True)
    for a, b in zip(resident.fit(), streamed.fit(), strict=True):
        for name, value in {**a.train, **a.valid}.items():
            got = {**b.train, **b.valid}[name]
            np.testing.assert_allclose(got, value, rtol=2e-4, atol=1e-5, err_msg=name)


def test_streaming_in_lanes_and_through_a_checkpoint(tmp_path):
    alone = toy("carried", streaming=True, seed=1)
    expected = alone.fit()
    lanes = [toy("carried", streaming=True, seed=s) for s in (0, 1)]
    list(fit_lanes(lanes, 2))
    lanes[1].save(tmp_path)
    again = toy("carried", streaming=True, seed=1)
    again.restore(tmp_path)
    got = again.fit()
    assert [e.number for e in got] == [1, 2, 3, 4]
    np.testing.assert_allclose(
        got[-1].valid["rmse"], expected[-1].valid["rmse"], rtol=1e-4
    )


def test_stack_and_unstack_are_inverse():
    states = [toy("quantizer", seed=s).state for s in range(3)]
    together = stack(states)
    assert jax.tree.leaves(together)[0].shape[0] == 3
    for before, after in zip(states, unstack(together), strict=True):
        assert_bitwise(before, after)
