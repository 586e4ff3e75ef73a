"""Trains epochs in torch on request: TSFast's learner, a plain loop, or micro-batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor, nn

from tests.benchmarks.peers.modules import build
from tests.benchmarks.tools.serve import serve
from tests.benchmarks.tools.shapes import INFORMED, P_STATE_ENCODER, Shape

RATE, DECAY = 3e-3, 1e-2
STEP, FREQUENCY = 1.0 / 51_200.0, 50.0  # s; 1/s, of the equation that a PIRNN is told
_epochs: dict[str, Callable[[], Any]] = {}


def prepare(shape: dict[str, Any], data: str, micro_batch: int | None) -> list[str]:
    """Build a fresh model for each way of training a shape; the ways."""
    chosen = Shape(**shape)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    _epochs.clear()
    _epochs["tsfast"] = _tsfast(chosen, Path(data))
    if chosen.known:  # TSFast's own modules: there are no plainer ones
        return list(_epochs)
    _epochs["torch"] = _loop(chosen, Path(data), None)
    if micro_batch is not None:
        _epochs["torch micro"] = _loop(chosen, Path(data), micro_batch)
    return list(_epochs)


def epoch(way: str) -> float:
    """Train one epoch; its seconds."""
    begin = time.perf_counter()
    _epochs[way]()
    return time.perf_counter() - begin


def _tsfast(shape: Shape, data: Path) -> Callable[[], Any]:
    """`Learner.train_one_epoch`, with the files kept in memory."""
    from tsfast.training import Learner
    from tsfast.tsdata.pipeline import create_dls

    loaders = create_dls(
        ["u0"],
        ["y0"],
        data,
        win_sz=shape.window,
        bs=shape.batch_size,
        n_batches_train=shape.batches,
        cache=True,
    )
    if shape.cell == "fransys":
        return _fransys(loaders, shape)
    if shape.cell == "pirnn":
        return _pirnn(loaders, shape)
    learner = Learner(
        build(shape),
        loaders,
        nn.MSELoss(),
        opt_func=torch.optim.AdamW,
        device=torch.device("cpu"),
        show_bar=False,
    )
    learner.setup(lr=RATE)
    return learner.train_one_epoch


def _fransys(loaders: Any, shape: Shape) -> Callable[[], Any]:
    """TSFast's `FranSysLearner` by its factory, without any of its further terms."""
    from tsfast.prediction.fransys import FranSysLearner

    learner = FranSysLearner(
        loaders,
        init_sz=shape.known,
        attach_output=True,
        loss_func=nn.MSELoss(),
        opt_func=torch.optim.AdamW,
        hidden_size=shape.width,
        rnn_layer=shape.layers,
        rnn_type="gru",
        device=torch.device("cpu"),
        show_bar=False,
    )
    learner.setup(lr=RATE)
    return learner.train_one_epoch


def _pirnn(loaders: Any, shape: Shape) -> Callable[[], Any]:
    """TSFast's `PIRNNLearner` by its factory, with the four terms that ours has.

    It is told the same linear equation: ``y' = f v``, ``v' = f (g u - y - 2 d v)``, where v is
    an output that the data has not.
    """
    from tsfast.pinn.aux_losses import (
        CollocationLoss,
        ConsistencyLoss,
        PhysicsLoss,
        TransitionSmoothnessLoss,
    )
    from tsfast.pinn.differentiation import diff1_central
    from tsfast.pinn.pirnn import PIRNNLearner
    from tsfast.pinn.signals import generate_excitation_signals

    def residual(u: Tensor, x: Tensor, _: Any) -> Tensor:
        y, v = x[..., 0], x[..., 1]
        first = diff1_central(y, STEP) - FREQUENCY * v
        second = diff1_central(v, STEP) - FREQUENCY * (0.5 * u[..., 0] - y - 2.0 * v)
        return (first.square().mean() + second.square().mean()) / FREQUENCY**2

    def fresh(batch: int, length: int, device: str) -> Tensor:
        u = generate_excitation_signals(
            batch, length, 1, dt=STEP, device=device, signal_types=["multisine"]
        )
        return torch.cat(
            [u, torch.zeros_like(u)], -1
        )  # its scaler wants the output, too

    learner = PIRNNLearner(
        loaders,
        init_sz=shape.known,
        n_aux_outputs=1,
        attach_output=True,
        loss_func=nn.MSELoss(),
        opt_func=torch.optim.AdamW,
        hidden_size=shape.width,
        rnn_layer=shape.layers,
        rnn_type="gru",
        p_state_encoder=P_STATE_ENCODER,
        aux_losses=[
            PhysicsLoss(residual, n_inputs=1, n_skip=shape.known),
            CollocationLoss(
                fresh, residual, init_mode="state_encoder", output_ranges=[(-1.0, 1.0)]
            ),
            ConsistencyLoss(),
            TransitionSmoothnessLoss(shape.known, dt=STEP),
        ],
        device=torch.device("cpu"),
        show_bar=False,
    )
    assert len(learner.aux_losses) == len(INFORMED), "the terms that ours has"
    learner.setup(lr=RATE)
    return learner.train_one_epoch


def _loop(shape: Shape, data: Path, micro_batch: int | None) -> Callable[[], Any]:
    """The shortest loop there is, with the data in memory and windows gathered from it."""
    with h5py.File(next((data / "train").glob("*.hdf5"))) as file:
        u, y = (torch.from_numpy(file[name][:]).float() for name in ("u0", "y0"))
    offsets = torch.arange(shape.window)
    model = build(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    part = micro_batch or shape.batch_size
    starts_limit = len(u) - shape.window + 1

    def train() -> None:
        order = torch.randint(starts_limit, (shape.batches, shape.batch_size))
        total = 0.0
        for starts in order:
            places = starts[:, None] + offsets
            inputs, targets = u[places][..., None], y[places][..., None]
            for first in range(0, shape.batch_size, part):
                now = slice(first, first + part)
                loss = nn.functional.mse_loss(model(inputs[now]), targets[now])
                (loss * (part / shape.batch_size)).backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()

    return train


def versions() -> dict[str, str]:
    """Of what was measured here."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "tsfast", "numpy")}


if __name__ == "__main__":
    serve({"prepare": prepare, "epoch": epoch, "versions": versions})
