"""Training of `categorical_vqvae` beside plain torch: 649 features, batch 1,024.

Each way is a process with one thread on the same core; they train epochs of four batches in turn.
`python -m tests.benchmarks latent` calls `measured` beside what it has of `vae`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import features, machine, output
from tests.benchmarks.tools.serve import Worker

TORCH, OURS = "torch", "ours"
HEADS = ("model", TORCH, OURS, "compiling", "spin")
TITLE = "categorical_vqvae, 649 features, batch 1,024"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(prog="latent_features", description=__doc__)
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    options = parser.parse_args(arguments)
    row = measured(options.rounds, peer_python=options.peer_python)
    output.write("latent_features", row | {"about": machine.describe()}, options.out)
    output.show("Seconds of an epoch, one core", HEADS, [line(row)])


def line(row: Mapping[str, Any]) -> list[str]:
    """A row of the table with `HEADS`."""
    ours, peer = row["seconds"][OURS]["median"], row["seconds"][TORCH]["median"]
    spins = "/".join(f"{s['ratio']:.2f}" for s in row["spin"])
    return [
        row["title"],
        f"{peer:.3f}",
        f"{ours:.3f} ({row['ratio']:.2f}×)",
        f"{row['ours']['compile_seconds']:.1f}",
        spins + ("" if row["valid"] else " INVALID"),
    ]


def measured(rounds: int, *, peer_python: str = sys.executable) -> dict[str, Any]:
    """Seconds of an epoch of four batches by way, and what compiling took beside.

    Args:
        rounds: Epochs of each way that count; one more warms up.
        peer_python: The interpreter that has torch.

    Returns:
        ``seconds`` (summaries by way), ``ratio`` (torch's median over ours: above 1 we are
        faster), ``ours`` and ``peer`` (parameters; seconds of compiling), ``spin``, ``valid``.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = str(features.write(Path(folder)))
        workers = {
            TORCH: _worker(stack, peer_python, "peers.torch_features"),
            OURS: _worker(stack, sys.executable, "tools.features_worker"),
        }
        about = {way: w.ask("prepare", data=place) for way, w in workers.items()}
        before = machine.wait()
        seconds: dict[str, list[float]] = {way: [] for way in workers}
        for number in range(rounds + 1):
            for way in list(workers) if number % 2 else reversed(list(workers)):
                took = workers[way].ask("epoch")
                if number:
                    seconds[way].append(took)
        after = machine.spin()
        versions = workers[TORCH].ask("versions")
    found = {way: output.summary(each) for way, each in seconds.items()}
    return {
        "title": TITLE,
        "seconds": found,
        "ratio": found[TORCH]["median"] / found[OURS]["median"],
        "ours": about[OURS],
        "peer": {**about[TORCH], **versions},
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
    }


def _worker(stack: ExitStack, python: str, module: str) -> Worker:
    worker = Worker(
        python=python,
        module=f"tests.benchmarks.{module}",
        core=machine.cores()[0],
        environment={**machine.ONE_THREAD, "JAX_PLATFORMS": "cpu"},
    )
    return stack.enter_context(worker)
