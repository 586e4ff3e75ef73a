"""The cost of a pause: what a worker spends on it beside training, local and under Ray.

Trials of one static signature pause after epochs 1, 2 and 4 of 8, and all of them go on, each
from its checkpoint. With one worker the ledger tells what passed between two reports beside the
epoch's own training. A pause costs what a step before it takes longer (the checkpoint), and what
the first step after it does (a new attempt, the learner made anew and restored, compiling):

    pause = (a step that saves - a plain one) + (the first step of an attempt - a plain one)
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpo.ledger.events import CheckpointEvent, EpochEvent, Event, Started
from tests.benchmarks.tools import data, launching, machine, output, studies

EXECUTORS = ("local", "ray")
_TRIALS, _EPOCHS, _STEPS = 16, 8, 20
_BAR = 10.0  # milliseconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(prog="pause", description=__doc__)
    parser.add_argument("--executors", default=",".join(EXECUTORS))
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    options = parser.parse_args(arguments)
    before = machine.wait()
    content: dict[str, Any] = {"about": machine.describe()}
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        place = Path(folder)
        data.simulated(place / "data", valid=24, window=200)
        for executor in output.kept(options.executors):
            study = studies.gru(
                place / executor,
                data=place / "data",
                trials=_TRIALS,
                epochs=_EPOCHS,
                steps=_STEPS,
                workers=1,
                executor=executor,
                pauses=True,
            )
            done = launching.launch(
                study, results=place / executor / "results", cache=place / "cache"
            )
            content[executor] = costs(done.events)
    after = machine.spin()
    content |= {
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
    }
    output.write("pause", content, options.out)
    _show(content)


def costs(events: Sequence[Event]) -> dict[str, Any]:
    """Milliseconds beside training by kind of step, and of a pause, from a ledger.

    Args:
        events: Of a run with one worker, whose trials share a static signature.
    """
    steps: dict[str, list[float]] = {"plain": [], "saved": [], "resumed": []}
    for kind, seconds in _steps(events):
        if kind in steps:
            steps[kind].append(1000 * seconds)
    middle = {kind: statistics.median(found) for kind, found in steps.items()}
    saving = middle["saved"] - middle["plain"]
    return {
        **{kind: output.summary(found) for kind, found in steps.items()},
        "pauses": sum(e.event == "paused" for e in events),
        "saving_ms": saving,
        "going_on_ms": middle["resumed"] - middle["plain"],
        "pause_ms": saving + middle["resumed"] - middle["plain"],
    }


def _steps(events: Sequence[Event]) -> Iterator[tuple[str, float]]:
    """The kind of each report, and the seconds since the one before beside training.

    A step that is both the first of an attempt and saves is of no kind that is counted, and
    neither is the first of a trial. Compiling counts where an attempt goes on: without a
    pause it would not have been.
    """
    saved = {
        (e.trial, e.attempt, e.epoch) for e in events if isinstance(e, CheckpointEvent)
    }
    promoted: dict[int | None, bool] = {}
    before: float | None = None
    for event in events:
        if isinstance(event, Started):
            promoted[event.trial] = event.attempt_of == "promoted"
        if not isinstance(event, EpochEvent):
            continue
        first = event.trial in promoted
        again = promoted.pop(event.trial, False)
        keeps = (event.trial, event.attempt, event.epoch) in saved
        kind = "resumed" if again and not keeps else "other"
        if not first:
            kind = "saved" if keeps else "plain"
        trained = event.seconds + (0.0 if again else event.compile_seconds)
        if before is not None:
            yield kind, event.time - before - trained
        before = event.time


def _show(content: dict[str, Any]) -> None:
    rows = []
    for executor in EXECUTORS:
        if executor in content:
            found = content[executor]
            words = [("saving", "saving_ms"), ("going on", "going_on_ms")]
            rows += [[f"{executor}: {n}", f"{found[k]:.1f}", ""] for n, k in words]
            total = f"{found['pause_ms']:.1f}"
            rows.append([f"{executor}: a pause", total, f"{_BAR:.0f}"])
    heads = ["milliseconds of a worker", "measured (medians)", "bar (at most)"]
    output.show("Pauses", heads, rows)
    if not content["valid"]:
        print("the spin test failed: INVALID", file=sys.stderr)


if __name__ == "__main__":
    main()
