"""The benchmarks compare the same work: equal loss and gradients at equal weights."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from msgspec import structs

from hpo.ledger.events import CheckpointEvent, EpochEvent, Event, Paused, Started
from models import vae
from models.data.statistics import Statistics
from models.layers.initialization import initialize
from models.layers.window_coder import WindowCoder
from tests.benchmarks import pause
from tests.benchmarks.tools import data
from tests.benchmarks.tools.machine import Spin
from tests.benchmarks.tools.shapes import SHAPES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    generator = np.random.default_rng(0)
    train = generator.normal(size=(2_000, 2)) * (2.0, 0.5) + (1.0, -3.0)
    place = tmp_path_factory.mktemp("data")
    return data.write(place, train=train, valid=generator.normal(size=(1, 200, 2)))


def gradients(learner, batch):
    """Loss and gradients of one step of our engine, micro-batches and all.

    The first moment after one step is the gradient times 1 - b1, once nothing is clipped.
    """
    state = learner.state
    hyper = {**state.hyper, "optimizer.clip_norm": np.float32(1e9)}
    after, values = jax.jit(learner.runner.engine.step)(
        state._replace(hyper=hyper), batch
    )
    moment = optax.tree_utils.tree_get(after.optimizer, "mu")
    _, unravel = jax.flatten_util.ravel_pytree(state.params)
    return values["loss"], unravel(moment / (1 - state.hyper["optimizer.b1"]))


def pairs(shape, module, ours):
    """Torch's parameters and ours that stand for the same weights, ours in torch's layout.

    Biases that torch keeps twice are zero in the one that ours does not have.
    """
    head = module.head.weight  # a convolution with one tap in the TCN
    yield (
        (head[..., 0] if shape.cell == "tcn" else head),
        np.asarray(ours["head"]["weight"]).T,
    )
    yield module.head.bias, ours["head"]["bias"]
    if shape.cell == "tcn":
        for i, convolution in enumerate(module.convolutions):
            layer = ours["convolutions"]["layers"][i]
            yield convolution.weight, np.transpose(layer["direction"], (2, 1, 0))
            yield convolution.bias, layer["bias"]
        return
    for i in range(shape.layers):
        stack = ours["body"]["layers"] if shape.cell == "ar" else ours["recurrent"]
        layer = stack["layers"][i]
        yield getattr(module.recurrent, f"weight_ih_l{i}"), layer["input_weight"].T
        yield getattr(module.recurrent, f"weight_hh_l{i}"), layer["hidden_weight"].T
        yield getattr(module.recurrent, f"bias_ih_l{i}"), layer["input_bias"]
        second = getattr(module.recurrent, f"bias_hh_l{i}")
        if shape.cell in ("gru", "ar"):
            yield second[2 * shape.width :], layer["hidden_bias"]


@pytest.mark.slow
@pytest.mark.oracles
@pytest.mark.parametrize("name", [n for n in SHAPES if not SHAPES[n].known])
def test_the_same_loss_and_gradients_as_the_peer(name, folder):
    torch = pytest.importorskip("torch")
    from tests.benchmarks.peers import modules
    from tests.benchmarks.tools.ours import learner as make

    shape = SHAPES[name]
    learner = make(shape, str(folder))
    state, feed = learner.state, learner.feed
    batch = feed.batch(feed.arrays, feed.order(jax.random.key(1))[0])
    loss, found = gradients(learner, batch)

    module = modules.build(shape)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        for parameter, value in pairs(shape, module, state.params):
            parameter.copy_(torch.tensor(np.asarray(value)))
    scales = {role: state.variables[f"normalize_{role}"] for role in ("u", "y")}
    u, y = (
        torch.tensor(
            (np.asarray(batch[role]) - np.asarray(scale["mean"]))
            / np.asarray(scale["std"])
        )
        for role, scale in scales.items()
    )
    wanted = torch.nn.functional.mse_loss(module(u), y)
    wanted.backward()

    assert float(loss) == pytest.approx(wanted.item(), rel=1e-5)
    for parameter in module.parameters():
        parameter.data = parameter.grad  # so that `pairs` yields gradients
    both = [
        (np.ravel(value), parameter.detach().numpy().ravel())
        for parameter, value in pairs(shape, module, found)
    ]
    ours, theirs = (np.concatenate(side) for side in zip(*both, strict=True))
    # A few of a batch's millions of relu inputs are zero up to rounding, and count or not.
    bound = 1e-4 if shape.cell == "tcn" else 1e-5
    assert np.linalg.norm(ours - theirs) <= bound * np.linalg.norm(theirs)


@pytest.mark.slow
@pytest.mark.oracles
def test_the_peer_of_whole_windows_is_the_same_network():
    """Features and windows at equal weights; torch flattens channels before times."""
    torch = pytest.importorskip("torch")
    from tests.benchmarks.peers.torch_windows import Model
    from tests.benchmarks.tools.windows import CHANNELS, LATENTS, LENGTH, SIGNALS

    model, coder = Model().eval(), our_window_coder()
    values = np.random.default_rng(0).normal(size=(2, LENGTH, SIGNALS)).astype("f4")
    shown = np.random.default_rng(1).random(values.shape) < 0.9
    filled = np.where(shown, values, 0).astype("f4")
    code = np.random.default_rng(2).normal(size=(2, LATENTS)).astype("f4")

    def copied(parameter, value):
        with torch.no_grad():
            parameter.copy_(torch.tensor(np.asarray(value)))

    def layers(theirs, ours, axes):
        plain = [m for m in theirs if isinstance(m, torch.nn.modules.conv._ConvNd)]
        for other, own in zip(plain, ours, strict=True):
            copied(other.weight, np.transpose(own.kernel[...], axes))
            copied(other.bias, own.bias[...])

    def turned(weight, lengths):
        """Rows of branches ``[time · channel]`` as ``[channel · time]``."""
        pieces = np.split(weight, np.cumsum([CHANNELS * n for n in lengths])[:-1])
        both = zip(pieces, lengths, strict=True)
        return np.concatenate(
            [
                p.reshape(n, CHANNELS, -1).swapaxes(0, 1).reshape(len(p), -1)
                for p, n in both
            ]
        )

    encoder, reader = model.encoder, coder.reader
    for theirs, ours in zip(encoder.branches, reader.branches, strict=True):
        layers(theirs, ours, (2, 1, 0))
    lengths = [94, 47, 12, 47]
    copied(encoder.narrow.weight, turned(np.asarray(reader.narrow.weight), lengths).T)
    copied(encoder.head.weight, np.asarray(reader.head.weight).T)
    decoder, writer = model.decoder, coder.writer
    widen = np.asarray(writer.widen.weight).T
    copied(decoder.widen.weight, turned(widen, decoder.steps))
    for branch, ours, last in zip(
        decoder.branches, writer.branches, writer.last, strict=True
    ):
        layers(branch[:-1], ours, (1, 2, 0))
        layers(branch[-1:], [last], (2, 1, 0))
    copied(decoder.merge.weight[..., 0], np.asarray(writer.merge.weight).T)
    for theirs, ours in (
        (encoder.narrow, reader.narrow),
        (encoder.head, reader.head),
        (decoder.merge, writer.merge),
    ):
        copied(theirs.bias, ours.bias)
    bias = np.asarray(writer.widen.bias)[:, None]
    copied(decoder.widen.bias, turned(bias, decoder.steps)[:, 0])

    inputs = np.concatenate([filled, shown], -1).astype("f4").swapaxes(1, 2)
    with torch.no_grad():
        features = encoder(torch.tensor(inputs)).numpy()
        written = decoder(torch.tensor(code)).numpy().swapaxes(1, 2)
    np.testing.assert_allclose(coder.read(values, shown), features, atol=1e-4)
    np.testing.assert_allclose(coder.write(code).values, written, atol=1e-4)
    mine = sum(p.numel() for p in model.parameters())
    assert mine == sum(v.size for v in jax.tree.leaves(nnx.state(coder, nnx.Param)))


def our_window_coder():
    """The coder of the benchmark's configuration, for standardized windows."""
    from tests.benchmarks.tools.windows import LENGTH, SIGNALS
    from tests.benchmarks.tools.windows_worker import CONFIG

    config = vae.Config.from_flat(CONFIG)
    units = {"values": np.ones(SIGNALS)}
    zeros = {"values": np.zeros(SIGNALS)}
    coder = WindowCoder(
        config=config.coder,
        role="values",
        length=LENGTH,
        features=2 * config.latent.size,
        code=config.latent.size,
        statistics=Statistics(mean=zeros, std=units, count=10),
    )
    initialize(coder, jax.random.key(0))
    return coder


