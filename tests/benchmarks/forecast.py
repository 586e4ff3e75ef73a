"""Training of `forecaster` beside the same network of torch's encoder layers.

Seven columns, 96 rows ahead of 96, batch 32, two blocks of 128 numbers and 8 heads. Each way is a
process with one thread on the same core; they train epochs of 40 batches in turn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.tools import beside_torch, machine, output, tables

TITLE = "forecaster, 96 → 96 of 7 columns, batch 32"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(prog="forecast", description=__doc__)
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    options = parser.parse_args(arguments)
    row = beside_torch.measured(
        TITLE,
        write=tables.write,
        peer="peers.torch_tables",
        ours="tools.tables_worker",
        rounds=options.rounds,
        peer_python=options.peer_python,
    )
    rows = {"forecaster": row | {"about": machine.describe()}}
    output.write("forecast", rows, options.out)
    lines = [beside_torch.line(rows["forecaster"])]
    output.show("Seconds of an epoch, one core", beside_torch.HEADS, lines)
