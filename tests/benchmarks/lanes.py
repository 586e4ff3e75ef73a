"""Lanes of one static signature in one program, and trials side by side on one GPU.

1, 2, 4 … 64 trials that differ in traced values train through `fit_lanes`; the figure is
windows a second of all lanes together. On a GPU 1, 2 and 4 processes then train one trial
each, every one with its fraction of the memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hpo.worker.environment import compose, gpus, worker_environment
from tests.benchmarks.tools import data, machine, output
from tests.benchmarks.tools.serve import Worker
from tests.benchmarks.tools.shapes import SHAPES

LANES = (1, 2, 4, 8, 16, 32, 64)
SHARES = (1, 2, 4)  # trials on one GPU
_MODULE = "tests.benchmarks.tools.lane_worker"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, keep the figures."""
    options = _options(arguments)
    before = machine.wait()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        place = data.simulated(Path(folder), valid=1, window=200)
        lanes = {name: _lanes(name, str(place), options) for name in options.shapes}
        shares = _shares(options.shapes[0], str(place), options.rounds)
    after = machine.spin()
    content = {
        "about": machine.describe(),
        "device": "gpu" if gpus() else "cpu",
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
        "lanes": lanes,
        "shares": shares,
    }
    output.write("lanes", content, options.out)
    _show(content)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lanes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=LANES[-1], help="lanes at most")
    parser.add_argument(
        "--shapes",
        type=lambda text: text.split(","),
        default=["gru-32", "tcn-6"],
        help=f"of {','.join(SHAPES)}",
    )
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    return parser.parse_args(arguments)


def _worker(share: float) -> Worker:
    """A worker process as the harness makes them: one core, or a fraction of the GPU."""
    environment: dict[str, str | None] = dict.fromkeys(os.environ)
    environment |= compose(worker_environment(gpus_per_trial=share))
    return Worker(
        python=sys.executable,
        module=_MODULE,
        core=None if share else machine.cores()[0],
        environment=environment,
    )


def _lanes(
    name: str, place: str, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Windows a second of all lanes together, by the number of lanes."""
    out = {}
    with _worker(1.0 if gpus() else 0.0) as worker:
        for count in LANES:
            if count > options.most:
                break
            asked = {"shape": SHAPES[name].to_json(), "data": place, "lanes": count}
            rates = worker.ask("lanes", **asked, rounds=options.rounds)
            out[str(count)] = output.summary(rates)
    return out


def _shares(name: str, place: str, rounds: int) -> dict[str, dict[str, Any]] | None:
    """Trials by fractions of one GPU, all training at once; None without a GPU."""
    if not gpus():
        return None
    out = {}
    for count in SHARES:
        with ExitStack() as stack:
            workers = [stack.enter_context(_worker(1.0 / count)) for _ in range(count)]
            asked = {"shape": SHAPES[name].to_json(), "data": place, "lanes": 1}
            for worker in workers:
                worker.ask("lanes", **asked, rounds=1)  # compiles
            for worker in workers:
                worker.send("lanes", **asked, rounds=rounds)
            rates = [worker.receive() for worker in workers]
            memory = [worker.ask("memory") for worker in workers]
        medians = [output.summary(own)["median"] for own in rates]
        out[str(count)] = {"total": sum(medians), "memory": memory}
    return out


def _show(content: dict[str, Any]) -> None:
    counts = sorted({int(c) for own in content["lanes"].values() for c in own})
    rows = []
    for name, own in content["lanes"].items():
        alone = own["1"]["median"]
        cells = [
            f"{own[str(c)]['median']:.0f} ({own[str(c)]['median'] / alone:.2f}×)"
            for c in counts
        ]
        rows.append([name, *cells])
    heads = ["windows a second, lanes:", *map(str, counts)]
    output.show(f"Lanes of one signature ({content['device']})", heads, rows)
    if content["shares"] is None:
        print("trials by fractions of a GPU: not applicable, there is none here")
    else:
        rows = [
            [
                count,
                f"{one['total']:.0f}",
                ", ".join(f"{m['limit'] / m['device']:.3f}" for m in one["memory"]),
            ]
            for count, one in content["shares"].items()
        ]
        heads = ["trials at once", "windows a second", "fraction of memory each"]
        output.show("Trials by fractions of one GPU", heads, rows)
    if not content["valid"]:
        print("the spin test failed: INVALID", file=sys.stderr)


if __name__ == "__main__":
    main()
