"""Training throughput on one core: TSFast's learner, plain torch loops, and our engine.

Every way trains in a process of its own, one thread on the same core. In each round every way
trains one epoch; rounds go forth and back. A shape's ratio is our median over the peer's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import data, kernels, machine, output
from tests.benchmarks.tools.serve import Worker
from tests.benchmarks.tools.shapes import SHAPES, Shape

PEER = "tsfast"
PURE, FUSED = "ours, pure JAX", "ours, kernels"
WAYS = (PEER, "torch", "torch micro", PURE, FUSED)
BARS = {PURE: (2.8, 1.5), FUSED: (4.5, 2.0)}  # geometric mean, smallest
LOOP_BARS = {"ar-64": 8.0}
_ATTEMPTS = 3  # of a shape, until the spin test is passed before and after it


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    options = _options(arguments)
    rows = output.read("throughput", options.out).get("rows", {})
    if options.shapes:
        rows = _measure(options, rows)
    _show(rows)


def _measure(
    options: argparse.Namespace, kept: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Measure the chosen shapes, writing after each; all rows, in order."""
    rows = dict(kept)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = data.simulated(Path(folder), valid=1, window=200)
        workers = _workers(options.peer_python, stack)
        peer = workers["torch"].ask("versions")
        for name in options.shapes:
            row = _measured(SHAPES[name], workers, str(place), options.rounds)
            about = {**machine.describe(), "peer": peer, "kernels": kernels.choice()}
            kept = rows | {name: {**row, "about": about}}
            rows = {known: kept[known] for known in SHAPES if known in kept}
            content = {"rows": rows, "ratios": _ratios(rows)}
            output.write("throughput", content, options.out)
            _say(f"{SHAPES[name].title}: {_figures(row)}")
    return rows


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="throughput", description=__doc__)
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--shapes",
        type=output.kept,
        default=list(SHAPES),
        help=f"of {','.join(SHAPES)}; the others are kept as they were measured before; "
        "`none` prints what was kept",
    )
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    return parser.parse_args(arguments)


def _workers(peer_python: str, stack: ExitStack) -> dict[str, Worker]:
    core = machine.cores()[0]
    ours: dict[str, str | None] = {**machine.ONE_THREAD, "JAX_PLATFORMS": "cpu"}

    def start(python: str, module: str, **environment: str | None) -> Worker:
        worker = Worker(
            python=python,
            module=f"tests.benchmarks.{module}",
            core=core,
            environment={**ours, **environment},
        )
        return stack.enter_context(worker)

    workers = {
        "torch": start(peer_python, "peers.torch_worker"),
        PURE: start(sys.executable, "tools.our_worker", HPO_KERNELS="off"),
    }
    if kernels.choice() != "off":
        workers[FUSED] = start(sys.executable, "tools.our_worker", HPO_KERNELS=None)
    return workers


def _measured(
    shape: Shape, workers: dict[str, Worker], place: str, rounds: int
) -> dict[str, Any]:
    """One shape's row, repeated while the machine was not all there."""
    for attempt in range(1, _ATTEMPTS + 1):
        before = machine.wait()
        row = _row(shape, workers, place, rounds)
        after = machine.spin()
        valid = before.valid and after.valid
        if valid or attempt == _ATTEMPTS:
            spins = [before.to_json(), after.to_json()]
            return {**row, "spin": spins, "valid": valid, "attempts": attempt}
        _say(f"{shape.title}: spin {before.ratio:.2f} and {after.ratio:.2f}, again")
    raise AssertionError("unreachable")


def _row(
    shape: Shape, workers: dict[str, Worker], place: str, rounds: int
) -> dict[str, Any]:
    """Windows a second by way, over alternated rounds."""
    about = {
        way: workers[way].ask("prepare", shape=shape.to_json(), data=place)
        for way in (PURE, FUSED)
        if way in workers
    }
    part = about[PURE]["micro_batch"]
    in_torch = workers["torch"].ask(
        "prepare", shape=shape.to_json(), data=place, micro_batch=part
    )
    ways = [w for w in WAYS if w in in_torch or w in about]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):  # the first compiles and warms up
        for way in ways if number % 2 else reversed(ways):
            if way in about:
                took = workers[way].ask("epoch")
            else:
                took = workers["torch"].ask("epoch", way=way)
            if number:
                seconds[way].append(took)
    rates = {w: [shape.windows / s for s in found] for w, found in seconds.items()}
    return {
        "shape": shape.to_json(),
        "rounds": rounds,
        "windows_per_second": {w: output.summary(r) for w, r in rates.items()},
        "ours": about,
    }


def _ratio(row: dict[str, Any], way: str) -> float | None:
    found = row["windows_per_second"]
    return found[way]["median"] / found[PEER]["median"] if way in found else None


def _against_loop(row: dict[str, Any]) -> float | None:
    """Our best way over torch's loop."""
    found = row["windows_per_second"]
    ours = [found[way]["median"] for way in BARS if way in found]
    return max(ours) / found["torch"]["median"] if "torch" in found else None


def _ratios(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Geometric mean and smallest ratio by way, over the shapes that were measured."""
    out = {}
    for way in WAYS[1:]:
        plain = [row for row in rows.values() if Shape(**row["shape"]).plain]
        ratios = [r for row in plain if (r := _ratio(row, way)) is not None]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            out[way] = {"mean": mean, "smallest": min(ratios), "shapes": len(ratios)}
    return out


def _figures(row: dict[str, Any]) -> str:
    ratios = {way: _ratio(row, way) for way in WAYS[1:]}
    return ", ".join(f"{w} {r:.2f}×" for w, r in ratios.items() if r is not None)


def _show(rows: dict[str, dict[str, Any]]) -> None:
    lines = [_line(row) for row in rows.values()]
    ratios = _ratios(rows)
    for name in ("mean", "smallest"):
        label = "geometric mean" if name == "mean" else "smallest ratio"
        cells = [f"{ratios[w][name]:.2f}×" if w in ratios else "" for w in WAYS[1:]]
        lines.append([label, "", *cells, ""])
    heads = ["windows a second", *WAYS, "spin"]
    output.show("Training throughput, one core (times the peer)", heads, lines)
    if not any(FUSED in row["windows_per_second"] for row in rows.values()):
        _say("ours, kernels: not built here")
    for name, bar in LOOP_BARS.items():
        if name in rows and (found := _against_loop(rows[name])) is not None:
            met = "met" if found >= bar else "missed"
            _say(f"{name}: {found:.1f} times torch's loop (bar {bar:g}): {met}")
    for way, (mean, smallest) in BARS.items():
        if way in ratios:
            found = ratios[way]
            met = found["mean"] >= mean and found["smallest"] >= smallest
            _say(
                f"{way}: geometric mean {found['mean']:.2f} (bar {mean:g}), smallest "
                f"{found['smallest']:.2f} (bar {smallest:g}): "
                f"{'met' if met else 'missed'}"
            )


def _line(row: dict[str, Any]) -> list[str]:
    found = row["windows_per_second"]
    cells = []
    for way in WAYS:
        if way not in found:
            cells.append("=" if way == "torch micro" else "not built")
            continue
        ratio = "" if way == PEER else f" ({_ratio(row, way):.2f}×)"
        cells.append(f"{found[way]['median']:.0f}{ratio}")
    ratios = "/".join(f"{s['ratio']:.2f}" for s in row["spin"])
    note = "" if row["valid"] else " INVALID"
    return [Shape(**row["shape"]).title, *cells, ratios + note]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
