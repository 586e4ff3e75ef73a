"""A family's tiny problem for conformance tests and first steps: `example(task)` gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models import tasks
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.tasks.arrays import SAME, Units
from models.tasks.base import Task
from models.training.protocol import Context


@dataclass(frozen=True, kw_only=True)
class Example:
    """A problem that trains in a second.

    Attributes:
        task: The task's name; it is set up to suit its own tiny data.
        config: Dotted keys of a tiny configuration of the family.
        epochs: The budget in which every scheduled mechanism fires.
        settings: Of the task, beside those that suit its own tiny data.
        write: Writes the data of a task, as its `write_example` does, which is the default.
    """

    task: str
    config: Mapping[str, Any]
    epochs: int = 4
    settings: Mapping[str, Any] = field(default_factory=dict)
    write: Callable[..., Mapping[str, Any]] | None = None

    @property
    def units_type(self) -> type[Units]:
        """How a change of units is written down, for suites that only hold an example."""
        return Units

    @property
    def described(self) -> Task:
        """The task itself."""
        plain = tasks.task_of(self.task)
        return type(plain).from_flat({**plain.EXAMPLE, **self.settings})

    def context(self, folder: Path, *, seed: int = 0, units: Units = SAME) -> Context:
        """Write the task's example data and return what `create` needs beside the config.

        Args:
            folder: Where the data goes.
            seed: The trial's seed.
            units: Physical units to write in.
        """
        task = self.described
        if self.write is None:
            request = task.write_example(folder, units=units)
        else:
            request = self.write(task, folder, units=units)
        return Context(
            task=task.to_json(),
            data=prepare(request).to_json(),
            seed=seed,
            epochs=self.epochs,
            objective=task.OBJECTIVE,
        )

    def given(self, folder: Path, *, units: Units = SAME) -> dict[str, np.ndarray]:
        """Arrays by role that a prediction of the test part's first record or row takes.

        Args:
            folder: Where the data goes.
            units: Physical units to write in.
        """
        dataset = open_dataset(self.context(folder, units=units).data)
        return self.described.of_part(dataset.part("test"))
