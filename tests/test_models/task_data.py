"""Task and data as a family is told of them, without any files."""

from __future__ import annotations

from models import tasks
from models.data.reference import Reference
from models.tasks.base import TaskData


def sequences(statistics, task="simulation", **settings):
    """Two roles of the statistics' channels."""
    reference = Reference(
        name="none",
        path="/nowhere",
        roles={
            r: tuple(f"{r}{i}" for i in range(len(m)))
            for r, m in statistics.mean.items()
        },
        hashes={"train": "0"},
    )
    return TaskData(
        task=tasks.task_of({"name": task, **settings}),
        reference=reference,
        statistics=statistics,
        shapes={role: mean.shape for role, mean in statistics.mean.items()},
    )
