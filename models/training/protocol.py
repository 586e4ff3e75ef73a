"""The contract between anything that can be fitted and whoever drives it.

Only the standard library is needed here: the harness, the reports and foreign models all
speak these words without loading JAX.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Epoch:
    """The numbers of one epoch of training.

    Attributes:
        number: The epoch's number, counted from 1.
        train: Training terms by name (at least ``loss``). NaN is reported, never hidden.
        valid: Validation metrics by name, in physical units.
        seconds: Wall-clock seconds of training and validation, without compiling.
        compile_seconds: Seconds spent tracing and compiling in this epoch.
    """

    number: int
    train: Mapping[str, float] = field(default_factory=dict)
    valid: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    compile_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Context:
    """The second argument of `create(config, context)`: all of a trial but its configuration.

    Attributes:
        data: A reference to the data (JSON-able: name, path, hashes), never arrays.
        task: The task's name and settings; None where the family has only one.
        seed: The trial's seed; every random choice must come from it.
        epochs: The epoch budget, which is the horizon of any schedule.
        directory: The attempt's own folder; may be written to.
        device: ``"cpu"`` or ``"gpu"``.
        checkpoint_epochs: Epochs after which the harness will save in any case (rungs).
        objective: The validation metric that decides which epoch is best, and its
            direction; that epoch's parameters are what is evaluated and kept.
    """

    data: Any = None
    task: Mapping[str, Any] | None = None
    seed: int = 0
    epochs: int = 1
    directory: Path | None = None
    device: str = "cpu"
    checkpoint_epochs: tuple[int, ...] = ()
    objective: tuple[str, Literal["minimize", "maximize"]] = ("rmse", "minimize")


@runtime_checkable
class Learner(Protocol):
    """A model together with its data, objective and optimizer."""

    def fit_iter(self, epochs: int) -> Iterator[Epoch]:
        """Train until epoch `epochs`, yielding after each one; closing it is clean.

        A learner that has already trained `k` epochs yields `k+1 … epochs`; a restored
        learner first yields the `Epoch` records its checkpoint carries.
        """
        ...


@runtime_checkable
class Resumable(Learner, Protocol):
    """A learner that can stop in one process and go on in another, bit for bit."""

    def save(self, directory: Path) -> None:
        """Write everything needed to go on, atomically, into `directory`."""
        ...

    def restore(self, directory: Path) -> None:
        """Read what `save` wrote; the learner then goes on as if never stopped."""
        ...


@runtime_checkable
class Adoptable(Resumable, Protocol):
    """A resumable learner that can go on from another one's state, at other values.

    So trials of a population adopt each other (`hpo.stopping.rules.pbt`), and a training
    whose values change between epochs is repeated from its beginning.
    """

    def adopt(self, directory: Path, traced: Mapping[str, float]) -> None:
        """Take over the whole state that another learner saved, and change traced values.

        Random keys, moments, the epochs so far and the best of them are the donor's: the
        learner goes on as the donor would have done had these values been changed there.
        As after `restore`, `fit_iter` first yields the records of the checkpoint.

        Args:
            directory: Where a learner of the same static signature and budget saved itself.
            traced: Values by dotted key; all others stay those of the donor.
        """
        ...


@runtime_checkable
class Evaluable(Learner, Protocol):
    """A learner that can score a named part of its data with its best parameters."""

    def evaluate(self, part: str) -> Mapping[str, float]:
        """Metrics of the best epoch's parameters over `part` (``valid`` or ``test``)."""
        ...


@runtime_checkable
class EvaluableByRecord(Evaluable, Protocol):
    """A learner that can also score each record of a part by itself."""

    def evaluate_records(self, part: str) -> Mapping[str, Mapping[str, float]]:
        """The metrics of `evaluate` for each record (a file, usually), by its name.

        Empty where the part has no records, or the learner does not know them.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A piece of one scored row, predicted beside measured, in physical units.

    Attributes:
        which: ``best``, ``median`` or ``worst`` among the pieces of its part; ``only``.
        record: The record (a file, usually) it lies in.
        row: Which of the record's rows (windows, for one), from 1.
        rows: How many these are.
        start: The first sample of the piece within its row, from 0.
        pieces: How many pieces were held against each other.
        metric: What these were ordered by.
        value: Its value for this piece.
        unit: Its unit; ``sd`` for standard deviations of the train part.
        measured: ``[T, C]``, NaN where nothing was measured.
        predicted: ``[T, C]``, NaN where the model was given the value.
        known: Whether it was given an entry ``[T, C]``.
        scored: Whether the entry counts.
        names: Of the channels.
        units: Of the channels.
        rate: Time steps a second; None where that is unknown, or ``T`` is no time.
    """

    which: str
    record: str
    row: int
    rows: int
    start: int
    pieces: int
    metric: str
    value: float
    unit: str
    measured: Any
    predicted: Any
    known: Any
    scored: Any
    names: tuple[str, ...]
    units: tuple[str, ...]
    rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What one role holds in a row of a batch, in physical units.

    Attributes:
        role: The role.
        values: ``[T, C]``, NaN where nothing was seen.
        names: Of the channels.
        units: Of the channels; empty where there are none.
        rate: Time steps a second; None where that is unknown, or ``T`` is no time.
    """

    role: str
    values: Any
    names: tuple[str, ...]
    units: tuple[str, ...]
    rate: float | None = None


@runtime_checkable
class Fed(Learner, Protocol):
    """A learner that can show what it is trained on."""

    def training_rows(self, count: int) -> Sequence[Sequence[Signals]]:
        """Rows of the first batch of the next epoch as the loss meets them, role by role.

        Nothing where the rows of the task cannot be drawn.
        """
        ...


@runtime_checkable
class Illustrated(Learner, Protocol):
    """A learner that can show how its predictions look beside what was measured."""

    def excerpts(self, part: str) -> Sequence[Excerpt]:
        """The best, the median and the worst piece of a part, by the best epoch's model.

        Nothing where predictions of the task cannot be drawn.
        """
        ...


@runtime_checkable
class Predictive(Resumable, Protocol):
    """A learner whose model can be loaded again and used."""

    def predict(self, given: Any) -> Any:
        """Predictions with the best epoch's parameters, in physical units.

        Args:
            given: Arrays by role; one array where the task takes a single role.

        Returns:
            Arrays by role; one array where one was given.
        """
        ...


@runtime_checkable
class Describable(Learner, Protocol):
    """A learner that tells more of a part than its scores."""

    def describe(self, part: str) -> Mapping[str, Any]:
        """Arrays ``[rows, …]`` by name of ``valid`` or ``test``."""
        ...


CODE = ("mean", "log_variance", "tokens")
"""Arrays that tell a row's code: a Gaussian's ``[rows, L]``, or whole numbers ``[rows, …]``."""


@runtime_checkable
class Coded(Learner, Protocol):
    """A learner whose model may put each row of its data into a code."""

    def codes(self, part: str) -> Mapping[str, Mapping[str, Any]]:
        """Those arrays of `CODE` that there are, for each record of a part by its name.

        Raises:
            UserError: There is no such part, or the model has no code.
        """
        ...


@runtime_checkable
class Countable(Learner, Protocol):
    """A learner that knows its size and the whole of its resolved configuration."""

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        ...

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Every configuration key with its value, defaults included (dotted, JSON-able)."""
        ...


@runtime_checkable
class Compiled(Learner, Protocol):
    """A learner whose last digits depend on which compiled kernels it computes with."""

    @property
    def kernel_choice(self) -> str:
        """``off``, or ``LEVEL:HASH``; what is before the colon `HPO_KERNELS` understands."""
        ...
