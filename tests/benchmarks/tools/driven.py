"""Runs a study in this process and says what an epoch report costs its driver."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from hpo import discovery
from hpo.director import Director
from hpo.ledger.events import Event
from hpo.live.progress import Progress
from hpo.run import launch


class Watching(Progress):
    """The display of `hpo launch`, and the time at every epoch report."""

    marks: list[tuple[float, float]] = []

    def event(self, event: Event, director: Director) -> None:
        """Note the time, then show it."""
        if event.event == "epoch":
            self.marks.append((time.perf_counter(), time.process_time()))
        super().event(event, director)


def main() -> None:
    """Launch the study named first into the results folder named second."""
    study, results = sys.argv[1:]
    chosen = discovery.load_study(study)
    with Watching(chosen) as watching:
        launch.launch(chosen, results=results, observer=watching, prepare=_nothing)
    first, last = watching.marks[0], watching.marks[-1]
    count = len(watching.marks) - 1
    wall, cpu = (1000 * (b - a) / count for a, b in zip(first, last, strict=True))
    print(json.dumps({"reports": count + 1, "wall_ms": wall, "cpu_ms": cpu}))


def _nothing(data: Any, root: Any = None) -> dict[str, Any]:
    """Idle learners need no data."""
    return {}


if __name__ == "__main__":
    main()
