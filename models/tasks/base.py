"""The interface of a task; each task is a file beside this one, found by its name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from models.config import Config
from models.data.dataset import open_dataset
from models.data.kinds import kind
from models.data.kinds.base import Dataset, Part
from models.data.reference import Reference
from models.data.statistics import Statistics
from models.errors import DataError, UserError, near_matches
from models.tasks.arrays import SAME, Units, accumulated
from models.tasks.axes import with_axes
from models.tasks.comparison import compared, signals_of
from models.training.excerpts import Comparison
from models.training.interface import Arrays, Run
from models.training.protocol import Signals

if TYPE_CHECKING:  # a driver reads tasks, and must not load JAX
    import jax

    from models.data.feeding import Feed
    from models.metrics.accumulators import Metric
    from models.training.problem import Batch, Transforms

Groups = tuple[Mapping[str, Any], ...]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True)
class Task(Config):
    """A thing to be learned, and the way it is scored.

    A task is a frozen configuration: its fields are settings that belong to the task and
    never to a search (known samples, a horizon). Nothing is ranked across tasks.

    Attributes:
        KINDS: Kinds of data it can be learned from.
        OBJECTIVE: The metric that ranks where a study names none, and its direction.
        EXAMPLE: Settings that suit the tiny data of `write_example`.
        APPRAISED: Names that `appraise` gives for any data.
        INCOMPLETE: Roles of which values may be missing in a file that is predicted from,
            though none were in the data.
        SINGLE: Whether one value is wanted of a window, not one of every sample.
    """

    KINDS: ClassVar[tuple[str, ...]]
    OBJECTIVE: ClassVar[tuple[str, Direction]] = ("rmse", "minimize")
    EXAMPLE: ClassVar[Mapping[str, Any]] = {}
    APPRAISED: ClassVar[tuple[str, ...]] = ()
    INCOMPLETE: ClassVar[tuple[str, ...]] = ()
    SINGLE: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The file it is written in; with its package where that is not this one."""
        module = type(self).__module__
        package, _, stem = module.rpartition(".")
        return stem if package == __package__ else module

    @property
    @abstractmethod
    def takes(self) -> tuple[str, ...]:
        """Roles that a prediction is made from."""

    @property
    @abstractmethod
    def gives(self) -> tuple[str, ...]:
        """Roles that a prediction gives."""

    def to_json(self) -> dict[str, Any]:
        """Name and settings, as a study writes them."""
        return {"name": self.name, **self.flat()}

    def check(self, dataset: Dataset) -> None:
        """Refuse data that the task cannot be learned from or scored on.

        Raises:
            DataError: The kind is another, a role is missing, or a part is too short.
        """
        reference = dataset.reference
        if reference.kind not in self.KINDS:
            raise DataError(
                f"the task `{self.name}` is learned from data of kind "
                f"{' or '.join(self.KINDS)}; `{reference.name}` is of kind "
                f"{reference.kind}",
                hint="choose another task or other data",
            )
        for role in (*self.takes, *self.gives):
            if not reference.roles.get(role):
                raise DataError(
                    f"the task `{self.name}` needs the role `{role}`, which "
                    f"`{reference.name}` does not have",
                    hint=near_matches(role, reference.roles),
                )

    def check_reference(self, data: Mapping[str, Any]) -> None:
        """`check`, for a harness that only holds the reference in its JSON form."""
        self.check(open_dataset(data))

    # -- how a model is trained and scored ------------------------------------------------

    def feed(self, dataset: Dataset, batching: Any) -> Feed:
        """Where the training batches come from.

        Args:
            dataset: The data.
            batching: The family's configuration of windows or rows.

        Raises:
            DataError: No batch can be made.
        """
        from models.data.feeding import make_feed

        return make_feed(dataset.part("train"), batching)

    def batch_shapes(
        self, dataset: Dataset, batching: Any
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a training batch by name; nothing is read.

        Raises:
            DataError: No batch can be made.
        """
        import jax

        from models.data.feeding import batch_shapes

        found = batch_shapes(dataset.part("train"), batching)
        return {n: jax.ShapeDtypeStruct(*described) for n, described in found.items()}

    def lead(self, batching: Any) -> int:
        """Entries before the scored ones that a model looks back on by its configuration.

        What is scored never depends on a configuration; how far back a model looks may.
        """
        return 0

    @abstractmethod
    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """A part as it is scored: groups of equal rows, ``[N, …]`` by name.

        Args:
            part: The part, or a single record of it.
            lead: See `lead`.
            dtype: Of the arrays; None for what the device computes with.

        Raises:
            DataError: Nothing of the part can be scored.
        """

    @abstractmethod
    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The part of a batch that a model may look at.

        An entry that is not given holds the mean of the train part, and a mask
        ``given.ROLE`` says which are. Pure: compiled for what is trained, plain numpy for
        closed forms.
        """

    @abstractmethod
    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """The validation metrics."""

    def transforms(self, data: TaskData) -> Transforms:
        """Batch functions that belong to the task, such as hiding entries."""
        return ()

    def scores(
        self,
        found: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
        *,
        data: TaskData,
    ) -> dict[str, float]:
        """The metrics of outputs that were computed elsewhere (by a closed form).

        Args:
            found: Outputs and batches ``[B, …]`` of every group.
            data: What is known of data and task.
        """
        return accumulated(self.metrics(data), found)

    def appraise(self, run: Run, data: TaskData) -> dict[str, float]:
        """What an evaluation of the test part tells beside the metrics.

        Args:
            run: The model, from a batch of prediction to outputs.
            data: What is known of data and task.
        """
        return {}

    # -- how a prediction looks -----------------------------------------------------------

    def comparison(
        self, outputs: Mapping[str, Any], batch: Batch, data: TaskData
    ) -> Comparison | None:
        """Outputs beside the targets of a scored batch, for those who want to see them.

        Args:
            outputs: Of a model, for what of the batch is given.
            batch: After the task's transforms.
            data: What is known of data and task.

        Returns:
            None where there is no target of the outputs' shape (draws of a distribution), where
            nothing was drawn, or where a row has more axes than time and channels.
        """
        role = self.gives[0]
        if role not in outputs or np.shape(outputs[role]) != np.shape(batch[role]):
            return None
        given = self.given(batch, data).get(f"given.{role}")
        physical = self.measured_in(self.OBJECTIVE[0]) == role
        return compared(
            role,
            measured=batch[role],
            predicted=outputs[role],
            masks=(batch.get(f"seen.{role}", True), given, self.scored(batch, data)),
            reference=data.reference,
            std=None if physical else data.statistics.std[role],
        )

    def scored(self, batch: Batch, data: TaskData) -> Any:
        """The mask of what counts of a scored batch; broadcasts to the targets."""
        return batch[f"scored.{self.gives[0]}"]

    # -- how a model is used --------------------------------------------------------------

    @abstractmethod
    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The batch of prediction for arrays ``[B, …]`` by role.

        Raises:
            UserError: Their lengths do not fit together.
        """

    def piece(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The batch for a piece of a sequence whose pieces are predicted one by one.

        Raises:
            UserError: Their lengths do not fit together.
        """
        return self.batch(arrays, data)

    def arrays(
        self, outputs: Mapping[str, Any], batch: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Arrays ``[B, …]`` by role of what a model gave for a batch."""
        return {role: np.asarray(outputs[role]) for role in self.gives}

    def from_file(
        self, path: Path, *, data: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The arrays of a file that a prediction takes, and those that it is held against.

        Args:
            path: A file in the layout of the data's kind.
            data: The data reference in its JSON form.

        Raises:
            DataError: The file is missing or damaged, or lacks a role that is needed.
        """
        reference = Reference.from_json(data)
        gaps = dict.fromkeys((*reference.gaps, *self.INCOMPLETE))
        reference = replace(reference, gaps=tuple(gaps))
        read = kind(reference.kind).read
        roles = tuple(dict.fromkeys((*self.takes, *self.gives)))
        optional = tuple(role for role in self.gives if role not in self.takes)
        found = read(path, reference=reference, roles=roles, optional=optional)
        for role in set(roles) & set(found):
            if f"seen.{role}" in found:  # a prediction takes NaN for what is missing
                found[role] = np.where(found[f"seen.{role}"], found[role], np.nan)
        measured = {role: found[role] for role in self.gives if role in found}
        return self.given_of({r: found[r] for r in self.takes}), measured

    def to_file(
        self, path: Path, predicted: Arrays, *, data: Mapping[str, Any], like: Path
    ) -> None:
        """Write predicted arrays in the layout of the data's kind, all or nothing.

        Args:
            path: A new file.
            predicted: Arrays by role.
            data: The data reference in its JSON form.
            like: The file they were predicted from.

        Raises:
            DataError: The file is there already or cannot be written.
        """
        reference = Reference.from_json(data)
        write = kind(reference.kind).write
        write(path, predicted, reference=reference, like=like)

    def given_of(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The part of whole arrays that a prediction is made from."""
        return dict(arrays)

    def errors(
        self, predicted: Arrays, measured: Arrays, *, data: Mapping[str, Any]
    ) -> dict[str, float]:
        """Errors of predicted arrays in physical units; empty where nothing is comparable.

        Args:
            predicted: By role, as a prediction gave them.
            measured: By role, as `from_file` found them.
            data: The data reference in its JSON form.
        """
        return {}

    def unit(self, metric: str, *, data: Mapping[str, Any]) -> str:
        """The physical unit of a metric; empty for none, or where channels differ.

        Args:
            metric: Its name.
            data: The data reference in its JSON form.
        """
        role = self.measured_in(metric)
        units = set(data.get("units", {}).get(role, ())) if role else set()
        return str(units.pop()) if len(units) == 1 else ""

    def measured_in(self, metric: str) -> str | None:
        """The role whose unit a metric has; None for a metric without unit."""
        return None

    # -- examples -------------------------------------------------------------------------

    @abstractmethod
    def write_example(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """Write tiny data that a model learns from in a second.

        Args:
            folder: Where it goes; equal at every call for equal units.
            units: Physical units to write in.

        Returns:
            The request for it, as a study would make it.
        """

    def of_part(self, part: Part) -> dict[str, np.ndarray]:
        """The arrays by role that a prediction of the part's first record or row takes."""
        first = part.load(0)
        rows = kind(part.reference.kind).CUT == "rows"
        return self.given_of({r: first[r][0] if rows else first[r] for r in self.takes})


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Task and data as a family is told of them: everything but the numbers.

    Attributes:
        task: The task with its settings.
        reference: Where the data lies and what it is.
        statistics: Mean and standard deviation of the train part, by role.
        shapes: Shape of one time step or one row, by role; the last axis is channels.
    """

    task: Task
    reference: Reference
    statistics: Statistics
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def channels(self) -> dict[str, int]:
        """Channels by role."""
        return {role: shape[-1] for role, shape in self.shapes.items()}

    @property
    def sampling_rate(self) -> float | None:
        """In Hz; None where the data does not tell."""
        return self.reference.sampling_rate

    @property
    def identity(self) -> Hashable:
        """Equal for equal data and task, wherever the data lies."""
        reference = self.reference
        content = tuple(sorted(reference.hashes.items())) or reference.path
        roles = tuple(sorted((r, tuple(names)) for r, names in reference.roles.items()))
        scored = tuple(sorted((k, repr(v)) for k, v in reference.settings.items()))
        return (self.task.name, self.task.static_signature(), content, roles, scored)

    @property
    def _in_time(self) -> bool:
        return kind(self.reference.kind).CUT == "windows"

    @property
    def takes(self) -> tuple[str, ...]:
        """Roles that a prediction needs."""
        return self.task.takes

    @property
    def gives(self) -> tuple[str, ...]:
        """Roles that a prediction gives."""
        return self.task.gives

    @property
    def single(self) -> bool:
        """Whether a prediction gives one value of a whole sequence."""
        return self.task.SINGLE

    def batch(self, arrays: Arrays) -> tuple[dict[str, np.ndarray], int]:
        """The batch of prediction for some arrays, and how many axes were added to them.

        Raises:
            UserError: A role is missing or unknown, or an array has the wrong shape.
        """
        missing = [role for role in self.takes if role not in arrays]
        strange = [role for role in arrays if role not in self.takes]
        if missing or strange:
            raise UserError(
                f"the task `{self.task.name}` predicts from "
                f"{' and '.join(f'`{r}`' for r in self.takes)}, got "
                f"{', '.join(f'`{r}`' for r in arrays) or 'nothing'}",
                hint=near_matches((strange or missing)[0], self.takes),
            )
        whole, added = with_axes(arrays, shapes=self.shapes, time=self._in_time)
        return self.task.batch(whole, self), added

    def piece(self, arrays: Arrays) -> tuple[dict[str, np.ndarray], int]:
        """As `batch`, for a piece of a sequence: only its inputs are needed.

        Raises:
            UserError: The inputs are missing, a role is unknown, or an array has the wrong
                shape.
        """
        strange = [role for role in arrays if role not in self.takes]
        if strange or self.takes[0] not in arrays:
            raise UserError(
                f"a piece for the task `{self.task.name}` needs `{self.takes[0]}`, got "
                f"{', '.join(f'`{r}`' for r in arrays) or 'nothing'}",
                hint=near_matches((strange or self.takes)[0], self.takes),
            )
        whole, added = with_axes(arrays, shapes=self.shapes, time=self._in_time)
        return self.task.piece(whole, self), added

    def arrays(
        self, outputs: Mapping[str, Any], batch: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Arrays ``[B, …]`` by role of what a model gave for a batch."""
        return self.task.arrays(outputs, batch)

    def example(self) -> dict[str, np.ndarray]:
        """The arrays by role that a prediction of the valid part's first record takes.

        Raises:
            DataError: The data is gone.
        """
        return self.task.of_part(open_dataset(self.reference).part("valid"))

    def signals(self, batch: Mapping[str, np.ndarray], row: int) -> tuple[Signals, ...]:
        """What every role of the data holds in a row of a batch, as far as it can be drawn."""
        return signals_of(batch, row, reference=self.reference)

    def comparison(
        self, outputs: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> Comparison | None:
        """Outputs beside the targets of a scored batch; see `Task.comparison`."""
        return self.task.comparison(outputs, batch, self)

    def appraise(self, run: Run) -> dict[str, float]:
        """What is told of the test part beside its metrics; see `Task.appraise`."""
        return self.task.appraise(run, self)


def describe(task: Task, dataset: Dataset) -> TaskData:
    """Task and data as a family is told of them.

    Args:
        task: The task with its settings.
        dataset: The data; its train part is read for the statistics.

    Raises:
        DataError: The task cannot be learned from the data.
    """
    task.check(dataset)
    return TaskData(
        task=task,
        reference=dataset.reference,
        statistics=dataset.statistics,
        shapes=dict(dataset.part("train").shapes),
    )
