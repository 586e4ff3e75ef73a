"""Predictions in pieces equal the prediction of the whole sequence."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from models import StatefulRNN
from models.errors import UserError

FAST = [("rnn", "prediction", {})]
SLOW = [
    ("rnn", "simulation", {"model.cell": "lstm"}),
    ("tcn", "simulation", {}),
    ("tcn", "prediction", {"model.depth": 3}),
    ("crnn", "simulation", {}),
    ("ar", "simulation", {}),
    ("ar", "prediction", {"model.kind": "tcn"}),
    ("fransys", "prediction", {"model.cell": "lstm"}),
    ("fransys", "prediction", {"model.diagnosis.kind": "tcn"}),
]


def made(folder, family, task, changes):
    """A learner that has learned nothing, and what a whole prediction takes."""
    module = importlib.import_module(f"models.{family}")
    example = module.example(task)
    learner = module.create({**example.config, **changes}, example.context(folder))
    return learner, example.given(folder)


def pieces(given, sizes):
    """What is given, cut: known outputs fall into whatever pieces they fall into."""
    first = 0
    for size in sizes:
        yield {role: array[first : first + size] for role, array in given.items()}
        first += size


@pytest.mark.parametrize(
    "family,task,changes",
    FAST + [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW],
)
def test_pieces_equal_the_whole(family, task, changes, tmp_path):
    learner, given = made(tmp_path, family, task, changes)
    model = StatefulRNN(learner)
    whole = model.predict(given)["y"]
    sizes = (5, 1, 1, 36, 1, len(whole) - 44)  # 8 outputs are known, if any
    found = [model.predict_stateful(piece)["y"] for piece in pieces(given, sizes)]
    assert [len(piece) for piece in found] == list(sizes)
    scale = np.abs(whole).max()
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-5 * scale)


def test_chunks_equal_the_whole_for_one_two_and_three_axes(tmp_path):
    learner, given = made(tmp_path, "rnn", "simulation", {})
    model, u = StatefulRNN(learner), given["u"]
    whole = model.predict(u)
    scale = np.abs(whole).max()
    for array, wanted in (
        (u[:, 0], whole[:, 0]),
        (u, whole),
        (np.stack([u, u]), np.stack([whole, whole])),
    ):
        np.testing.assert_allclose(model.predict(array), wanted, atol=1e-6 * scale)
        for size in (7, len(u), 1000):
            found = model.predict_chunked(array, size=size)
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, atol=1e-5 * scale)
    assert model.get_state() == (), "chunks have a state of their own"
    with pytest.raises(UserError, match="at least 1 sample, got 0"):
        model.predict_chunked(u, size=0)
    with pytest.raises(UserError, match=r"must be \[time, 1\]"):
        model.predict(np.zeros((5, 2)))


def test_known_outputs_of_single_signals_are_chunked_too(tmp_path):
    learner, given = made(tmp_path, "rnn", "prediction", {})
    model = StatefulRNN(learner)
    signals = {role: array[:, 0] for role, array in given.items()}
    whole = model.predict(signals)["y"]
    assert whole.shape == (len(signals["u"]),)
    np.testing.assert_array_equal(whole, model.predict(given)["y"][:, 0])
    found = model.predict_chunked(signals, size=3)["y"]
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())


def test_one_value_of_a_sequence_is_that_after_the_last_chunk(tmp_path):
    learner, given = made(tmp_path, "rnn", "estimation", {})
    model, u = StatefulRNN(learner), given["u"]
    for array in (u, np.stack([u, 2 * u])):
        whole = model.predict(array)
        for size in (7, len(u)):
            found = model.predict_chunked(array, size=size)
            assert found.shape == whole.shape == array.shape[:-2] + whole.shape[-1:]
            np.testing.assert_allclose(found, whole, rtol=1e-5)
    by_role = model.predict_chunked({"u": u}, size=7)["y"]
    np.testing.assert_allclose(by_role, model.predict(u), rtol=1e-5)


def test_chunks_of_nothing_and_states_of_nobody_are_refused(tmp_path):
    learner, given = made(tmp_path, "rnn", "simulation", {})
    model = StatefulRNN(learner)
    with pytest.raises(UserError, match="at least 1 sample, got 2.5"):
        model.predict_chunked(given["u"], size=2.5)
    with pytest.raises(UserError, match="`u` has no samples"):
        model.predict_chunked(given["u"][:0], size=2)
    for state in (5, given, (1, 2, 3)):
        with pytest.raises(UserError, match="what `get_state` gave, got a"):
            model.set_state(state)


def test_a_state_is_kept_and_set_back(tmp_path):
    learner, given = made(tmp_path, "rnn", "simulation", {})
    model, u = StatefulRNN(learner), given["u"][:40]
    assert model.get_state() == ()
    first = model.predict_stateful(u[:20])
    state = model.get_state()
    second = model.predict_stateful(u[20:])
    assert np.abs(model.predict_stateful(u[20:]) - second).max() > 1e-4
    model.set_state(state)
    np.testing.assert_array_equal(model.predict_stateful(u[20:]), second)
    other = StatefulRNN(learner)
    other.set_state(state)
    np.testing.assert_array_equal(other.predict_stateful(u[20:]), second)
    with pytest.raises(UserError, match="a batch of 1, this one of 2"):
        model.predict_stateful(np.stack([u[:20]] * 2))
    model.set_state()
    np.testing.assert_array_equal(model.predict_stateful(u[:20]), first)


def test_pieces_that_fit_nothing_are_refused(tmp_path):
    learner, given = made(tmp_path, "rnn", "prediction", {})
    model = StatefulRNN(learner)
    with pytest.raises(UserError, match="needs `u`, got `y`"):
        model.predict_stateful({"y": given["y"]})
    with pytest.raises(UserError, match="no more known outputs than inputs"):
        model.predict_stateful({"u": given["u"][:3], "y": given["y"][:4]})


def test_what_was_solved_has_no_state(tmp_path):
    learner, _ = made(tmp_path, "linear", "simulation", {})
    with pytest.raises(UserError, match="a ClosedFormLearner holds no state"):
        StatefulRNN(learner)
