"""`HPOptimizer`: the one public door. It tunes anything that has a `fit_iter()`.

>>> best = HPOptimizer(create).optimize({"rate": FloatDistribution(0.01, 1.0, log=True)})
>>> best.value, best.config, best.folder
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hpo.errors import StudyError
from hpo.ledger.folder import RunFolder
from hpo.report import formats, table
from hpo.report.summary import Summary, load_summary
from hpo.schedule import written
from hpo.study import Family, Objective, Rule, Study
from hpo.tasks import objectives_of, with_task
from hpo.warm_start import WarmStart
from search_spaces.space import Space, SpaceError

Create = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a search.

    Attributes:
        summary: The whole run as frozen data.
        state: ``finished``, ``time`` or ``interrupted``.
    """

    summary: Summary
    state: str

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.summary.folder

    @property
    def value(self) -> float | None:
        """The best trial's value; None when no trial was ranked."""
        best = self.summary.best
        return best.objective if best else None

    @property
    def config(self) -> dict[str, Any]:
        """The best trial's configuration, constants included; empty without one.

        Where values changed while it was trained, those of its first epoch: see `schedule`.
        """
        best = self.summary.best
        if best is None:
            return {}
        whole = self.summary.space(best).complete(best.params)
        return {**self.summary.study.settings, **whole}

    @property
    def schedule(self) -> list[dict[str, Any]]:
        """How the best trial's values changed in training; empty where they did not."""
        return written(self.summary.best.schedule) if self.summary.best else []

    @property
    def table(self) -> list[dict[str, Any]]:
        """One object per trial, ranked, as ``hpo results --format json`` prints them."""
        return formats.json_rows(self.summary)

    def __str__(self) -> str:
        """The ranked table as text."""
        return table.render(self.summary, width=100).plain


