"""The multiscale VAE of whole windows as it is plainly written in torch, with its convolutions."""

from __future__ import annotations

import math
import time
from typing import Any

import h5py
import torch
from torch import Tensor, nn

from tests.benchmarks.tools.serve import serve
from tests.benchmarks.tools.windows import (
    BATCH,
    CHANNELS,
    DECODER,
    DROPOUT,
    ENCODER,
    LATENTS,
    LENGTH,
    RATE,
    SIGNALS,
)

_running: dict[str, Any] = {}


def fitting(kernel: int, length: int) -> int:
    """The largest odd number of taps that is neither above `kernel` nor above `length`."""
    most = min(kernel, length)
    return max(1, most - (most % 2 == 0))


class Encoder(nn.Module):
    """Windows and masks ``[B, 14, 745]`` to a code's mean and log variance ``[B, 64]``."""

    def __init__(self) -> None:
        super().__init__()
        self.branches, width = nn.ModuleList(), 0
        for branch in ENCODER:
            layers, before, steps = [], 2 * SIGNALS, LENGTH
            for kernel, stride, divisor in zip(*branch, strict=True):
                taps, after = fitting(kernel, steps), CHANNELS // divisor
                layers += [
                    nn.Conv1d(before, after, taps, stride, padding=taps // 2),
                    nn.LeakyReLU(0.2),
                    nn.Dropout1d(DROPOUT),
                ]
                before, steps = after, -(-steps // stride)
            self.branches.append(nn.Sequential(*layers))
            width += before * steps
        self.narrow = nn.Linear(width, 2 * CHANNELS)
        self.head = nn.Linear(2 * CHANNELS, 2 * LATENTS)

    def forward(self, inputs: Tensor) -> Tensor:
        """The features."""
        found = torch.cat([b(inputs).flatten(1) for b in self.branches], -1)
        return self.head(nn.functional.leaky_relu(self.narrow(found), 0.2))


class Decoder(nn.Module):
    """Codes ``[B, 32]`` to windows ``[B, 7, 745]``."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [-(-LENGTH // math.prod(strides)) for _, strides, _ in DECODER]
        self.widen = nn.Linear(LATENTS, CHANNELS * sum(self.steps))
        self.branches = nn.ModuleList()
        for branch, steps in zip(DECODER, self.steps, strict=True):
            layers, before = [], CHANNELS
            for kernel, stride, divisor in zip(*branch, strict=True):
                steps *= stride
                taps, after = fitting(kernel, steps), CHANNELS // divisor
                mirrored = nn.ConvTranspose1d(
                    before, after, taps, stride, taps // 2, output_padding=stride - 1
                )
                layers += [mirrored, nn.LeakyReLU(0.2), nn.Dropout1d(DROPOUT)]
                before = after
            layers.append(nn.Conv1d(before, SIGNALS, 3, padding=1))
            self.branches.append(nn.Sequential(*layers))
        self.merge = nn.Conv1d(len(DECODER) * SIGNALS, SIGNALS, 1)

    def forward(self, code: Tensor) -> Tensor:
        """The windows, each branch's cut in the middle and then merged."""
        pieces = self.widen(code).split([CHANNELS * s for s in self.steps], -1)
        found = []
        for branch, piece in zip(self.branches, pieces, strict=True):
            whole = branch(piece.unflatten(1, (CHANNELS, -1)))
            found.append(whole.narrow(2, (whole.shape[2] - LENGTH) // 2, LENGTH))
        return self.merge(torch.cat(found, 1))


class Model(nn.Module):
    """Encoder, draw and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, values: Tensor, seen: Tensor) -> Tensor:
        """The negative bound of windows whose gaps hold 0, in nats for each value seen."""
        features = self.encoder(torch.cat([values, seen], 1))
        mean, log_variance = features.chunk(2, -1)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        errors = (self.decoder(code) - values).square() * seen
        count = seen.sum((0, 2))
        each = torch.log(errors.sum((0, 2)) / count) + math.log(2 * math.pi) + 1
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        return (0.5 * (each * count).sum() + divergence.sum()) / count.sum()


def prepare(data: str) -> dict[str, Any]:
    """Build the model; its parameters."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with h5py.File(data) as file:
        values = torch.from_numpy(file["train/values"][:]).transpose(1, 2).contiguous()
    seen = ~values.isnan()
    count = seen.sum((0, 2), keepdim=True)
    values = (values - values.nansum((0, 2), keepdim=True) / count).nan_to_num()
    values = values / (values.square().sum((0, 2), keepdim=True) / count).sqrt()
    model = Model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    _running.update(model=model, values=values, seen=seen.float(), optimizer=optimizer)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def epoch() -> float:
    """Train one epoch; its seconds."""
    begin = time.perf_counter()
    names = ("model", "values", "seen", "optimizer")
    model, values, seen, optimizer = (_running[name] for name in names)
    total = 0.0
    for batch in torch.randperm(len(values)).split(BATCH):
        loss = model(values[batch], seen[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
    return time.perf_counter() - begin


def versions() -> dict[str, str]:
    """Of what was measured here."""
    return {"torch": torch.__version__}


if __name__ == "__main__":
    serve({"prepare": prepare, "epoch": epoch, "versions": versions})
