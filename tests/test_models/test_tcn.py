"""The family `tcn`: the whole model against torch with copied weights; what it sees."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from models.data.statistics import Statistics
from models.errors import ConfigError
from models.layers.kernels import compiled
from models.tcn import TCN, Config, Model, create, example
from tests.test_models.task_data import sequences

STATISTICS = Statistics(
    mean={"u": np.array([1.0, -2.0]), "y": np.array([0.5])},
    std={"u": np.array([2.0, 0.5]), "y": np.array([3.0])},
    count=100,
)
DATA = sequences(STATISTICS)


@pytest.mark.oracles
@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "mish", "gelu"])
def test_equals_torch(activation, weight_norm):
    torch = pytest.importorskip("torch")
    config = TCN(
        channels=4, depth=3, kernel=3, activation=activation, weight_norm=weight_norm
    )
    functional = torch.nn.functional
    activations = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "mish": functional.mish,
        "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    }
    with jax.enable_x64(True):
        model = Model(config=config, data=DATA, key=jax.random.key(0))
        u = np.random.default_rng(0).normal(size=(3, 40, 2)) * 2 + 1
        got = jax.jit(model)({"u": u})

    def tensor(parameter):
        return torch.tensor(np.asarray(parameter[...]))

    with torch.no_grad():
        x = (torch.tensor(u) - torch.tensor([1.0, -2.0])) / torch.tensor([2.0, 0.5])
        hidden = x.transpose(1, 2)
        for i, layer in enumerate(model.convolutions.layers):
            kernel = tensor(layer.direction).permute(2, 1, 0)
            if weight_norm:
                size = kernel.flatten(1).norm(dim=1)
                kernel = kernel * (tensor(layer.length) / size)[:, None, None]
            padded = functional.pad(hidden, (2 * 2**i, 0))
            change = functional.conv1d(
                padded, kernel, tensor(layer.bias), dilation=2**i
            )
            change = activations[activation](change)
            hidden = hidden + change if i else change
        wanted = hidden.transpose(1, 2) @ tensor(model.head.weight)
        wanted = wanted + tensor(model.head.bias) + x @ tensor(model.skip.weight)
        wanted = wanted * 3.0 + 0.5
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-9, atol=1e-9)


def test_receptive_field():
    assert TCN(depth=6, kernel=3).receptive_field == 127
    assert TCN(depth=1, kernel=2).receptive_field == 2


@pytest.mark.parametrize(
    "key,value",
    [("model.activation", "rellu"), ("model.kernel", 1), ("model.depth", 0)],
)
def test_bad_values_are_refused(key, value):
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        Config.from_flat({key: value})


def test_weight_norm_adds_one_length_per_channel(tmp_path):
    context = example("simulation").context(tmp_path / "data")
    plain = create(example("simulation").config, context)
    normed = create(
        {**example("simulation").config, "model.weight_norm": True}, context
    )
    assert normed.parameters - plain.parameters == 2 * 4  # depth times channels


@pytest.mark.parametrize(
    "activation",
    [
        "mish",
        *(pytest.param(a, marks=pytest.mark.slow) for a in ("relu", "tanh", "gelu")),
    ],
)
def test_kernels_change_training_by_rounding_only(activation, tmp_path, monkeypatch):
    monkeypatch.delenv("HPO_KERNELS", raising=False)
    if compiled.choice() == "off":
        pytest.skip(compiled.reason())
    config = {
        **example("simulation").config,
        "model.activation": activation,
        "model.channels": 12,
        "model.weight_norm": True,
        "model.dropout": 0.2,
        "data.batch_size": 9,
    }
    context = example("simulation").context(tmp_path / "data")

    def trained(choice):
        learner = create(config, context)
        assert learner.kernel_choice == choice
        epochs = learner.fit()
        assert epochs[0].compile_seconds, "the program of the other choice ran"
        return [e.train["loss"] for e in epochs], [e.valid["rmse"] for e in epochs]

    fused = trained(compiled.choice())
    monkeypatch.setenv("HPO_KERNELS", "off")
    pure = trained("off")
    np.testing.assert_allclose(fused, pure, rtol=2e-4)
