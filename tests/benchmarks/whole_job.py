"""A whole study, from command to end: `hpo launch` beside TSFast's two ways of using Ray.

The same data, validation windows, steps, epochs and workers; a checkpoint after every epoch;
whole processes are timed, starting included. Our first round of each
executor compiles (its cache is cold).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import data, launching, machine, output, studies

OURS, LOCAL = "ours", "ours without ray"
FUNCTION, REUSE = "tsfast function", "tsfast reuse"
WAYS = (OURS, LOCAL, FUNCTION, REUSE)
EXECUTORS = {OURS: "ray", LOCAL: "local"}
BARS = {FUNCTION: 10.0, REUSE: 5.0}
_EPOCHS, _STEPS, _WORKERS = 3, 60, 2
_VALID, _WINDOW = 24, 200


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    options = _options(arguments)
    kept = output.read("whole_job", options.out)
    content = _measure(options, kept) if options.ways else kept
    _show(content["ways"], content["trials"])


def _measure(options: argparse.Namespace, kept: dict[str, Any]) -> dict[str, Any]:
    """Measure the chosen ways in alternation, writing after each; the rest is kept."""
    job = {"trials": options.trials, "epochs": _EPOCHS, "steps": _STEPS}
    ways = dict(kept["ways"]) if kept.get("trials") == options.trials else {}
    ways |= {way: {"rounds": []} for way in options.ways}
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        place = Path(folder)
        data.simulated(place / "data", valid=_VALID, window=_WINDOW)
        for number in range(options.rounds):
            for way in options.ways if number % 2 == 0 else reversed(options.ways):
                one = _gated(way, place, number, options)
                _say(f"{way}: {_figures(one)}")
                rounds = [*ways[way]["rounds"], one]
                ways[way] = {"rounds": rounds, "about": machine.describe()}
                done = {w: found for w, found in ways.items() if found["rounds"]}
                output.write("whole_job", job | {"ways": done}, options.out)
    return job | {"ways": ways}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="whole_job", description=__doc__)
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--ways",
        type=output.kept,
        default=list(WAYS),
        help=f"of {','.join(WAYS)}; the others are kept as they were measured before; "
        "`none` prints what was kept",
    )
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    return parser.parse_args(arguments)


def _gated(
    way: str, place: Path, number: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One whole process between two spin tests."""
    before = machine.wait()
    begin = time.perf_counter()
    if way in (OURS, LOCAL):
        completed = _ours(place, f"{way}-{number}", options.trials, EXECUTORS[way])
    else:
        completed = _peer(way, place, number, options)
    seconds = time.perf_counter() - begin
    after = machine.spin()
    return {
        "seconds": seconds,
        "completed": completed,
        "per_minute": 60 * completed / seconds,
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
    }


def _ours(place: Path, name: str, trials: int, executor: str) -> int:
    study = studies.gru(
        place / f"study-{name}",
        data=place / "data",
        trials=trials,
        epochs=_EPOCHS,
        steps=_STEPS,
        workers=_WORKERS,
        executor=executor,
    )
    done = launching.launch(
        study, results=place / f"results-{name}", cache=place / f"cache-{executor}"
    )
    assert len(done.all("epoch")) == trials * _EPOCHS
    assert len(done.all("checkpoint")) == trials * _EPOCHS, "a checkpoint an epoch"
    return len(done.all("completed"))


def _peer(way: str, place: Path, number: int, options: argparse.Namespace) -> int:
    command = [options.peer_python, "-m", "tests.benchmarks.peers.ray_recipe"]
    command += ["--way", "function" if way == FUNCTION else "reuse"]
    command += ["--data", str(place / "data")]
    command += ["--storage", str(place / f"ray-{way.split()[1]}-{number}")]
    numbers = {"trials": options.trials, "epochs": _EPOCHS, "steps": _STEPS}
    for name, value in {**numbers, "workers": _WORKERS}.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(machine.ROOT)},
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{way} failed:\n{done.stderr[-3000:]}")
    return int(json.loads(done.stdout.strip().splitlines()[-1])["completed"])


def _figures(one: dict[str, Any]) -> str:
    spins = " and ".join(f"{s['ratio']:.2f}" for s in one["spin"])
    return (
        f"{one['completed']} trials in {one['seconds']:.1f} s, "
        f"{one['per_minute']:.1f} a minute, spin {spins}"
        f"{'' if one['valid'] else ' (INVALID)'}"
    )


def _show(ways: dict[str, Any], trials: int) -> None:
    rates = {
        way: output.summary([r["per_minute"] for r in ways[way]["rounds"]])["median"]
        for way in WAYS
        if way in ways
    }
    rows = []
    for way, rate in rates.items():
        seconds = [r["seconds"] for r in ways[way]["rounds"]]
        valid = all(r["valid"] for r in ways[way]["rounds"])
        times = rates[OURS] / rate if OURS in rates else float("nan")
        rows.append(
            [
                way,
                f"{output.summary(seconds)['median']:.1f}",
                f"{rate:.1f}",
                f"{times:.1f}× (bar {BARS[way]:g}×)" if way in BARS else "",
                "yes" if valid else "NO",
            ]
        )
    heads = ["way", "seconds", "trials a minute", "ours is faster by", "spin passed"]
    output.show(f"Whole job: {trials} trials, whole processes", heads, rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
