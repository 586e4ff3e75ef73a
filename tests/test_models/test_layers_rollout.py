"""Rollouts and encoders against torch with copied weights; handovers against numpy loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.layers.encoder import Encoder, SequenceEncoder, measured
from models.layers.handover import handover
from models.layers.initialization import initialize
from models.layers.rollout import Rollout

CELLS = {"gru": "GRU", "lstm": "LSTM", "plain": "RNN"}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def drawn(make):
    """A module with weights in double precision, made without a compiled program for each."""

    @jax.jit
    def build():
        module = make()
        initialize(module, jax.random.key(0))
        return nnx.split(module)[1]

    graph = nnx.split(nnx.eval_shape(make))[0]
    return nnx.merge(graph, build())


def rollout(cell="gru", *, layers=2, skip=False):
    return drawn(
        lambda: Rollout(
            cell=cell,
            inputs=2,
            outputs=3,
            hidden_size=4,
            layers=layers,
            dropout_name="model.dropout",
            skip=skip,
        )
    )


def torch_twin(torch, stack, cell, inputs, size):
    """torch's layers with the weights of a `RecurrentStack`."""
    kind = getattr(torch.nn, CELLS[cell])
    twin = kind(inputs, size, len(stack.layers), batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        for i, layer in enumerate(stack.layers):
            for ours, theirs in (("input", "ih"), ("hidden", "hh")):
                weight = np.asarray(getattr(layer, f"{ours}_weight")[...])
                getattr(twin, f"weight_{theirs}_l{i}").copy_(torch.tensor(weight.T))
            bias = np.asarray(layer.input_bias[...])
            getattr(twin, f"bias_ih_l{i}").copy_(torch.tensor(bias))
            if cell == "gru":
                bias = np.asarray(layer.hidden_bias[...])
                getattr(twin, f"bias_hh_l{i}")[2 * size :] = torch.tensor(bias)
    return twin


@pytest.mark.oracles
@pytest.mark.parametrize("cell,skip", [("gru", True), ("lstm", False), ("plain", True)])
def test_a_rollout_equals_torch_from_the_same_state(cell, skip):
    torch = pytest.importorskip("torch")
    module = rollout(cell, skip=skip)
    random = np.random.default_rng(0)
    u, start = random.normal(size=(5, 9, 2)), random.normal(size=(5, module.state_size))
    found = jax.jit(module)(u, start)

    twin = torch_twin(torch, module.recurrent, cell, 2, 4)
    given = torch.tensor(start.reshape(5, 2, module.parts, 4)).permute(2, 1, 0, 3)
    given = given.contiguous()
    state = given[0] if module.parts == 1 else (given[0], given[1])
    hidden, final = twin(torch.tensor(u), state)
    wanted = hidden.detach().numpy() @ np.asarray(module.head.weight[...])
    wanted = wanted + np.asarray(module.head.bias[...])
    if skip:
        wanted = wanted + u @ np.asarray(module.skip.weight[...])
    np.testing.assert_allclose(found.y, wanted, atol=1e-12)
    np.testing.assert_allclose(found.hidden[..., 4:], hidden.detach(), atol=1e-12)
    parts = final if module.parts == 2 else (final,)
    ends = torch.stack(parts, 1).permute(2, 0, 1, 3).reshape(5, -1).detach()
    np.testing.assert_allclose(found.final, ends, atol=1e-12)
    assert len(module.states(start)) == 2


def test_a_rollout_goes_on_where_it_stopped():
    module = rollout("lstm")
    run = jax.jit(module)
    u = jnp.asarray(np.random.default_rng(1).normal(size=(2, 12, 2)))
    whole = run(u, jnp.zeros((2, module.state_size)))
    first = run(u[:, :6], jnp.zeros((2, module.state_size)))
    second = run(u[:, 6:], first.final)
    np.testing.assert_allclose(second.y, whole.y[:, 6:], atol=1e-12)
    np.testing.assert_allclose(second.final, whole.final, atol=1e-12)
    last = module.hidden(whole.final[:, None])[:, 0]
    np.testing.assert_allclose(last, whole.hidden[:, -1], atol=1e-12)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_one_step_from_every_state_gives_the_next_one(cell):
    module = rollout(cell, skip=True)
    u = np.random.default_rng(2).normal(size=(3, 4, 2))

    @jax.jit
    def both(u):
        """Every state by a rollout of its own, and the steps from them."""
        flat = jnp.stack([module(u[:, :t]).final for t in (1, 2, 3)], axis=1)
        whole = module(u)
        return module.one_step(u[:, 1:], flat), flat, whole

    found, flat, whole = both(u)
    np.testing.assert_allclose(found.y, whole.y[:, 1:], atol=1e-12)
    np.testing.assert_allclose(found.hidden, whole.hidden[:, 1:], atol=1e-12)
    np.testing.assert_allclose(found.final[:, :-1], flat[:, 1:], atol=1e-12)
    np.testing.assert_allclose(found.final[:, -1], whole.final, atol=1e-12)


@pytest.mark.oracles
def test_a_recurrent_encoder_equals_torch():
    torch = pytest.importorskip("torch")
    config = Encoder(hidden_size=5, layers=2)
    module = drawn(
        lambda: SequenceEncoder(
            config=config, cell="gru", inputs=4, state_size=6, dropout_name="d"
        )
    )
    x = np.random.default_rng(3).normal(size=(2, 8, 4))
    hidden, _ = torch_twin(torch, module.layers, "gru", 4, 5)(torch.tensor(x))
    wanted = hidden.detach().numpy() @ np.asarray(module.head.weight[...])
    wanted = wanted + np.asarray(module.head.bias[...])
    np.testing.assert_allclose(jax.jit(module)(x), wanted, atol=1e-12)


def test_a_convolutional_encoder_sees_its_taps_and_nothing_later():
    config = Encoder(kind="tcn", hidden_size=5, depth=2)
    module = drawn(
        lambda: SequenceEncoder(
            config=config, cell="gru", inputs=4, state_size=6, dropout_name="d"
        )
    )
    x = np.random.default_rng(4).normal(size=(1, 15, 4))
    changed = x.copy()
    changed[:, 5] += 1
    run = jax.jit(module)
    moved = np.abs(np.asarray(run(changed)) - np.asarray(run(x))).max(-1)[0]
    assert (moved[5:12] > 1e-6).all()  # 1 + 2·1 + 2·2 samples
    assert moved[:5].max() == moved[12:].max() == 0


def test_what_is_not_known_is_not_read():
    u, y = jnp.ones((1, 3, 2)), jnp.asarray([[[1.0], [jnp.nan], [3.0]]])
    mask = jnp.asarray([[[True], [False], [True]]])
    wanted = [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 3, 1]]
    np.testing.assert_array_equal(measured(u, y, mask)[0], wanted)


