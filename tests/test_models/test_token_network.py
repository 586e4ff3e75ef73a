"""The transformer over tokens: what it makes of tokens without inputs, and of too many."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.layers.initialization import initialize
from models.layers.token_network import InputFeatures
from models.layers.tokens import MISSING


def test_a_token_without_inputs_gets_a_learned_vector():
    """Whatever the sentinel, in place of features of it; and it is told what to become."""
    layer = InputFeatures(inputs=2, features=3, size=4, name="model.input_scale")
    initialize(layer, jax.random.key(0))
    known = np.array([[0.5, -1.0], [1.5, 2.0]], np.float32)
    inputs = jnp.asarray(np.stack([known[0], [MISSING, MISSING], known[1]])[None])
    found = np.asarray(layer(inputs))[0]
    np.testing.assert_array_equal(found[1], layer.missing[...])
    waves = 0.3 * 2 * np.pi * np.random.default_rng(0).normal(size=(2, 3))
    angle = known @ waves
    seen = np.concatenate([known, np.cos(angle), np.sin(angle)], axis=1)
    wanted = seen @ np.asarray(layer.map.weight[...]) + np.asarray(layer.map.bias[...])
    np.testing.assert_allclose(found[[0, 2]], wanted, rtol=1e-4, atol=1e-5)

    graph, state = nnx.split(layer)
    slope = jax.grad(lambda state: jnp.sum(nnx.merge(graph, state)(inputs)))(state)
    np.testing.assert_array_equal(slope["missing"][...], np.ones(4))
