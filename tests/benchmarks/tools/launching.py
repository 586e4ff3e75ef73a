"""Runs `hpo launch` as a person does, and reads what its ledger says about time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo.ledger.events import Event
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from tests.benchmarks.tools.machine import ROOT

_PATIENCE = 1800.0


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A launch that has ended.

    Attributes:
        begin: Unix time before the process was started.
        seconds: From then until it had ended.
        events: Its ledger.
    """

    begin: float
    seconds: float
    events: tuple[Event, ...]

    def first(self, kind: str) -> Event:
        """The first event of a kind."""
        return next(e for e in self.events if e.event == kind)

    def all(self, kind: str) -> list[Event]:
        """Every event of a kind."""
        return [e for e in self.events if e.event == kind]


def launch(
    study: Path, *, results: Path, cache: Path, environment: Mapping[str, str] = {}
) -> Launched:
    """Launch a study file in a process of its own and wait for its end.

    Args:
        study: The file.
        results: Where its run is written.
        cache: Stands for ``~/.cache/hpo``; a fresh folder is a cold start.
        environment: Further variables.

    Raises:
        RuntimeError: It failed; says how.
    """
    paths = [environment.get("PYTHONPATH", ""), str(ROOT)]
    merged = {
        **os.environ,
        **environment,
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        "HPO_CACHE": str(cache),
    }
    command = [sys.executable, "-m", "hpo.cli.main", "launch", str(study)]
    begin, start = time.time(), time.perf_counter()
    done = subprocess.run(
        [*command, "--results", str(results)],
        env=merged,
        cwd=study.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"hpo launch failed:\n{done.stderr[-2000:]}")
    folder = RunFolder.find(results, "latest")
    events, _ = read_events(folder.events_file)
    return Launched(begin=begin, seconds=seconds, events=tuple(events))
