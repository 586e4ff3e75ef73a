"""The harness's cost beside training: by trial, by epoch report, and in compiling.

- Seconds a trial beyond training, with actors that are used again (Ray, one worker).
- Milliseconds of the driver's processor time an epoch report (learners that do nothing).
- Seconds of compiling that tracing saves: trials that differ in traced values only, with the
  programs of the trial before and without them (no persistent cache in either case).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import data, launching, machine, output, studies

_TRIALS, _IDLE_TRIALS, _IDLE_EPOCHS, _TRACED = 30, 40, 10, 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(prog="overhead", description=__doc__)
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    options = parser.parse_args(arguments)
    before = machine.wait()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        place = Path(folder)
        data.simulated(place / "data", valid=24, window=200)
        content: dict[str, Any] = {
            "trial": _trial(place),
            "report": _report(place),
            "compiling": _compiling(place),
        }
    after = machine.spin()
    content |= {
        "about": machine.describe(),
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
    }
    output.write("overhead", content, options.out)
    _show(content)


def _trial(place: Path) -> dict[str, float]:
    """From one trial's end to the next one's, less what was trained and compiled."""
    study = studies.gru(
        place / "trial",
        data=place / "data",
        trials=_TRIALS,
        epochs=2,
        steps=20,
        workers=1,
    )
    done = launching.launch(
        study, results=place / "trial" / "results", cache=place / "cache"
    )
    ends = [e.time for e in done.all("completed")]
    trained: dict[int | None, float] = {}
    for epoch in done.all("epoch"):
        spent = epoch.seconds + epoch.compile_seconds
        trained[epoch.trial] = trained.get(epoch.trial, 0.0) + spent
    order = [e.trial for e in done.all("completed")]
    beyond = [
        later - earlier - trained[trial]
        for earlier, later, trial in zip(ends, ends[1:], order[1:], strict=False)
    ]
    return output.summary(beyond)


def _report(place: Path) -> dict[str, float]:
    """The driver's processor and wall time an epoch report, the display included."""
    study = studies.idle(place / "report", trials=_IDLE_TRIALS, epochs=_IDLE_EPOCHS)
    done = _child("driven", str(study), str(place / "report" / "results"))
    return {k: float(v) for k, v in done.items()}


def _compiling(place: Path) -> dict[str, float]:
    """Seconds of compiling over trials of one static signature."""
    out = {}
    for way in ("shared", "apart"):
        done = _child("compiled", str(place / "data"), way, str(_TRACED))
        out[way] = float(done["seconds"])
    return {**out, "trials": _TRACED, "saved": out["apart"] - out["shared"]}


def _child(module: str, *arguments: str) -> dict[str, Any]:
    """Run a helper in a process of its own; the JSON on its last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.tools.{module}", *arguments],
        env=os.environ
        | machine.ONE_THREAD
        | {"PYTHONPATH": str(machine.ROOT), "JAX_PLATFORMS": "cpu"},
        cwd=machine.ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _show(content: dict[str, Any]) -> None:
    trial, report, compiling = (content[k] for k in ("trial", "report", "compiling"))
    rows = [
        ["seconds a trial beyond training (median)", f"{trial['median']:.3f}", "0.1"],
        ["driver CPU milliseconds an epoch report", f"{report['cpu_ms']:.2f}", "10"],
        ["wall milliseconds an epoch report", f"{report['wall_ms']:.2f}", ""],
        [
            f"compiling {compiling['trials']:.0f} traced trials, shared",
            f"{compiling['shared']:.2f} s",
            "",
        ],
        ["the same, every trial for itself", f"{compiling['apart']:.2f} s", ""],
        ["compiling saved by tracing", f"{compiling['saved']:.2f} s", ""],
    ]
    output.show("Overhead", ["what", "measured", "bar (at most)"], rows)
    if not content["valid"]:
        print("the spin test failed: INVALID", file=sys.stderr)


if __name__ == "__main__":
    main()
