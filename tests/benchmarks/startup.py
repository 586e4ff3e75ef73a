"""Seconds from `hpo launch` to the first epoch report, and what of them is importing.

Cold: an empty compilation cache. Warm: the same study again. Importing is the time during
which the driver or a worker is inside an import; what is left is data, Ray, compiling (or
reading the cache) and training the epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import data, launching, machine, output, studies

BAR = 1.5  # seconds after imports, warm
_PROBE = Path(studies.__file__).parent / "probe"
_VALID, _WINDOW, _WORKERS = 24, 200, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    options = _options(arguments)
    rows: dict[str, list[dict[str, Any]]] = {}
    before = machine.wait()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        place = Path(folder)
        data.simulated(place / "data", valid=_VALID, window=_WINDOW)
        for number in range(options.rounds):
            for executor in options.executors:
                cache = place / f"cache-{executor}"
                shutil.rmtree(cache, ignore_errors=True)
                for state in ("cold", "warm"):
                    one = _once(place / f"{executor}-{number}-{state}", executor, cache)
                    rows.setdefault(f"{executor}, {state}", []).append(one)
    after = machine.spin()
    content = {
        "about": machine.describe(),
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
        "rows": rows,
    }
    output.write("startup", content, options.out)
    _show(content)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--executors",
        type=lambda text: text.split(","),
        default=["ray", "local"],
    )
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    return parser.parse_args(arguments)


def _once(place: Path, executor: str, cache: Path) -> dict[str, Any]:
    """One launch of one short trial a worker; seconds by phase."""
    imports = place / "imports"
    imports.mkdir(parents=True)
    study = studies.gru(
        place,
        data=place.parent / "data",
        trials=_WORKERS,
        epochs=1,
        steps=5,
        workers=_WORKERS,
        executor=executor,
    )
    done = launching.launch(
        study,
        results=place / "results",
        cache=cache,
        environment={
            "PYTHONPATH": str(_PROBE),
            "BENCHMARK_IMPORTS": str(imports),
        },
    )
    run, started, epoch = (done.first(k) for k in ("run", "started", "epoch"))
    marks = [done.begin, run.time, started.time, epoch.time]
    busy = _importing(imports)
    phases = [
        {"seconds": b - a, "importing": _within(busy, a, b)}
        for a, b in zip(marks, marks[1:], strict=False)
    ]
    return {
        "total": epoch.time - done.begin,
        "importing": _within(busy, done.begin, epoch.time),
        "until run": phases[0],
        "until started": phases[1],
        "until epoch": phases[2],
        "compiling": float(epoch.compile_seconds),
        "training": float(epoch.seconds),
        "whole process": done.seconds,
    }


def _importing(folder: Path) -> list[tuple[float, float]]:
    """When the driver or a worker was importing: those processes that load the harness."""
    found = []
    for path in folder.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if any(name.split(".")[0] in ("hpo", "models") for _, _, name in lines):
            found += [(begin, end) for begin, end, _ in lines]
    return found


def _within(busy: list[tuple[float, float]], begin: float, end: float) -> float:
    """Length of the union of intervals inside another one."""
    total, reached = 0.0, begin
    for first, last in sorted(busy):
        first, last = max(first, reached), min(last, end)
        if last > first:
            total, reached = total + last - first, last
    return total


def _show(content: dict[str, Any]) -> None:
    lines = []
    for name, rounds in content["rows"].items():
        middle = {
            key: output.summary([r[key] for r in rounds])["median"]
            for key in ("total", "importing", "compiling", "training", "whole process")
        }
        rest = output.summary([r["total"] - r["importing"] for r in rounds])
        own = {
            key: output.summary(
                [r[key]["seconds"] - r[key]["importing"] for r in rounds]
            )["median"]
            for key in ("until run", "until started", "until epoch")
        }
        lines.append(
            [
                name,
                f"{middle['total']:.2f}",
                f"{middle['importing']:.2f}",
                f"{rest['median']:.2f}",
                *(f"{value:.2f}" for value in own.values()),
                f"{middle['compiling']:.2f}",
                f"{middle['whole process']:.2f}",
            ]
        )
    heads = [
        "seconds",
        "to first epoch",
        "importing",
        "rest",
        "rest: until run",
        "until started",
        "until epoch",
        "compiling",
        "whole process",
    ]
    output.show(
        f"From `hpo launch` to the first epoch (bar {BAR:g} s of rest, warm)",
        heads,
        lines,
    )
    if not content["valid"]:
        print("the spin test failed: INVALID", file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
