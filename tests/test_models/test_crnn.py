"""The family `crnn`: the pieces are joined in the right order; dropout reaches both."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.crnn import CRNN, Config, Model
from models.data.statistics import Statistics
from models.errors import ConfigError
from tests.test_models.task_data import sequences

STATISTICS = Statistics(
    mean={"u": np.array([1.0]), "y": np.array([0.5, 0.0])},
    std={"u": np.array([2.0]), "y": np.array([3.0, 0.1])},
    count=100,
)
DATA = sequences(STATISTICS)


def build(**config):
    return Model(
        config=CRNN(channels=4, depth=2, hidden_size=3, **config),
        data=DATA,
        key=jax.random.key(0),
    )


@pytest.mark.oracles
def test_equals_torch():
    torch = pytest.importorskip("torch")
    with jax.enable_x64(True):
        model = build(cell="lstm", activation="relu")
        u = np.random.default_rng(0).normal(size=(2, 30, 1)) * 2 + 1
        got = jax.jit(model)({"u": u})

    def tensor(parameter):
        return torch.tensor(np.asarray(parameter[...]))

    (layer,) = model.recurrent.layers
    recurrent = torch.nn.LSTM(4, 3, batch_first=True, dtype=torch.float64)
    functional = torch.nn.functional
    with torch.no_grad():
        recurrent.weight_ih_l0.copy_(tensor(layer.input_weight).T)
        recurrent.weight_hh_l0.copy_(tensor(layer.hidden_weight).T)
        recurrent.bias_ih_l0.copy_(tensor(layer.input_bias))
        recurrent.bias_hh_l0.zero_()
        x = (torch.tensor(u) - 1.0) / 2.0
        hidden = x.transpose(1, 2)
        for i, convolution in enumerate(model.convolutions.layers):
            change = functional.conv1d(
                functional.pad(hidden, (2 * 2**i, 0)),
                tensor(convolution.direction).permute(2, 1, 0),
                tensor(convolution.bias),
                dilation=2**i,
            ).relu()
            hidden = hidden + change if i else change
        outputs = recurrent(hidden.transpose(1, 2))[0]
        wanted = outputs @ tensor(model.head.weight) + tensor(model.head.bias)
        wanted = wanted + x @ tensor(model.skip.weight)
        wanted = wanted * torch.tensor([3.0, 0.1], dtype=torch.float64)
        wanted = wanted + torch.tensor([0.5, 0.0], dtype=torch.float64)
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-9, atol=1e-9)


def test_dropout_acts_with_a_key_only():
    model = build(layers=2)
    u = jnp.ones((2, 10, 1))
    for stack in (model.convolutions, model.recurrent):
        stack.rate[...] = jnp.float32(0.5)
    noisy = jax.jit(lambda key: model({"u": u}, key=key))
    still = jax.jit(model)({"u": u})
    first, second = noisy(jax.random.key(1)), noisy(jax.random.key(2))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, still)


def test_both_stacks_follow_one_key():
    model = build(layers=2)
    names = {
        s.rate.get_metadata()["name"] for s in (model.convolutions, model.recurrent)
    }
    assert names == {"model.dropout"}
    assert "model.dropout" in Config.traced_keys()


def test_bad_values_are_refused():
    with pytest.raises(ConfigError, match="near|cell|one of"):
        Config.from_flat({"model.cell": "transformer"})
