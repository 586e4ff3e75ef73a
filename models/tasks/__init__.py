"""Tasks: what is learned and how it is scored, one file each.

A file in this folder is the registration: it defines a class `Task`, a subclass of
`models.tasks.base.Task`, and ``KINDS`` as a literal, so that lists need not import it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from models.errors import ConfigError, near_matches
from models.tasks.base import Task

_ROOMS = (
    "appraisal",
    "arrays",
    "axes",
    "base",
    "comparison",
    "sequences",
)  # what several tasks share


def names() -> tuple[str, ...]:
    """Every task's name, in alphabetical order."""
    found = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in found if n not in _ROOMS))


def task_of(described: str | Mapping[str, Any]) -> Task:
    """A task by its name, or by its name and settings.

    Args:
        described: ``"prediction"``, or ``{"name": "prediction", "known": 30}``. A dotted
            name is that of a module elsewhere.

    Raises:
        ConfigError: There is no such task, or a setting is unknown or refused.
    """
    settings = {"name": described} if isinstance(described, str) else dict(described)
    name = settings.pop("name", None)
    outside = isinstance(name, str) and "." in name
    if not outside and name not in names():
        raise ConfigError(
            f"unknown task `{name}`", hint=near_matches(str(name), names())
        )
    kind = _class(str(name) if outside else f"{__name__}.{name}")
    return kind.from_flat(settings)


def _class(module: str) -> type[Task]:
    """The class `Task` of a module.

    Raises:
        ConfigError: There is no such module, or none such in it.
    """
    try:
        found = vars(importlib.import_module(module)).get("Task")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        raise ConfigError(
            f"the task `{module}` cannot be found: {error}",
            hint="put the folder that holds its package on PYTHONPATH",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(
            f"the module `{module}` defines no task",
            hint="a task is a class `Task`, a subclass of `models.tasks.base.Task`",
        )
    return found
