"""Families that are solved rather than trained: one epoch, float64 numpy, no gradient."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from models.errors import ConfigError
from models.training import checkpoint
from models.training.checkpoint import CheckpointError
from models.training.excerpts import Comparison, Source, excerpts
from models.training.interface import Arrays, Interface, predict
from models.training.protocol import Epoch, Excerpt

Solution: TypeAlias = Mapping[str, np.ndarray]
"""The numbers that were solved for: arrays by name, float64."""
Found: TypeAlias = tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
"""Outputs and the batch they belong to, ``[B, …]`` by name."""


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """One thing to be solved, as pure functions; beside `Problem` for what is trained.

    Attributes:
        signature: Equal for problems whose solutions can be exchanged; text, numbers and
            tuples.
        solve: Part → solution, and the loss over that part.
        outputs: ``(solution, batch) -> outputs``; the batch holds what is given.
        parameters: How many numbers are solved for.
        facts: Numbers that stand beside every score, such as the bits of a code.
        further: Metrics beside the task's, by name: ``(solution, groups) -> number``, of
            groups as they are scored.
        lead: Entries before the scored ones that it looks back on (`models.tasks.base`).
    """

    signature: Hashable
    solve: Callable[[Any], tuple[Solution, float]]
    outputs: Callable[[Solution, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
    parameters: int
    facts: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, Callable[[Solution, Sequence[Mapping[str, Any]]], float]] = (
        field(default_factory=dict)
    )
    lead: int = 0


class ClosedFormLearner:
    """Solves a `ClosedForm` in its first and only epoch.

    Args:
        problem: What is solved.
        train: Opens the part that it is solved on.
        groups: Part name → groups as they are scored, float64.
        records: Part name → name and groups of every record.
        given: Batch → what of it may be looked at.
        score: Outputs with their batches → metrics.
        interface: How arrays by role become a batch of prediction, and back.
        configuration: The resolved configuration, for the record.
    """

    def __init__(
        self,
        *,
        problem: ClosedForm,
        train: Callable[[], Any],
        groups: Callable[[str], Sequence[Mapping[str, Any]]],
        records: Callable[[str], Iterable[tuple[str, Sequence[Mapping[str, Any]]]]],
        given: Callable[[Any], Any],
        score: Callable[[Iterable[Found]], Mapping[str, float]],
        interface: Interface,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        self.problem = problem
        self.interface = interface
        self.configuration: Mapping[str, Any] = dict(configuration or {})
        self.parameters = problem.parameters
        self._train = train
        self._groups = groups
        self._records = records
        self._given = given
        self._score = score
        self._solution: Solution | None = None
        self._epoch: Epoch | None = None
        self._announced = False

    @property
    def solution(self) -> Solution:
        """The numbers that were solved for.

        Raises:
            ConfigError: Nothing has been solved yet.
        """
        if self._solution is None:
            raise ConfigError("the model is not fitted yet", hint="run `fit()` first")
        return self._solution

    @property
    def records(self) -> tuple[Epoch, ...]:
        """The epoch, once it is there."""
        return () if self._epoch is None else (self._epoch,)

    def fit_iter(self, epochs: int) -> Iterator[Epoch]:
        """Solve and yield one `Epoch`; a restored learner yields the one it carries."""
        if epochs < 1 or self._announced:
            return
        if self._epoch is None:
            start = time.perf_counter()
            self._solution, loss = self.problem.solve(self._train())
            valid = self.evaluate("valid")
            self._epoch = Epoch(
                1, {"loss": loss}, valid, seconds=time.perf_counter() - start
            )
        self._announced = True
        yield self._epoch

    def fit(self) -> tuple[Epoch, ...]:
        """Solve, and return the one epoch in a tuple."""
        return tuple(self.fit_iter(1))

    def evaluate(self, part: str) -> dict[str, float]:
        """Metrics over a part, in physical units; of ``test`` what the task appraises, too."""
        found = self._scored(self._groups(part))
        if part == "test":
            found |= self.interface.appraise(lambda b: self.outputs(self._given(b)))
        return found

    def evaluate_records(self, part: str) -> dict[str, dict[str, float]]:
        """Metrics over every record of a part alone, by its name."""
        return {name: self._scored(groups) for name, groups in self._records(part)}

    def _scored(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        pairs = ((self.outputs(self._given(dict(g))), g) for g in groups)
        further = {
            name: score(self.solution, groups)
            for name, score in self.problem.further.items()
        }
        return {**self._score(pairs), **self.problem.facts, **further}

    def excerpts(self, part: str) -> tuple[Excerpt, ...]:
        """The best, the median and the worst piece of a part; see `GradientLearner`."""

        def compared(batch: Mapping[str, Any]) -> Comparison | None:
            return self.interface.comparison(
                self.outputs(self._given(dict(batch))), batch
            )

        def sources() -> Iterator[Source]:
            for name, groups in self._records(part):
                rows, first = sum(map(_rows, groups)), 0
                for group in groups:
                    compare = partial(compared, group)
                    yield Source(record=name, first=first, rows=rows, compare=compare)
                    first += _rows(group)

        return excerpts(sources())

    def outputs(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The outputs for the given part of a batch, ``[B, …]`` by name."""
        return self.problem.outputs(self.solution, batch)

    def predict(self, given: Arrays | np.ndarray) -> Any:
        """Predict; see `models.training.interface.predict`."""
        return predict(self.interface, given, lambda b: self.outputs(self._given(b)))

    def save(self, directory: Path) -> None:
        """Write the solution and the epoch's record, atomically."""
        assert self._epoch is not None, "the harness saves after an epoch"
        metadata = {"signature": self._signature(), "epoch": asdict(self._epoch)}
        arrays = {n: np.ascontiguousarray(a) for n, a in self.solution.items()}
        checkpoint.write(Path(directory), arrays, metadata)

    def restore(self, directory: Path) -> None:
        """Read what `save` wrote.

        Raises:
            CheckpointError: There is none, or it was written by another configuration or
                other data.
        """
        arrays, metadata = checkpoint.read(Path(directory))
        if metadata.get("signature") != self._signature():
            raise CheckpointError(
                f"the checkpoint in {directory} belongs to another configuration or data",
                hint="restore it into a learner created the same way; one of a version "
                "before tasks cannot be restored",
            )
        self._solution = arrays
        self._epoch = Epoch(**metadata["epoch"])
        self._announced = False

    def _signature(self) -> str:
        return repr(self.problem.signature)


def _rows(group: Mapping[str, Any]) -> int:
    return len(next(iter(group.values())))
