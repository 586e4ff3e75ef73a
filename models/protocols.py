"""The modules that a harness asks by name, as protocols; only the standard library is needed.

A harness that must not load JAX, or must not know a family's file, reaches these modules
through `importlib` and holds them by the types written here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol


class Described(Protocol):
    """A dataset as lists show it; a frozen dataclass."""

    @property
    def name(self) -> str:
        """The name that a study calls it by."""
        ...


class PreparedData(Protocol):
    """A reference to data that was found, checked and hashed."""

    def to_json(self) -> dict[str, Any]:
        """The reference as plain JSON values."""
        ...


class Catalog(Protocol):
    """`models.data.catalog`."""

    def names(self) -> tuple[str, ...]:
        """Every dataset known by name."""
        ...

    def describe(self, name: str) -> Any:
        """The facts of a named dataset, without opening it."""
        ...

    def prepare(
        self, data: str | Mapping[str, Any], *, root: Path | None = None
    ) -> PreparedData:
        """Find, check and hash a dataset."""
        ...

    def recorded(self, values: Mapping[str, Any]) -> PreparedData:
        """A reference from its JSON form, also one of an earlier version."""
        ...

    def kind_of(
        self, data: str | Mapping[str, Any], *, root: Path | None = None
    ) -> str:
        """The kind of some data, without preparing it."""
        ...


class FoundCategories(Protocol):
    """Categories of the features of a file (`models.data.categories`)."""

    @property
    def by(self) -> str:
        """``name`` or ``correlation``."""
        ...

    @property
    def columns(self) -> int:
        """Features there are."""
        ...

    @property
    def rows(self) -> int:
        """Rows that were looked at; 0 where names told."""
        ...

    @property
    def groups(self) -> Mapping[str, Sequence[int]]:
        """Category to columns."""
        ...

    @property
    def discovery(self) -> Any:
        """How clusters were found; None where names told."""
        ...

    def write(self, path: Path) -> None:
        """Write them as a file for `groups`."""
        ...


class Categories(Protocol):
    """`models.data.categories`."""

    def find(
        self,
        data: str,
        *,
        features: str | None = None,
        by: str | None = None,
        registry: Path | None = None,
        split: Any = None,
        clean: bool = False,
        options: Mapping[str, Any] | None = None,
        root: Path | None = None,
    ) -> FoundCategories:
        """The categories of the features of a dataset."""
        ...


class Statistics(Protocol):
    """Mean and standard deviation of the train part."""

    @property
    def mean(self) -> Mapping[str, Any]:
        """By role, an array of channels."""
        ...

    @property
    def std(self) -> Mapping[str, Any]:
        """Likewise."""
        ...


class OpenedData(Protocol):
    """An opened dataset."""

    @property
    def statistics(self) -> Statistics:
        """Of its train part, which is read for it."""
        ...


class Datasets(Protocol):
    """`models.data.dataset`."""

    def open_dataset(self, reference: Mapping[str, Any]) -> OpenedData:
        """Open prepared data."""
        ...


class Task(Protocol):
    """A task with its settings."""

    KINDS: tuple[str, ...]
    OBJECTIVE: tuple[str, Literal["minimize", "maximize"]]

    @property
    def name(self) -> str:
        """The file it is written in."""
        ...

    @property
    def takes(self) -> tuple[str, ...]:
        """Roles that a prediction is made from."""
        ...

    @property
    def gives(self) -> tuple[str, ...]:
        """Roles that a prediction gives."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Name and settings."""
        ...

    def check_reference(self, data: Mapping[str, Any]) -> None:
        """Refuse data that the task cannot be learned from or scored on."""
        ...

    def from_file(
        self, path: Path, *, data: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The arrays of a file that a prediction takes, and those that it is held against."""
        ...

    def to_file(
        self,
        path: Path,
        predicted: Mapping[str, Any],
        *,
        data: Mapping[str, Any],
        like: Path,
    ) -> None:
        """Write predicted arrays in the layout of the data's kind, all or nothing."""
        ...

    def errors(
        self,
        predicted: Mapping[str, Any],
        measured: Mapping[str, Any],
        *,
        data: Mapping[str, Any],
    ) -> Mapping[str, float]:
        """Errors of predicted arrays in physical units, by metric."""
        ...

    def unit(self, metric: str, *, data: Mapping[str, Any]) -> str:
        """The physical unit of a metric; empty for none."""
        ...


class Tasks(Protocol):
    """`models.tasks`."""

    def names(self) -> tuple[str, ...]:
        """Every task's name."""
        ...

    def task_of(self, described: str | Mapping[str, Any]) -> Task:
        """A task by its name, or by its name and settings."""
        ...


class Codes(Protocol):
    """`models.data.codes`."""

    def write(
        self,
        path: Path,
        codes: Mapping[str, Mapping[str, Any]],
        attributes: Mapping[str, Any],
    ) -> Mapping[str, tuple[int, ...]]:
        """Write what a learner's `codes` gave; the shape of each array."""
        ...


class Stateful(Protocol):
    """A trained model that predicts piece by piece."""

    def predict_chunked(self, given: Any, *, size: int) -> Any:
        """Predict a whole sequence, `size` samples at a time."""
        ...


class StatefulModels(Protocol):
    """`models.stateful`."""

    def StatefulRNN(self, learner: Any) -> Stateful:  # noqa: N802
        """A trained learner as such a model."""
        ...


class Exporting(Protocol):
    """`models.exporting`."""

    def write(
        self, learner: Any, folder: Path, *, about: Mapping[str, Any], form: str
    ) -> Mapping[str, Any]:
        """Write a trained learner as a folder; what its description says."""
        ...


class Kernels(Protocol):
    """`models.layers.kernels.build`."""

    def wanted(self) -> str:
        """The value of ``HPO_KERNELS``, checked."""
        ...

    def begin(self) -> None:
        """Build what is missing in the background."""
        ...

    def level_of(self, flags: Collection[str]) -> str:
        """The widest instruction set of a processor; empty for none that is known."""
        ...


class CompiledKernels(Protocol):
    """`models.layers.kernels.compiled`."""

    def choice(self) -> str:
        """The kernels in force: ``off`` or ``LEVEL:HASH``."""
        ...

    def reason(self) -> str:
        """Why they are off; empty where they are not."""
        ...


class Sizes(Protocol):
    """`models.family`, as far as a check of a study needs it."""

    def sizes(
        self, family: Any, *, data: Any, task: Mapping[str, Any] | None
    ) -> Callable[[Any], tuple[int, int]]:
        """From a configuration to parameters, and numbers that a forward pass computes."""
        ...


class Configured(Protocol):
    """A family's `Config` class."""

    def keys(self) -> Sequence[str]:
        """Every dotted key."""
        ...

    def from_flat(self, values: Mapping[str, Any]) -> Any:
        """A configuration from dotted keys."""
        ...