class HPOptimizer:
    """Tunes what `create` makes.

    Args:
        create: ``create(config, context)`` returns an object with ``fit_iter(epochs)``. Any
            callable, or ``"module:function"``; what a worker cannot import travels by value.
        data: A dataset's name, a folder, or any JSON-able value that `create` finds in
            ``context.data``.
        task: What is learned: a task's name, or ``{"name": …}`` with its settings; needed
            where `create` is of a family that learns several.
        study: Gives task, objective, budget, sampler, stopping, resources and seed where
            they are not named otherwise.
    """

    def __init__(
        self,
        create: str | Create,
        data: Any = None,
        *,
        task: str | Mapping[str, Any] | None = None,
        study: Study | None = None,
    ) -> None:
        self.create = create
        self.data = data
        self.task = task
        self.study = study

    def optimize(
        self,
        space: Space | Mapping[str, Any],
        n_epochs: int = 100,
        *,
        trials: int | None = None,
        name: str | None = None,
        metric: str | None = None,
        direction: Literal["minimize", "maximize"] | None = None,
        unit: str | None = None,
        sampler: str | Rule | None = None,
        stopping: Sequence[str | Rule] | None = None,
        initial_points: Sequence[Mapping[str, Any]] = (),
        warm_start: Sequence[str | WarmStart] | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int | None = None,
        seconds: float | None = None,
        executor: str | None = None,
        workers: int | None = None,
        gpus_per_trial: float | None = None,
        results: Path | str = "results",
        data_root: Path | str | None = None,
        resume: bool = False,
        quiet: bool = False,
    ) -> Result:
        """Search `space` and return the best configuration found.

        Args:
            space: A `Space`, or a mapping of Optuna distributions and constants.
            n_epochs: Epoch budget of a trial.
            trials: How many configurations are tried.
            name: Names the folder under `results`; by default after `create`.
            metric: Name of the validation metric that ranks (``rmse``).
            direction: Whether small or large is good.
            unit: Its physical unit, for tables.
            sampler: How configurations are proposed, such as ``tpe`` or ``random``.
            stopping: Which rules may end a trial early.
            initial_points: Points to try first.
            warm_start: Earlier runs under `results` whose best configurations are tried
                first (after `initial_points`), or whose results are taken over.
            settings: Further configuration keys that every trial gets.
            seed: The seed of every random choice.
            seconds: Active seconds that the run may take.
            executor: One of `hpo.run.executors`: ``ray``, or ``local`` for child processes
                without Ray.
            workers: Trials at a time; None means one per core, and one for ``local``.
            gpus_per_trial: Fraction of a GPU for a trial; 0 uses the CPU.
            results: Where the run's folder is made.
            data_root: Where real datasets lie.
            resume: Go on with the newest run of this name where it is unfinished; it must
                have been started with the same space.
            quiet: Say nothing on stderr while it runs.

        Raises:
            UserError: Something in the call, the data or the machine does not fit.
        """
        base = self._base(space, name=name, initial_points=initial_points)
        named = {"metric": metric, "direction": direction, "unit": unit}
        rules = None if stopping is None else tuple(_rule(r) for r in stopping)
        study = _changed(
            base,
            objectives=_objectives(base, named),
            budget=_changed(
                base.budget, trials=trials, epochs=n_epochs, seconds=seconds
            ),
            sampler=None if sampler is None else _rule(sampler),
            stopping=rules,
            resources=_changed(
                base.resources,
                executor=executor,
                workers=workers,
                gpus_per_trial=gpus_per_trial,
            ),
            settings=settings,
            warm_start=None if warm_start is None else tuple(warm_start),
            seed=seed,
        )
        return self._run(
            study, results=results, data_root=data_root, resume=resume, quiet=quiet
        )

    def _base(
        self,
        space: Space | Mapping[str, Any],
        *,
        name: str | None,
        initial_points: Sequence[Mapping[str, Any]],
    ) -> Study:
        if not isinstance(space, (Space, Mapping)):
            raise StudyError(
                f"`space` must be a Space or a mapping, got a {type(space).__name__}"
            )
        try:
            whole = space if isinstance(space, Space) else Space(space)
        except SpaceError as error:
            raise StudyError(f"the space breaks a rule: {error}") from error
        title = _name(self.create)
        family = Family(
            name=title,
            space=whole,
            create=self.create,
            initial_points=tuple(initial_points),
        )
        if self.study is None:
            return Study(
                name=name or title, families=(family,), data=self.data, task=self.task
            )
        data = self.study.data if self.data is None else self.data
        task = self.study.task if self.task is None else self.task
        return self.study.replace(
            name=name or self.study.name, families=(family,), data=data, task=task
        )

    def _run(
        self,
        study: Study,
        *,
        results: Path | str,
        data_root: Path | str | None,
        resume: bool,
        quiet: bool,
    ) -> Result:
        from hpo.live.progress import Progress
        from hpo.run import launch as runner
        from hpo.run.observer import Silent

        root = None if data_root is None else Path(data_root)
        study = with_task(study, root=root)
        create = None if isinstance(self.create, str) else self.create
        unfinished = _unfinished(results, study.name) if resume else None
        with Progress(study) as progress:
            observer = Silent() if quiet else progress
            if unfinished is not None:
                outcome = runner.resume(
                    unfinished,
                    current=study,
                    data_root=data_root,
                    create=create,
                    observer=observer,
                )
            else:
                outcome = runner.launch(
                    study,
                    results=results,
                    data_root=data_root,
                    create=create,
                    observer=observer,
                )
        return Result(summary=load_summary(outcome.folder), state=outcome.state)


def _changed(thing: Any, **changes: Any) -> Any:
    """A copy with the changes that are not None."""
    return replace(thing, **{k: v for k, v in changes.items() if v is not None})


def _objectives(study: Study, named: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The objectives with the first one changed; the very same where nothing is named."""
    if all(value is None for value in named.values()):
        return study.objectives
    first, *others = objectives_of(study)
    return (_changed(first, **named), *others)


def _rule(rule: str | Rule) -> Rule:
    return Rule(name=rule) if isinstance(rule, str) else rule


def _name(create: str | Create) -> str:
    """A name for folders and tables: the function's or its class's."""
    if isinstance(create, str):
        text = create.rpartition(":")[2] if ":" in create else create
    else:
        text = getattr(create, "__name__", type(create).__name__)
    text = re.sub(r"[^A-Za-z0-9_.-]+", "", text).lstrip("_.-")
    return text or "model"


def _unfinished(results: Path | str, name: str) -> Path | None:
    """The newest run of that name, where something is left to do in it."""
    runs = RunFolder.list(results, name)
    if not runs or load_summary(runs[0].path).finished:
        return None
    return runs[0].path
