"""From a family's file to a learner: the one `create` that all families share.

A family is a module with ``Config``, ``TASKS``, ``problem(config, data)``, ``example(task)``,
the constants ``CLOSED_FORM`` and ``CAUSAL``, and the line ``create = creator(__name__)``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from models import tasks
from models.config import Config
from models.data.dataset import open_dataset
from models.data.feeding import Feed
from models.data.kinds.base import Dataset, SingleRecord
from models.data.reference import Reference
from models.errors import ConfigError, DataError, near_matches
from models.example import Example
from models.tasks.base import Task, TaskData, describe
from models.training.arguments import on_device
from models.training.closed_form import ClosedForm, ClosedFormLearner
from models.training.evaluation import batches
from models.training.learner import GradientLearner
from models.training.least_squares import rules
from models.training.problem import Batch, Problem, evaluation_key
from models.training.protocol import Context
from models.training.size import forward_size
from models.transforms.batch import apply_transforms

# Datasets (with their validation part) and feeds that a worker keeps between trials.
KEPT = 8

FamilyLearner = GradientLearner | ClosedFormLearner
Create = Callable[[Mapping[str, Any] | Config, Context], FamilyLearner]


class Family(Protocol):
    """The module of a family."""

    Config: type[Config]
    TASKS: tuple[str, ...]
    CLOSED_FORM: bool
    CAUSAL: bool

    def problem(self, config: Any, data: TaskData) -> Problem | ClosedForm:
        """The thing to be learned or solved."""
        ...

    def example(self, task: str) -> Example:
        """A tiny problem of a task, for the conformance suites."""
        ...


def creator(module: str) -> Create:
    """The `create` of the family in a module.

    Args:
        module: The module's name: ``__name__``.
    """

    def create(
        config: Mapping[str, Any] | Config, context: Context
    ) -> GradientLearner | ClosedFormLearner:
        """Make the learner of one trial.

        Args:
            config: Dotted keys, or the family's `Config`.
            context: The trial's task, data reference, seed and budget.

        Raises:
            ConfigError: A key is unknown, a value is refused, or the family does not learn
                the task.
            DataError: The data is missing or damaged, or no window fits.
        """
        family: Any = sys.modules[module]
        return learner_of(family, config, context)

    create.__module__ = module
    create.__qualname__ = "create"
    return create


def learner_of(
    family: Family, config: Mapping[str, Any] | Config, context: Context
) -> FamilyLearner:
    """The learner of one trial of a family.

    Opened data and arrays on the device are shared between the trials of a process.

    Args:
        family: The family's module.
        config: Dotted keys, or the family's `Config`.
        context: The trial's task, data reference, seed, budget and objective.

    Raises:
        ConfigError: A key is unknown, a value is refused, or the family does not learn the
            task.
        DataError: The data is missing or damaged, or no window fits.
    """
    if not isinstance(config, family.Config):
        config = family.Config.from_flat(config)
    place = _place(context.data, task_for(family, context))
    opened = _opened(place)
    problem = family.problem(config, opened.data)
    if isinstance(problem, ClosedForm):
        return ClosedFormLearner(
            problem=problem,
            train=partial(opened.dataset.part, "train"),
            groups=partial(opened.scored_groups, lead=problem.lead),
            records=partial(opened.scored_records, lead=problem.lead),
            given=partial(opened.task.given, data=opened.data),
            score=partial(opened.task.scores, data=opened.data),
            interface=opened.data,
            configuration=config.flat(),
        )
    batching: Any = config.data  # type: ignore[attr-defined]
    lead = opened.task.lead(batching)
    return GradientLearner(
        problem=problem,
        feed=_feed(place, batching),
        valid=_kept_part(place, "valid", lead),
        seed=context.seed,
        epochs=context.epochs,
        configuration=config.flat(),
        test=partial(opened.groups, "test", lead=lead),
        records=partial(opened.records, lead=lead),
        objective=context.objective,
        interface=opened.data,
        train=partial(_kept_part, place, "train", lead),
    )


def task_for(family: Family, context: Context) -> Task:
    """The task of a trial: the context's, or the only one of its family.

    Raises:
        ConfigError: The family does not learn the task, or none is named and there are
            several.
    """
    described = context.task
    if described is None:
        if len(family.TASKS) > 1:
            raise ConfigError(
                f"a task must be named, one of {', '.join(family.TASKS)}",
                hint='in a study: `task="simulation"`, for one',
            )
        described = {"name": family.TASKS[0]}
    task = tasks.task_of(described)
    if task.name not in family.TASKS:
        raise ConfigError(
            f"the family does not learn the task `{task.name}`",
            hint=near_matches(task.name, family.TASKS),
        )
    return task


def sizes(
    family: Family, *, data: Any, task: Mapping[str, Any] | None
) -> Callable[[Any], tuple[int, int]]:
    """How large a family's models are on some data, which is opened now; nothing is run.

    Args:
        family: The family's module.
        data: A data reference.
        task: The task's name and settings.

    Returns:
        A function from a configuration to its parameters and the numbers that the forward
        pass of a batch computes (0 for what is solved). It raises `ConfigError` where the
        configuration does not fit the task, `DataError` where no window fits.

    Raises:
        DataError: The data is missing or damaged.
    """
    opened = _opened(_place(data, task_for(family, Context(data=data, task=task))))

    def measure(config: Any) -> tuple[int, int]:
        problem = family.problem(config, opened.data)
        if isinstance(problem, ClosedForm):
            return problem.parameters, 0
        rules.check(problem)
        shapes = opened.task.batch_shapes(opened.dataset, config.data)
        return forward_size(problem, shapes)

    return measure


@dataclass(frozen=True)
class _Opened:
    """Data of one task, as a process keeps it."""

    task: Task
    dataset: Dataset
    data: TaskData

    def groups(self, part: str, *, lead: int, dtype: Any = None) -> Any:
        """A part as it is scored."""
        return self.task.groups(self.dataset.part(part), lead=lead, dtype=dtype)

    def scored_groups(self, part: str, *, lead: int) -> tuple[Batch, ...]:
        """A part in float64 as a closed form is scored on it."""
        return self._transformed(self.groups(part, lead=lead, dtype=np.float64))

    def scored_records(
        self, part: str, *, lead: int
    ) -> Iterator[tuple[str, tuple[Batch, ...]]]:
        """Every record of a part likewise, by its name."""
        for name, groups in self.records(part, lead=lead, dtype=np.float64):
            yield name, self._transformed(groups)

    def _transformed(self, groups: Any) -> tuple[Batch, ...]:
        """Groups after the task's transforms, drawn as the engine draws them in evaluation.

        So what is hidden from a trained model is hidden from a solved one.
        """
        transforms = self.task.transforms(self.data)
        if not transforms:
            return tuple(groups)
        cut = [batch for group in groups for batch in batches(group)]
        return tuple(
            {
                name: np.asarray(values)
                for name, values in apply_transforms(
                    transforms,
                    key=evaluation_key(number),
                    batch=batch,
                    step=jnp.zeros((), jnp.int32),
                    hyper={},
                ).items()
            }
            for number, batch in enumerate(cut)
        )

    def records(
        self, part: str, *, lead: int, dtype: Any = None
    ) -> Iterator[tuple[str, Any]]:
        """Every record of a part as it is scored, by its name.

        One of which nothing can be scored, such as a file shorter than a window, is left
        out: so it is of the whole part.
        """
        whole = self.dataset.part(part)
        for index, name in enumerate(whole.names):
            single = SingleRecord(whole, index)
            try:
                groups = self.task.groups(single, lead=lead, dtype=dtype)
            except DataError:
                if len(whole.names) == 1:
                    raise
                continue
            yield name, groups


def _place(data: Any, task: Task) -> tuple[str, str, bool]:
    """The key of kept data: reference, task, precision."""
    reference = data.to_json() if isinstance(data, Reference) else data
    text = json.dumps(reference, sort_keys=True, default=str)
    settings = json.dumps(task.to_json(), sort_keys=True)
    return text, settings, bool(jax.config.jax_enable_x64)


@lru_cache(maxsize=KEPT)
def _opened(place: tuple[str, str, bool]) -> _Opened:
    task = tasks.task_of(json.loads(place[1]))
    dataset = open_dataset(json.loads(place[0]))
    return _Opened(task, dataset, describe(task, dataset))


@lru_cache(maxsize=KEPT)
def _feed(place: tuple[str, str, bool], batching: Any) -> Feed:
    opened = _opened(place)
    return opened.task.feed(opened.dataset, batching)


@lru_cache(maxsize=KEPT)
def _kept_part(place: tuple[str, str, bool], part: str, lead: int) -> tuple[Batch, ...]:
    """The groups of a part on the device."""
    return on_device(_opened(place).groups(part, lead=lead))
