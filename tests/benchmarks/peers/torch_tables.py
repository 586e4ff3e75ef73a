"""The inverted transformer as it is plainly written in torch, with its encoder layers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.tools.serve import serve
from tests.benchmarks.tools.tables import (
    BATCH,
    BATCHES,
    BLOCKS,
    DROPOUT,
    HEADS,
    HIDDEN,
    HORIZON,
    LOOK_BACK,
    RATE,
    ROWS,
    SIZE,
)

_running: dict[str, Any] = {}


class Model(nn.Module):
    """Columns as tokens, encoder layers, horizons; windows in units of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(LOOK_BACK, SIZE)
        self.dropout = nn.Dropout(DROPOUT)
        layer = nn.TransformerEncoderLayer(
            SIZE, HEADS, HIDDEN, DROPOUT, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, BLOCKS, norm=nn.LayerNorm(SIZE))
        self.head = nn.Linear(SIZE, HORIZON)

    def forward(self, past: Tensor) -> Tensor:
        """Look-backs ``[B, L, C]`` to horizons ``[B, H, C]``."""
        mean = past.mean(1, keepdim=True)
        std = torch.sqrt(past.var(1, keepdim=True, unbiased=False) + 1e-5)
        tokens = self.dropout(self.read(((past - mean) / std).transpose(1, 2)))
        found = self.head(self.encoder(tokens)).transpose(1, 2)
        return found * std + mean


def prepare(data: str) -> dict[str, Any]:
    """Build the model; its parameters."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    values = np.loadtxt(data, delimiter=",", skiprows=1)[: round(0.7 * ROWS)]
    values = torch.from_numpy((values - values.mean(0)) / values.std(0)).float()
    model = Model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    windows = values.unfold(0, LOOK_BACK + HORIZON, 1).transpose(1, 2)
    _running.update(model=model, windows=windows, optimizer=optimizer)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def epoch() -> float:
    """Train one epoch; its seconds."""
    begin = time.perf_counter()
    model, windows, optimizer = (
        _running[name] for name in ("model", "windows", "optimizer")
    )
    for batch in torch.randperm(len(windows))[: BATCH * BATCHES].split(BATCH):
        rows = windows[batch]
        error = (model(rows[:, :LOOK_BACK]) - rows[:, LOOK_BACK:]).abs().mean()
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - begin


def versions() -> dict[str, str]:
    """Of what was measured here."""
    return {"torch": torch.__version__}


if __name__ == "__main__":
    serve({"prepare": prepare, "epoch": epoch, "versions": versions})
