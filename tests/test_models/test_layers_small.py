"""Dropout, standardization, traced values and the recurrent stack."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.errors import DataError
from models.layers.dropout import dropout
from models.layers.initialization import initialize
from models.layers.normalization import Standardize, Statistic
from models.layers.stack import RecurrentStack, micro_batch
from models.layers.traced import Traced


def test_dropout_of_zero_is_exact_identity_even_when_traced():
    x = jax.random.normal(jax.random.key(0), (4, 7, 5))
    got = jax.jit(dropout)(x, jnp.float32(0), jax.random.key(1))
    assert np.array_equal(got, x)
    assert dropout(x, jnp.float32(0.5), None) is x


def test_dropout_drops_whole_channels_and_keeps_the_mean():
    x = jnp.ones((2000, 3, 10))
    got = np.asarray(jax.jit(dropout)(x, jnp.float32(0.3), jax.random.key(1)))
    assert (got == got[:, :1]).all()  # constant over time
    assert set(np.unique(got.round(4))) == {0, np.float32(1 / 0.7).round(4)}
    assert got.mean() == pytest.approx(1, abs=0.02)  # 20,000 masks: 4 sigma = 0.019


def test_dropout_rate_does_not_recompile():
    traces = []

    @jax.jit
    def run(x, rate, key):
        traces.append(1)
        return dropout(x, rate, key)

    x = jnp.ones((4, 2, 8))
    results = [run(x, jnp.float32(r), jax.random.key(0)) for r in (0.0, 0.2, 0.9)]
    assert len(traces) == 1
    assert len({float(r.sum()) for r in results}) == 3


def test_standardize_there_and_back():
    layer = Standardize(mean=[1.0, -2.0], std=[3.0, 0.5])
    x = jax.random.normal(jax.random.key(0), (2, 5, 2))
    np.testing.assert_allclose(layer(x)[..., 1], (x[..., 1] + 2) / 0.5, rtol=1e-6)
    np.testing.assert_allclose(layer.inverse(layer(x)), x, rtol=1e-5, atol=1e-6)


def test_statistics_are_no_parameters():
    layer = Standardize(mean=[0.0], std=[1.0])
    assert not jax.tree.leaves(nnx.state(layer, nnx.Param))
    assert len(jax.tree.leaves(nnx.state(layer, Statistic))) == 2


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_standardize_refuses_impossible_deviations(std):
    with pytest.raises(DataError, match="positive"):
        Standardize(mean=[0.0], std=[std])


def test_traced_carries_the_name_it_follows():
    value = Traced(0.25, name="model.dropout")
    assert value.get_metadata()["name"] == "model.dropout"
    assert value[...].dtype == jnp.float32


@pytest.mark.parametrize("cell", ["gru", "lstm", "plain"])
def test_stack_in_two_halves_is_the_whole(cell):
    stack = RecurrentStack(
        cell=cell,
        inputs=2,
        hidden_size=4,
        layers=2,
        dropout_name="model.dropout",
    )
    initialize(stack, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, 10, 2))
    run = jax.jit(stack)
    whole, final = run(x)
    left, middle = run(x[:, :4])
    right, end = run(x[:, 4:], middle)
    np.testing.assert_allclose(
        jnp.concatenate([left, right], 1), whole, rtol=1e-5, atol=1e-6
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), end, final
    )


def test_dropout_acts_between_recurrent_layers_only():
    def run(layers, rate):
        stack = RecurrentStack(
            cell="gru",
            inputs=1,
            hidden_size=8,
            layers=layers,
            dropout_name="model.dropout",
        )
        initialize(stack, jax.random.key(0))
        stack.rate[...] = jnp.float32(rate)
        return jax.jit(stack)(jnp.ones((2, 5, 1)), key=jax.random.key(2))[0]

    assert np.array_equal(run(1, 0.0), run(1, 0.5))
    assert not np.array_equal(run(2, 0.0), run(2, 0.5))


@pytest.mark.parametrize(
    "batch_size,expected", [(8, None), (16, None), (64, 16), (40, None)]
)
def test_recurrent_micro_batch(batch_size, expected):
    assert micro_batch(batch_size) == expected


def test_initial_weights_come_from_the_key_alone():
    def draw(seed):
        stack = RecurrentStack(
            cell="gru", inputs=1, hidden_size=4, layers=2, dropout_name="model.dropout"
        )
        initialize(stack, jax.random.key(seed))
        return jax.tree.leaves(nnx.state(stack, nnx.Param))

    first, again, other = draw(0), draw(0), draw(1)
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
        assert 0 < np.abs(a).max() <= 0.5  # the bound is 1 over the root of 4
