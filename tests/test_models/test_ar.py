"""The family `ar`: sample by sample against numpy, and that no output is its own input."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from models.ar import AR, Config, Model
from models.data.statistics import Statistics
from models.errors import ConfigError
from tests.test_models.task_data import sequences
from tests.test_models.test_fransys import gru, line

STATISTICS = Statistics(
    mean={"u": np.array([1.0, -2.0]), "y": np.array([0.5])},
    std={"u": np.array([2.0, 0.5]), "y": np.array([3.0])},
    count=100,
)
LENGTH = 12


def convolved(stack, inputs):
    """The stack over all of `inputs` in numpy, from nothing; its last output."""
    x = np.asarray(inputs)
    for i, layer in enumerate(stack.layers):
        kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias[...])
        out = np.zeros((len(x), kernel.shape[2]))
        for t in range(len(x)):
            for j in range(len(kernel)):
                past = t - (len(kernel) - 1 - j) * 2**i
                if past >= 0:
                    out[t] += x[past] @ kernel[j]
        change = np.tanh(out + bias)
        x = x + change if i else change
    return x[-1]


@pytest.mark.parametrize("task", ["simulation", "prediction"])
@pytest.mark.parametrize("kind", ["rnn", "tcn"])
def test_equals_its_equation(kind, task):
    random = np.random.default_rng(0)
    u, y = random.normal(size=(1, LENGTH, 2)), random.normal(size=(1, LENGTH, 1))
    known = (np.arange(LENGTH) < 4)[None, :, None]
    given = {"u": u}
    if task == "prediction":
        given |= {"y": np.where(known, y, np.nan), "given.y": known}
    else:
        known = np.zeros_like(known)
    with jax.enable_x64(True):
        config = AR(kind=kind, hidden_size=3, depth=3)
        data = sequences(STATISTICS, task)
        model = Model(config=config, data=data, key=jax.random.key(0))
        found = jax.jit(model)(given)

    x, measured = (u[0] - [1.0, -2.0]) / [2.0, 0.5], (y[0] - 0.5) / 3.0
    last, state, inputs = np.zeros(1), np.zeros(3), []
    for t in range(LENGTH):
        inputs.append(np.concatenate([x[t], last]))
        if kind == "rnn":
            state = gru(model.body.layers.layers[0], inputs[-1], state)
        else:  # the whole past anew, which rings must not need
            state = convolved(model.body.layers, inputs)
        output = line(model.head, state) + line(model.skip, inputs[-1])
        np.testing.assert_allclose(found[0, t], output * 3.0 + 0.5, atol=1e-10)
        last = measured[t] if known[0, t, 0] else output


def test_no_output_is_its_own_input():
    model = Model(
        config=AR(hidden_size=3),
        data=sequences(STATISTICS, "prediction"),
        key=jax.random.key(0),
    )
    run, random = jax.jit(model), np.random.default_rng(1)
    u, y = (random.normal(size=(1, LENGTH, n)).astype(np.float32) for n in (2, 1))
    given = {"u": u, "y": y, "given.y": np.ones((1, LENGTH, 1), bool)}
    changed = y.copy()
    changed[:, 5] += 1
    moved = np.abs(run({**given, "y": changed}) - run(given))[0, :, 0]
    assert moved[:6].max() == 0, "an output is known before it is predicted"
    assert moved[6] > 1e-3


def test_dropout_that_acts_nowhere_is_refused():
    with pytest.raises(ConfigError, match="between two recurrent layers"):
        Config.from_flat({"model.dropout": 0.1})
    Config.from_flat({"model.dropout": 0.1, "model.kind": "tcn"})
