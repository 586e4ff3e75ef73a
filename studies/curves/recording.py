"""Training the sets of curves, one after another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpo.run.launch import launch, resume
from hpo.tasks import with_task
from studies.curves.sets import Recorded, study


def record(sets: Iterable[Recorded], *, results: Path, data_root: Path | None) -> None:
    """Train each set, or go on with the newest run of it; Ctrl-C ends all of it.

    Args:
        sets: Which.
        results: The folder of runs.
        data_root: The folder of real datasets.

    Raises:
        UserError: The data is missing, or a run cannot go on.
    """
    for recorded in sets:
        runs = sorted((results / recorded.name).glob("*"))
        if runs:
            outcome = resume(runs[-1], data_root=data_root)
        else:
            asked = with_task(study(recorded), root=data_root)
            outcome = launch(asked, results=results, data_root=data_root)
        if outcome.state == "interrupted":
            return
