"""This checkout's training against another checkout's, shape by shape, in alternated epochs."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.tools import data, kernels, machine, output
from tests.benchmarks.tools.serve import Worker
from tests.benchmarks.tools.shapes import SHAPES, Shape


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every shape in both checkouts and print the ratios of their epochs' seconds."""
    options = _options(arguments)
    choices = {"pure JAX": "off"}
    if kernels.choice() != "off":
        choices["kernels"] = ""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        place = data.simulated(Path(folder), valid=1, window=200)
        for name in options.shapes:
            cells = [
                _ratio(SHAPES[name], str(place), options, choice)
                for choice in choices.values()
            ]
            lines.append([SHAPES[name].title, *cells])
            print(*lines[-1], sep="  ", file=sys.stderr, flush=True)
    heads = ["this / other, epoch seconds", *choices]
    output.show(f"This checkout against {options.other}", heads, lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="against", description=__doc__)
    parser.add_argument("--other", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--shapes", type=output.kept, default=list(SHAPES))
    return parser.parse_args(arguments)


def _ratio(shape: Shape, place: str, options: argparse.Namespace, choice: str) -> str:
    """The median ratio of neighbouring epochs, with its quartiles."""
    environment: dict[str, str | None] = {
        **machine.ONE_THREAD,
        "JAX_PLATFORMS": "cpu",
        "HPO_KERNELS": choice or None,
    }
    core = machine.cores()[0]
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(
                Worker(
                    python=sys.executable,
                    module="tests.benchmarks.tools.our_worker",
                    core=core,
                    environment=environment,
                    root=root,
                )
            )
            for root in (None, options.other.absolute())
        )
        for worker in (here, there):
            worker.ask("prepare", shape=shape.to_json(), data=place)
            worker.ask("epoch")  # compiles
        ratios = []
        for number in range(options.rounds):
            pair = (here, there) if number % 2 else (there, here)
            seconds = {id(worker): worker.ask("epoch") for worker in pair}
            ratios.append(seconds[id(here)] / seconds[id(there)])
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} … {high:.3f})"


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
