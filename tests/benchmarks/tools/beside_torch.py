"""A model of ours beside the same one in plain torch, epoch by epoch on one core."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import machine, output
from tests.benchmarks.tools.serve import Worker

TORCH, OURS = "torch", "ours"
HEADS = ("model", TORCH, OURS, "compiling", "spin")


def measured(
    title: str,
    *,
    write: Callable[[Path], Path],
    peer: str,
    ours: str,
    rounds: int,
    peer_python: str = sys.executable,
) -> dict[str, Any]:
    """Seconds of an epoch by way, and what compiling took beside.

    Args:
        title: Of the row.
        write: Writes the data into a folder.
        peer: Module of the worker that trains torch's, below `tests.benchmarks`.
        ours: Likewise of ours.
        rounds: Epochs of each way that count; one more warms up.
        peer_python: The interpreter that has torch.

    Returns:
        ``seconds`` (summaries by way), ``ratio`` (torch's median over ours: above 1 we are
        faster), ``ours`` and ``peer`` (parameters; seconds of compiling), ``spin``, ``valid``.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = str(write(Path(folder)))
        workers = {
            TORCH: _worker(stack, peer_python, peer),
            OURS: _worker(stack, sys.executable, ours),
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
        "title": title,
        "seconds": found,
        "ratio": found[TORCH]["median"] / found[OURS]["median"],
        "ours": about[OURS],
        "peer": {**about[TORCH], **versions},
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
    }


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


def _worker(stack: ExitStack, python: str, module: str) -> Worker:
    worker = Worker(
        python=python,
        module=f"tests.benchmarks.{module}",
        core=machine.cores()[0],
        environment={**machine.ONE_THREAD, "JAX_PLATFORMS": "cpu"},
    )
    return stack.enter_context(worker)
