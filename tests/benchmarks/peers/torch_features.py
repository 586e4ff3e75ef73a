"""The categorical VQ-VAE as it is plainly written in torch: a loop over categories and levels."""

from __future__ import annotations

import time
from typing import Any

import h5py
import torch
from torch import Tensor, nn

from tests.benchmarks.tools.features import (
    BATCH,
    BITS,
    CODE_SIZES,
    COMMITMENT,
    DECODER,
    EMBEDDING,
    HIDDEN,
    INFORMATIVENESS,
    PARTIAL,
    RATE,
    TOPOGRAPHIC,
    groups,
)
from tests.benchmarks.tools.serve import serve

DECAY, DROPOUT, ROWS = 0.99, 0.1, 64
_running: dict[str, Any] = {}


class Quantizer(nn.Module):
    """Codes that follow exponential averages of their latents."""

    def __init__(self, codes: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.rand(codes, size) * 2 - 1)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codes.clone())

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Codes with the gradient of the latents, and the commitment."""
        apart = self.codes.square().sum(-1) - 2 * latents @ self.codes.T
        tokens = apart.argmin(-1)
        found = self.codes[tokens]
        with torch.no_grad():
            chosen = nn.functional.one_hot(tokens, len(self.codes)).to(latents.dtype)
            self.counts.lerp_(chosen.sum(0), 1 - DECAY)
            self.sums.lerp_(chosen.T @ latents, 1 - DECAY)
            self.codes.copy_(self.sums / self.counts.clamp_min(1e-5)[:, None])
            counted = chosen.sum(0)  # for the report of use, which ours keeps as well
            self.used = counted
        commitment = (latents - found).square().mean()
        return latents + (found - latents).detach(), commitment


class Model(nn.Module):
    """Extractors, projectors, quantizers and decoders by category and level."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = [torch.tensor(own) for own in groups().values()]
        width = sum(map(len, self.columns))
        self.extractors = nn.ModuleList(
            nn.Sequential(
                nn.Linear(len(own), HIDDEN),
                nn.ReLU(),
                nn.Dropout(DROPOUT),
                nn.Linear(HIDDEN, EMBEDDING),
                nn.LayerNorm(EMBEDDING),
            )
            for own in self.columns
        )
        pairs = [
            (g, s, b) for g in groups() for s, b in zip(CODE_SIZES, BITS, strict=True)
        ]
        self.projectors = nn.ModuleList(
            nn.Sequential(nn.Linear(EMBEDDING, s), nn.Dropout(DROPOUT), nn.LayerNorm(s))
            for _, s, _ in pairs
        )
        self.quantizers = nn.ModuleList(Quantizer(2**b, s) for _, s, b in pairs)
        total = len(self.columns) * sum(CODE_SIZES)
        self.decoder = nn.Sequential(
            nn.Linear(total, DECODER),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(DECODER, width),
        )
        self.partial = nn.ModuleList(
            nn.Sequential(nn.Linear(s, PARTIAL), nn.ReLU(), nn.Linear(PARTIAL, width))
            for _, s, _ in pairs
        )

    def forward(self, rows: Tensor) -> Tensor:
        """The loss."""
        levels, place = len(BITS), 0
        latents, codes, commitments = [], [], []
        for extractor, own in zip(self.extractors, self.columns, strict=True):
            vector = extractor(rows[:, own])
            for _ in range(levels):
                latent = self.projectors[place](vector)
                code, commitment = self.quantizers[place](latent)
                latents.append(latent)
                codes.append(code)
                commitments.append(commitment)
                place += 1
        mse = nn.functional.mse_loss
        loss = mse(self.decoder(torch.cat(codes, -1)), rows)
        alone = [mse(d(c), rows) for d, c in zip(self.partial, codes, strict=True)]
        loss = loss + COMMITMENT * torch.stack(commitments).mean()
        loss = loss + INFORMATIVENESS * torch.stack(alone).mean()
        return loss + TOPOGRAPHIC * topography(rows, latents, codes)


def topography(rows: Tensor, latents: list[Tensor], codes: list[Tensor]) -> Tensor:
    """Distances of some rows that do not survive."""

    def mean(pieces: list[Tensor]) -> Tensor:
        return torch.stack([torch.pdist(p[:ROWS]) for p in pieces]).mean(0)

    def r(one: Tensor, other: Tensor) -> Tensor:
        return torch.corrcoef(torch.stack([one, other]))[0, 1]

    before, after = mean(latents), mean(codes)
    return 0.3 * (1 - r(torch.pdist(rows[:ROWS]), before)) + 0.7 * (
        1 - r(before, after)
    )


def prepare(data: str) -> dict[str, Any]:
    """Build the model; its parameters."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with h5py.File(data) as file:
        rows = torch.from_numpy(file["train/values"][:])
    rows = (rows - rows.mean(0)) / rows.std(0)
    model = Model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    _running.update(model=model, rows=rows, optimizer=optimizer)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def epoch() -> float:
    """Train one epoch; its seconds."""
    begin = time.perf_counter()
    model, rows, optimizer = (_running[k] for k in ("model", "rows", "optimizer"))
    total = 0.0
    for batch in torch.randperm(len(rows)).split(BATCH):
        loss = model(rows[batch])
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