def test_the_runner_lists_every_benchmark(capsys, monkeypatch):
    from tests.benchmarks import __main__ as runner

    monkeypatch.setattr("sys.argv", ["benchmarks"])
    with pytest.raises(SystemExit) as ended:
        runner.main()
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"throughput", "whole_job", "startup", "overhead", "lanes", "pause"} <= {
        line.split()[0] for line in lines
    }


def test_a_machine_that_shares_its_cores_fails_the_gate():
    whole, half = Spin(alone=100, both=198), Spin(alone=100, both=130)
    assert whole.valid and not half.valid
    assert half.to_json()["ratio"] == 1.3


def test_importing_is_the_union_of_what_processes_say():
    from tests.benchmarks.startup import _within

    busy = [(0.0, 2.0), (1.0, 3.0), (5.0, 9.0)]
    assert _within(busy, 0.5, 6.0) == pytest.approx(2.5 + 1.0)


def test_a_pause_costs_what_steps_take_beside_training():
    """Plain steps take 2 ms beside training, saving 5, going on 7 and 4 of compiling."""
    events: list[Event] = []
    now = 0.0

    def add(event, milliseconds=0.0):
        nonlocal now
        now += milliseconds / 1000
        events.append(structs.replace(event, n=len(events) + 1, time=now))

    for trial in (1, 2):
        for attempt, numbers in ((1, (1,)), (2, (2, 3)), (3, (4, 5))):
            why = "promoted" if attempt > 1 else "first"
            add(Started(trial=trial, attempt=attempt, attempt_of=why, epoch=0))
            for place, number in enumerate(numbers):
                resumed, saves = place == 0 and attempt > 1, number in (1, 3)
                beside = 40 if number == 1 else 2 + 5 * saves + 7 * resumed
                compiling = 4.0 if resumed or number == 1 else 0.0
                report = EpochEvent(
                    trial=trial,
                    attempt=attempt,
                    epoch=number,
                    train={},
                    valid={},
                    seconds=0.1,
                    compile_seconds=compiling / 1000,
                )
                add(report, 100 + beside + compiling)
                if saves:
                    add(CheckpointEvent(trial=trial, attempt=attempt, epoch=number))
            if attempt < 3:
                add(Paused(trial=trial, attempt=attempt, epoch=numbers[-1], rule="r"))
    found = pause.costs(events)
    assert found["plain"]["count"] == 2 and found["pauses"] == 4
    assert found["saving_ms"] == pytest.approx(5.0)
    assert found["going_on_ms"] == pytest.approx(7.0 + 4.0)
    assert found["pause_ms"] == pytest.approx(16.0)