@pytest.mark.parametrize("certain", [True, False])
def test_a_handover_takes_over_behind_the_last_known_output(certain):
    random = np.random.default_rng(5)
    states, u = random.normal(size=(3, 7, 2)), random.normal(size=(3, 7, 1))
    lengths = [4, 4, 4] if certain else [1, 6, 3]
    mask = np.arange(7)[None, :, None] < np.asarray(lengths)[:, None, None]
    mask[1, 2] = False  # a gap before the last known output changes nothing

    @jax.jit
    def parted(mask, states, u):
        found = handover(mask, known=4 if certain else None)
        behind = found.behind(u)
        joined = found.joined(states, 10 * jnp.repeat(behind, 2, axis=-1))
        return found.start(states), behind, joined

    start, behind, joined = parted(mask, states, u)
    for row, known in enumerate(lengths):
        np.testing.assert_array_equal(start[row], states[row, known - 1])
        np.testing.assert_array_equal(behind[row, : 7 - known], u[row, known:])
        np.testing.assert_array_equal(joined[row, :known], states[row, :known])
        np.testing.assert_array_equal(
            joined[row, known:], 10 * np.repeat(u[row, known:], 2, axis=-1)
        )


def test_a_row_without_known_outputs_begins_at_its_second_sample():
    found = handover(jnp.zeros((2, 5, 1), bool), known=None)
    np.testing.assert_array_equal(found.first, [1, 1])
