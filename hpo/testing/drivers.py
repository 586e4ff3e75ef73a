"""Drivers in processes of their own, for suites that interrupt, kill and count them.

As a program it is such a driver: it launches or resumes the study that it is given as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hpo.chaos import Chaos
from hpo.director import Director
from hpo.ledger.events import (
    Ending,
    EpochEvent,
    Evaluated,
    Event,
    Exploited,
    Proposed,
)
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.run.attach import Attach
from hpo.study import Study
from hpo.worker.environment import search_path

_MARK = "HPO_TEST_MARK"
CLUSTER = "HPO_TEST_CLUSTER"
"""JSON of an `Attach`: the cluster that the executor `ray` works on instead of a private one."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A driver at work; made by `start`.

    Attributes:
        process: It.
        mark: What its processes, orphans included, have in their environment.
        results: Where its run lies.
    """

    process: subprocess.Popen[str]
    mark: str
    results: Path

    @property
    def folder(self) -> Path | None:
        """The folder of its run, once it is there."""
        return next((p.parent for p in self.results.glob("*/*/events.jsonl")), None)

    def events(self) -> list[Event]:
        """The ledger so far."""
        folder = self.folder
        return [] if folder is None else events_of(folder)

    def outcome(self, timeout: float = 120.0) -> dict[str, Any]:
        """Wait until it ends well: ``state`` and ``folder`` of its run."""
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, (self.process.returncode, out, err)
        answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return answer

    def interrupt(self) -> None:
        """Ctrl-C in its terminal: the whole process group hears it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
        for orphan in self.descendants():
            orphan.kill()
        self.process.communicate()

    def descendants(self) -> list[psutil.Process]:
        """Every living process that was started under it."""
        found = []
        for process in psutil.process_iter(["pid", "status"]):
            try:
                marked = process.environ().get(_MARK) == self.mark
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def start(
    results: Path,
    study: Study | None = None,
    *,
    resume: Path | None = None,
    kill_at: int = -1,
    packages: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
    chaos: Chaos | None = None,
) -> Driver:
    """Start a driver in a process group of its own, as a terminal would.

    Args:
        results: Where its run's folder is made.
        study: What to launch; its functions must be importable.
        resume: The run to go on with instead.
        kill_at: Number of the event right after which it kills itself as ``kill -9`` does.
        packages: Folders in which further executors are found.
        environment: Further variables of it, such as `CLUSTER`.
        under: The first words of its command line: a program that starts it.
        chaos: Faults on purpose of what is launched; None for none.
    """
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    order = {
        "results": str(results),
        "study": None if study is None else study.to_json(),
        "resume": None if resume is None else str(resume),
        "kill_at": kill_at,
        "packages": [*packages],
        "chaos": None if chaos is None else chaos.to_json(),
    }
    process = subprocess.Popen(
        [
            *under,
            *(sys.executable, "-P", "-m", "hpo.testing.drivers", json.dumps(order)),
        ],
        env={
            **os.environ,
            "PYTHONPATH": search_path(),
            _MARK: mark,
            **(environment or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return Driver(process=process, mark=mark, results=Path(results))


def wait_until(
    holds: Callable[[], bool], timeout: float, *, step: float = 0.05
) -> None:
    """Wait for a condition.

    Args:
        holds: The condition.
        timeout: Seconds after which it must hold.
        step: Seconds between two looks.
    """
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, f"not within {timeout} s"
        time.sleep(step)


def events_of(folder: Path) -> list[Event]:
    """The events of a run's ledger."""
    return read_events(Path(folder) / "events.jsonl")[0]


def story(folder: Path) -> dict[int, dict[str, Any]]:
    """The facts of a run, whoever carried it out: its trials without attempts and times.

    Args:
        folder: The run's folder.

    Returns:
        By number: family, params, seed, the metrics of each epoch as text (so that NaN equals
        NaN), whose states it adopted, how the trial ended, and its scores over another part of
        the data.
    """
    trials: dict[int, dict[str, Any]] = {}
    for event in events_of(folder):
        if event.trial is None:
            continue
        trial = trials.setdefault(event.trial, {"epochs": {}, "state": None})
        if isinstance(event, Proposed):
            trial["family"], trial["params"] = event.family, event.params
            trial["seed"] = event.seed
        elif isinstance(event, EpochEvent):
            trial["epochs"].setdefault(event.epoch, repr(event.valid))
        elif isinstance(event, Exploited):
            adopted = (event.epoch, event.donor, repr(event.traced))
            trial.setdefault("adopted", []).append(adopted)
        elif isinstance(event, Evaluated):
            trial["scores"] = repr((event.part, event.metrics, event.records))
        elif isinstance(event, Ending):
            trial["state"] = (event.event, event.rule or None, event.epoch)
    return trials


class _KillAt:
    """An observer that ends its own process right after an event."""

    def __init__(self, n: int) -> None:
        self._n = n

    def recall(self, event: Event, director: Director) -> None:
        """An event of before is over."""

    def event(self, event: Event, director: Director) -> None:
        """Die where told to."""
        if event.n == self._n:
            os.kill(os.getpid(), 9)

    def tick(self, director: Director) -> None:
        """Time passes."""

    def message(self, text: str) -> None:
        """Pass it on, to be seen when a test fails."""
        print(text, flush=True)


def main() -> None:
    """Launch or resume what the command line describes, and print how it ended."""
    from hpo.run import executors
    from hpo.run.launch import launch, resume

    order = json.loads(sys.argv[1])
    executors.__path__ = [*executors.__path__, *order["packages"]]
    observer = _KillAt(order["kill_at"])
    if order["resume"]:
        record = RunFolder(order["resume"]).read_study()["study"]
        attach = _cluster(Study.from_json(record))
        outcome = resume(order["resume"], observer=observer, attach=attach)
    else:
        study = Study.from_json(order["study"])
        chaos = Chaos.from_json(order["chaos"]) if order["chaos"] else None
        outcome = launch(
            study,
            results=order["results"],
            observer=observer,
            attach=_cluster(study),
            chaos=chaos,
        )
    print(json.dumps({"state": outcome.state, "folder": str(outcome.folder)}))


def _cluster(study: Study) -> Attach | None:
    told = json.loads(os.environ.get(CLUSTER) or "null")
    if told is None or study.resources.executor != "ray":
        return None
    return Attach(**{"workers": study.resources.workers, **told})


if __name__ == "__main__":
    main()
