"""The learner: one model, its data, objective and optimizer, trained epoch by epoch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import ConfigError, UserError, near_matches
from models.layers.kernels import compiled
from models.training import checkpoint
from models.training.arguments import Groups, check, on_device
from models.training.engine import Direction
from models.training.evaluation import batches, rows_of
from models.training.excerpts import Comparison, Source, excerpts
from models.training.interface import Arrays, Interface, predict
from models.training.least_squares import rules
from models.training.optimizer import ADAM
from models.training.problem import Batch, Problem
from models.training.protocol import CODE, Epoch, Excerpt, Signals
from models.training.runner import EpochResult, Runner, start
from models.training.state import (
    Best,
    TrainState,
    check_values,
    count_parameters,
    with_values,
)


class GradientLearner:
    """Trains a `Problem` by its optimizer; satisfies all of `models.training.protocol`.

    An epoch is as many gradient steps as the feed has batches, or one step of least squares
    over all windows (`optimizer.kind`).

    Args:
        problem: What is learned.
        feed: Where the training batches come from.
        valid: Groups of full validation sequences, arrays ``[N, T, ...]`` by name.
        seed: The trial's seed, in [0, 2³²); the only source of randomness.
        epochs: The epoch budget, which is the horizon of every schedule.
        configuration: The resolved configuration, for the record.
        test: Gives the test part's groups; called only by ``evaluate("test")``.
        records: Part name → name and groups of every record; called only by
            `evaluate_records`.
        objective: The metric that decides which epoch is best, and its direction.
        interface: How arrays by role become a batch of prediction, and back; without it
            there is `outputs`, but no `predict`.
        train: Gives the groups of the whole train part; called where the problem has
            `train_metrics`.

    Raises:
        ConfigError: The objective is no metric of the problem, two metrics share a name,
            `epochs` or `seed` are out of range, or the optimizer cannot train the problem.
    """

    def __init__(
        self,
        *,
        problem: Problem,
        feed: Any,
        valid: Groups,
        seed: int = 0,
        epochs: int,
        configuration: Mapping[str, Any] | None = None,
        test: Callable[[], Groups] | None = None,
        records: Callable[[str], Iterable[tuple[str, Groups]]] | None = None,
        objective: tuple[str, Direction] = ("rmse", "minimize"),
        interface: Interface | None = None,
        train: Callable[[], Groups] = tuple,
    ) -> None:
        check(problem, objective, seed=seed, epochs=epochs)
        rules.check(problem)
        rules.check_feed(problem, feed)
        self.problem = problem
        self.feed = feed
        self.seed = seed
        self.horizon = epochs
        self.configuration: Mapping[str, Any] = dict(configuration or {})
        self.objective = objective
        self.interface = interface
        self.kernel_choice = compiled.in_force()
        self._valid = on_device(valid)
        self._test = test
        self._by_record = records
        self._records: list[Epoch] = []
        self._restored: list[Epoch] = []
        self._values = problem.values()
        # Last epoch and values of each piece before, of a training whose values changed.
        self._past: list[Any] = []
        self.runner: Runner
        self.state: TrainState
        self.best: Best
        self.runner, self.state, self.best, self._compile_seconds = start(
            problem=problem,
            feed=feed,
            objective=objective,
            seed=seed,
            horizon=epochs,
            train=on_device(train()) if problem.train_metrics else (),
        )
        self.parameters = count_parameters(self.state)

    @property
    def records(self) -> tuple[Epoch, ...]:
        """Every epoch trained so far, those before a restore included."""
        return tuple(self._records)

    @property
    def valid(self) -> tuple[Batch, ...]:
        """The validation groups, on the device."""
        return self._valid

    def fit_iter(self, epochs: int) -> Iterator[Epoch]:
        """Train until epoch `epochs`, yielding after each one; closing it is clean.

        After `restore` the records of the checkpoint come first. The schedule's horizon is
        the configured budget, whatever `epochs` is.
        """
        while self._restored and self._restored[0].number <= epochs:
            yield self._restored.pop(0)
        while len(self._records) < epochs:
            begin = time.perf_counter()
            result = self.runner.epoch(self.state, self.best, self._valid)
            yield self.record(result, seconds=time.perf_counter() - begin)

    def fit(self, epochs: int | None = None) -> tuple[Epoch, ...]:
        """Exhaust `fit_iter` over the whole budget, or until epoch `epochs`."""
        return tuple(self.fit_iter(self.horizon if epochs is None else epochs))

    def fit_flat_cos(self, epochs: int | None = None) -> tuple[Epoch, ...]:
        """Exactly `fit`, under the name that tsfast and fastai users look for.

        Raises:
            ConfigError: The configured schedule is not ``flat_cosine``, or there is none.
        """
        optimizer = self.problem.optimizer
        schedule = optimizer.schedule if optimizer.kind == ADAM else "none"
        if schedule != "flat_cosine":
            raise ConfigError(
                f"`fit_flat_cos` needs the schedule flat_cosine, got {schedule}",
                hint="set `optimizer.schedule`, or call `fit`",
            )
        return self.fit(epochs)

    def record(
        self,
        result: EpochResult,
        *,
        seconds: float,
        lane: int | tuple[()] = (),
    ) -> Epoch:
        """Take over an epoch's outcome and keep its record.

        Args:
            result: Of this learner's runner; its state may be stacked.
            seconds: Wall-clock seconds, compiling included.
            lane: Which lane's numbers are this learner's; ``()`` when nothing is stacked,
                and then the state is taken over too.
        """
        if lane == ():
            self.state, self.best = result.state, result.best
        epoch = Epoch(
            number=len(self._records) + 1,
            train={name: float(value[lane]) for name, value in result.train.items()},
            valid={name: float(value[lane]) for name, value in result.valid.items()},
            seconds=seconds - result.compile_seconds,
            compile_seconds=result.compile_seconds + self._compile_seconds,
        )
        self._compile_seconds = 0.0
        self._records.append(epoch)
        return epoch

    def evaluate(self, part: str) -> dict[str, float]:
        """Metrics of the best epoch's parameters over ``valid`` or ``test``.

        Before any epoch had a finite objective these are the initial parameters. Of the test
        part there is what the task appraises as well.

        Raises:
            UserError: There is no such part.
        """
        groups = self._groups(part)
        values = self.runner.metrics(self.at_best(), self.best, groups)
        found = {name: float(value) for name, value in values.items()}
        if part == "test" and self.interface is not None:
            found |= self.interface.appraise(lambda batch: self.outputs(batch)[0])
        return found

    def evaluate_records(self, part: str) -> dict[str, dict[str, float]]:
        """Metrics of the best epoch's parameters over every record alone, by its name.

        Returns:
            Nothing where the learner was not told of records.

        Raises:
            UserError: There is no such part.
        """
        if self._by_record is None:
            return {}
        found = {}
        for name, groups in self._by_record(part):
            placed = on_device(groups)
            values = self.runner.metrics(self.at_best(), self.best, placed)
            found[name] = {metric: float(value) for metric, value in values.items()}
        return found

    def describe(self, part: str) -> dict[str, np.ndarray]:
        """Arrays that the problem tells of a part beyond its scores, ``[rows, …]`` by name.

        Raises:
            UserError: There is no such part, or the problem tells nothing.
        """
        if self.problem.describe is None:
            raise UserError(
                "this model describes nothing of its data beyond its scores"
            )
        return self.runner.describe(self.at_best(), self.best, self._groups(part))

    def codes(self, part: str) -> dict[str, dict[str, np.ndarray]]:
        """The code of every row, by the name of its record; see `protocol.Coded`.

        Raises:
            UserError: There is no such part, or the model has no code.
        """
        describe, found = self.problem.describe, {}
        if describe is not None and self._by_record is not None:
            for name, groups in self._by_record(part):
                told = self.runner.describe(
                    self.at_best(), self.best, on_device(groups)
                )
                found[name] = {k: v for k, v in told.items() if k in CODE}
        if not any(found.values()):
            raise UserError(
                "the model puts nothing of its data into a code",
                hint="`vae`, for one, has one; `hpo list families` says what others do",
            )
        return found

    def excerpts(self, part: str) -> tuple[Excerpt, ...]:
        """The best, the median and the worst piece of a part, predicted beside measured.

        Returns:
            Nothing where the learner was not told of records, or of a task, or where
            predictions of the task cannot be held against anything.

        Raises:
            UserError: There is no such part.
        """
        if self._by_record is None or self.interface is None:
            return ()
        return excerpts(self._sources(self.interface, self._by_record(part)))

    def _sources(
        self, interface: Interface, records: Iterable[tuple[str, Groups]]
    ) -> Iterator[Source]:
        def compared(batch: Batch, number: int) -> Comparison | None:
            outputs, whole = self.runner.scored(
                self.at_best(), self.best, batch, number
            )
            return interface.comparison(outputs, whole)

        for name, groups in records:
            placed = on_device(groups)
            rows, first = sum(map(rows_of, placed)), 0
            for number, batch in enumerate(b for g in placed for b in batches(g)):
                yield Source(
                    record=name,
                    first=first,
                    rows=rows,
                    compare=partial(compared, batch, number),
                )
                first += rows_of(batch)

    def next_batch(self) -> dict[str, np.ndarray]:
        """The first batch of the next epoch as the loss meets it, ``[B, …]`` by name.

        After the problem's transforms and augmentations, in physical units; nothing changes.
        """
        return self.runner.next_batch(self.state)

    def training_rows(self, count: int) -> tuple[tuple[Signals, ...], ...]:
        """The first rows of `next_batch`, role by role; nothing without a task.

        Args:
            count: How many rows; fewer where the batch has fewer.
        """
        if self.interface is None:
            return ()
        batch, interface = self.next_batch(), self.interface
        rows = min(count, rows_of(batch))
        return tuple(interface.signals(batch, row) for row in range(rows))

    def outputs(
        self, batch: Mapping[str, Any], carry: Any = None
    ) -> tuple[Mapping[str, Any], Any]:
        """Everything the best epoch's model gives for a batch, and the carry after it.

        Args:
            batch: Arrays ``[B, ...]`` by name.
            carry: Where a stream goes on; None begins anew.
        """
        (placed,) = on_device((batch,))
        return self.runner.outputs(self.at_best(), self.best, placed, carry)

    def predict(self, given: Arrays | np.ndarray) -> Any:
        """Predict with the best epoch's parameters.

        Args:
            given: Arrays in physical units by role, with or without a leading batch axis;
                one array stands for the only role (inputs ``[T, n_u]`` of a simulation).

        Returns:
            Arrays in physical units by role; one array where one was given.

        Raises:
            UserError: A role is missing or unknown, or an array has the wrong shape.
        """
        if self.interface is None:
            raise UserError("this learner has no task to predict by; use `outputs`")
        return predict(self.interface, given, lambda batch: self.outputs(batch)[0])

    def _groups(self, part: str) -> tuple[Batch, ...]:
        if part == "valid":
            return self._valid
        if part == "test" and self._test is not None:
            return on_device(self._test())
        known = ("valid",) if self._test is None else ("valid", "test")
        raise UserError(
            f"there is no part `{part}` to evaluate", hint=near_matches(part, known)
        )

    def save(self, directory: Path) -> None:
        """Write ``checkpoint.safetensors`` into `directory`, atomically."""
        metadata = {
            "format": checkpoint.FORMAT,
            "signature": self._fingerprint(),
            "seed": self.seed,
            "hyper": self._hyper(),
            "records": [asdict(record) for record in self._records],
        }
        if self._past:
            metadata["past"] = self._past
        arrays = checkpoint.flatten({"state": self.state, "best": self.best})
        checkpoint.write(Path(directory), arrays, metadata)

    def restore(self, directory: Path) -> None:
        """Go on from what `save` wrote, as if never stopped.

        Raises:
            CheckpointError: There is no readable checkpoint, or it belongs to another
                configuration, seed or budget. The learner is left as it was.
        """
        arrays, metadata = checkpoint.read(Path(directory))
        here = {
            "signature": self._fingerprint(),
            "seed": self.seed,
            "hyper": self._hyper(),
        }
        checkpoint.check_origin(metadata, here, Path(directory))
        self._take_over(arrays, metadata)

    def adopt(self, directory: Path, traced: Mapping[str, float]) -> None:
        """Go on from what another learner saved, with other traced values from here on.

        All else is that learner's: parameters, moments, keys, step, epochs and the best of
        them, its seed and its other traced values. Of least squares λ is scaled as its first
        value is (`Optimizer.adopted`).

        Args:
            directory: Where a learner of this static signature and budget saved itself.
            traced: The values that change, by dotted key.

        Raises:
            CheckpointError: There is no readable checkpoint, or it belongs to another static
                signature or budget. The learner is left as it was.
            ConfigError: A key is not traced, or its value is no finite number; likewise.
        """
        arrays, metadata = checkpoint.read(Path(directory))
        hyper = metadata.get("hyper", {})
        here = {"signature": self._fingerprint(), "epochs": float(self.horizon)}
        found = {**metadata, "epochs": hyper.get("epochs")}
        checkpoint.check_origin(found, here, Path(directory))
        before = {name: hyper[name] for name in self._values}
        values = {name: float(value) for name, value in traced.items()}
        check_values(values, before)
        self._take_over(arrays, metadata)
        self.seed = metadata["seed"]
        self._past = [*self._past, [len(self._records), before]]
        self._values = before | values
        state = with_values(self.runner.engine.graph, self.state, values)
        adopted = self.problem.optimizer.adopted(state.optimizer, before, values)
        self.state = state._replace(optimizer=adopted)

    def _take_over(
        self, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
    ) -> None:
        template = {"state": self.state, "best": self.best}
        restored = checkpoint.unflatten(template, arrays)
        self.state, self.best = restored["state"], restored["best"]
        self._records = [Epoch(**record) for record in metadata["records"]]
        self._restored = list(self._records)
        self._past = list(metadata.get("past", ()))

    def at_best(self) -> TrainState:
        """The state, with the traced values with which the best epoch was trained."""
        if not self._past:
            return self.state
        epoch = int(self.best.epoch)
        values = next((v for last, v in self._past if epoch <= last), self._values)
        return with_values(self.runner.engine.graph, self.state, values)

    def _fingerprint(self) -> str:
        text = repr((self.problem.signature, self.objective))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _hyper(self) -> dict[str, float]:
        return self._values | {"epochs": float(self.horizon)}
