"""Training of `vae` and `categorical_vqvae` beside plain torch, and what compiling takes.

`vae` codes windows of 745 × 7 values with gaps in 32 latents (batch 64), `categorical_vqvae` rows
of 649 features in six groups (batch 1,024). Each way is a process with one thread on the same
core; they train epochs of four batches in turn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import beside_torch, features, machine, output, windows

MODELS: dict[str, dict[str, Any]] = {
    "vae": {
        "title": "vae, windows 745 × 7, batch 64",
        "write": windows.write,
        "peer": "peers.torch_windows",
        "ours": "tools.windows_worker",
    },
    "categorical_vqvae": {
        "title": "categorical_vqvae, 649 features, batch 1,024",
        "write": features.write,
        "peer": "peers.torch_features",
        "ours": "tools.features_worker",
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(prog="latent", description=__doc__)
    parser.add_argument("--models", type=output.kept, default=list(MODELS))
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    options = parser.parse_args(arguments)
    rows = output.read("latent", options.out)
    for name in options.models:
        row = beside_torch.measured(
            **MODELS[name], rounds=options.rounds, peer_python=options.peer_python
        )
        rows[name] = row | {"about": machine.describe()}
        output.write("latent", rows, options.out)
    lines = [beside_torch.line(rows[name]) for name in MODELS if name in rows]
    output.show("Seconds of an epoch, one core", beside_torch.HEADS, lines)
