"""The family `rnn`: the whole model against torch with copied weights; its configuration."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from models.data.statistics import Statistics
from models.errors import ConfigError
from models.rnn import RNN, Config, Model, create, example
from tests.test_models.task_data import sequences

STATISTICS = Statistics(
    mean={"u": np.array([1.0, -2.0]), "y": np.array([0.5])},
    std={"u": np.array([2.0, 0.5]), "y": np.array([3.0])},
    count=100,
)
DATA = sequences(STATISTICS)


@pytest.mark.oracles
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("cell", ["gru", "lstm", "plain"])
def test_equals_torch(cell, skip):
    torch = pytest.importorskip("torch")
    kinds = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "plain": torch.nn.RNN}
    config = RNN(cell=cell, hidden_size=5, layers=2, skip=skip)
    with jax.enable_x64(True):
        model = Model(config=config, data=DATA, key=jax.random.key(0))
        u = np.random.default_rng(0).normal(size=(3, 30, 2)) * 2 + 1
        got = jax.jit(model)({"u": u})

    def tensor(parameter):
        return torch.tensor(np.asarray(parameter[...]))

    layers = kinds[cell](2, 5, num_layers=2, batch_first=True, dtype=torch.float64)
    head = torch.nn.Linear(5, 1, dtype=torch.float64)
    with torch.no_grad():
        for i, layer in enumerate(model.recurrent.layers):
            getattr(layers, f"weight_ih_l{i}").copy_(tensor(layer.input_weight).T)
            getattr(layers, f"weight_hh_l{i}").copy_(tensor(layer.hidden_weight).T)
            getattr(layers, f"bias_ih_l{i}").copy_(tensor(layer.input_bias))
            hidden_bias = getattr(layers, f"bias_hh_l{i}")
            hidden_bias.zero_()
            if cell == "gru":
                hidden_bias[10:] = tensor(layer.hidden_bias)
        head.weight.copy_(tensor(model.head.weight).T)
        head.bias.copy_(tensor(model.head.bias))
        x = (torch.tensor(u) - torch.tensor([1.0, -2.0])) / torch.tensor([2.0, 0.5])
        wanted = head(layers(x)[0])
        if skip:
            wanted = wanted + x @ tensor(model.skip.weight)
        wanted = wanted * 3.0 + 0.5
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-9, atol=1e-9)


def test_initial_weights_are_spread_as_in_torch():
    model = Model(
        config=RNN(hidden_size=64, layers=1),
        data=DATA,
        key=jax.random.key(0),
    )
    (layer,) = model.recurrent.layers
    for parameter in (layer.input_weight, layer.hidden_weight, layer.input_bias):
        values = np.asarray(parameter[...])
        assert np.abs(values).max() <= 1 / 8
        assert values.std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.15)
    again = Model(
        config=RNN(hidden_size=64, layers=1),
        data=DATA,
        key=jax.random.key(1),
    )
    other = again.recurrent.layers[0].hidden_weight[...]
    assert not np.array_equal(other, layer.hidden_weight[...])


def test_dropout_that_acts_nowhere_is_refused():
    with pytest.raises(ConfigError, match="between two recurrent layers") as caught:
        Config.from_flat({"model.layers": 1, "model.dropout": 0.1})
    assert "model.layers" in caught.value.hint


@pytest.mark.parametrize(
    "key,value",
    [("model.cell", "gur"), ("model.hidden_size", 0), ("model.dropout", 1.0)],
)
def test_bad_values_are_refused(key, value):
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        Config.from_flat({key: value})


def test_dropout_is_traced_and_the_shape_is_not():
    base = Config.from_flat({})
    assert Config.from_flat({"model.dropout": 0.1}).static_signature() == (
        base.static_signature()
    )
    assert Config.from_flat({"model.hidden_size": 33}).static_signature() != (
        base.static_signature()
    )


def test_batches_above_16_are_trained_in_parts(tmp_path):
    context = example("simulation").context(tmp_path / "data")
    small = create(example("simulation").config, context)
    large = create({**example("simulation").config, "data.batch_size": 48}, context)
    assert small.problem.micro_batch is None
    assert large.problem.micro_batch == 16
