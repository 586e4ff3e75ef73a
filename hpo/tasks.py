"""The task of a study: named, or the only one that its families and data share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import discovery, packages
from hpo.errors import StudyError
from hpo.study import TASKS_OWN, Objective, Study


def with_task(study: Study, *, root: Path | None = None) -> Study:
    """The study with its task and all of the task's settings, and an objective.

    Families that do not say which tasks they learn (a `create` from elsewhere) learn any; a
    study of such families alone needs no task.

    Args:
        study: As described.
        root: Folder that holds real datasets by name.

    Raises:
        StudyError: A family or the data does not fit the task, or none is named and there
            is not exactly one.
        ConfigError: There is no such task, or a setting of it is refused.
    """
    learned = {f.name: discovery.tasks_of(f.reference) for f in study.families}
    declared = {name: found for name, found in learned.items() if found is not None}
    if study.task is None and not declared:
        return study
    kind = packages.data_kind(study.data, root=root)
    if declared and kind is None:
        raise StudyError(
            f"family `{next(iter(declared))}` learns from a dataset, and the data of study "
            f"`{study.name}` is {study.data!r}",
            hint='name a dataset or a path: `data="duffing"`, `data={"path": "./mydata"}`; '
            "`hpo list datasets` shows what is known by name",
        )
    described = study.described_task or {"name": _only(study, declared, kind)}
    task = packages.task(described)
    for name, found in declared.items():
        if task.name not in found:
            raise StudyError(
                f"family `{name}` does not learn the task `{task.name}`",
                hint=f"it learns {_listed(found)}; leave it out with `--families`, or "
                "choose another task",
            )
    if declared and kind not in task.KINDS:
        raise StudyError(
            f"the task `{task.name}` is learned from data of kind {_listed(task.KINDS)}, "
            f"and the data of study `{study.name}` is of kind {kind}",
            hint="choose another task or other data",
        )
    study = study.replace(task=task.to_json())
    return study.replace(objectives=objectives_of(study))


def objectives_of(study: Study) -> tuple[Objective, ...]:
    """A study's objectives; its task's own where it names a task and no objective."""
    if study.objectives is not TASKS_OWN or not study.described_task:
        return study.objectives
    metric, direction = packages.task(study.described_task).OBJECTIVE
    return (Objective(metric=metric, direction=direction),)


def _only(
    study: Study, declared: Mapping[str, tuple[str, ...]], kind: str | None
) -> str:
    """The one task that all families learn and that can be learned from the data."""
    families = list(declared.values())
    shared = [t for t in families[0] if all(t in found for found in families)]
    fitting = [t for t in shared if kind is None or kind in packages.kinds_of(t)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise StudyError(
            f"study `{study.name}` does not say its task; families and data share "
            f"{_listed(tuple(fitting))}",
            hint=f'write `task="{fitting[0]}"`, for one',
        )
    each = "; ".join(f"{name}: {_listed(found)}" for name, found in declared.items())
    of_kind = f" that is learned from data of kind {kind}" if kind else ""
    raise StudyError(
        f"the families of study `{study.name}` share no task{of_kind} ({each})",
        hint="compare families that learn the same task",
    )


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join(f"`{n}`" for n in names) or "none"


def described(task: Mapping[str, Any]) -> str:
    """A task in one line: its name, and settings that a person might have chosen."""
    settings = ", ".join(f"{k} {v}" for k, v in task.items() if k != "name")
    return f"{task['name']} ({settings})" if settings else str(task["name"])
