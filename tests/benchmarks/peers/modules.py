"""The plain torch modules that our families are compared with; nothing but torch here."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.benchmarks.tools.shapes import Shape


class Recurrent(nn.Module):
    """`torch.nn.GRU` or `LSTM` and a linear head: ``[B, T, 1] → [B, T, 1]``."""

    def __init__(self, *, cell: str, width: int, layers: int) -> None:
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.recurrent = kind(1, width, num_layers=layers, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, u: Tensor) -> Tensor:
        """Simulate from rest."""
        return self.head(self.recurrent(u)[0])


class Convolutional(nn.Module):
    """Causal convolutions, dilation 2^i, residual from the second on, and a linear head.

    Channels come first, as torch's convolutions want them.
    """

    def __init__(self, *, width: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width if i else 1, width, kernel, dilation=2**i)
            for i in range(layers)
        )
        self.head = nn.Conv1d(width, 1, 1)

    def forward(self, u: Tensor) -> Tensor:
        """Simulate from rest."""
        x = u.transpose(1, 2)
        for i, convolution in enumerate(self.convolutions):
            padded = nn.functional.pad(x, ((self.kernel - 1) * 2**i, 0))
            change = torch.relu(convolution(padded))
            x = x + change if i else change
        return self.head(x).transpose(1, 2)


class FreeRunning(nn.Module):
    """A GRU that is fed its own last output, step by step, from rest."""

    def __init__(self, *, width: int, layers: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(2, width, num_layers=layers, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, u: Tensor) -> Tensor:
        """Simulate from rest."""
        state, last, outputs = None, torch.zeros_like(u[:, :1]), []
        for now in u.split(1, dim=1):
            hidden, state = self.recurrent(torch.cat([now, last], -1), state)
            last = self.head(hidden)
            outputs.append(last)
        return torch.cat(outputs, 1)


def build(shape: Shape) -> nn.Module:
    """The module of a shape."""
    if shape.cell == "tcn":
        return Convolutional(
            width=shape.width, layers=shape.layers, kernel=shape.kernel
        )
    if shape.cell == "ar":
        return FreeRunning(width=shape.width, layers=shape.layers)
    return Recurrent(cell=shape.cell, width=shape.width, layers=shape.layers)
