"""The learner of an assignment, made as every trial makes it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from hpo.errors import ForeignFailure
from hpo.worker.assignment import Assignment
from hpo.worker.pickling import unpack
from models.training.protocol import Context, Learner


@runtime_checkable
class _Keyed(Protocol):
    """A configuration class that can list its dotted keys."""

    def keys(self) -> Iterable[str]: ...


def make_learner(assignment: Assignment) -> Learner:
    """Call the `create` of an assignment, as a trial does.

    Raises:
        ForeignFailure: It cannot be found, or gives no learner.
    """
    a = assignment
    create = unpack(a.create)
    config = {**_known_settings(create, a.settings, a.config), **a.config}
    context = Context(
        data=a.data,
        task=a.task,
        seed=a.seed,
        epochs=a.epochs,
        directory=a.directory,
        device=a.device,
        checkpoint_epochs=a.rungs,
        objective=a.objective,
    )
    learner = create(config, context)
    if not isinstance(learner, Learner):
        raise ForeignFailure(
            f"`create` returned a {type(learner).__name__} without `fit_iter`",
            hint="return an object whose fit_iter(epochs) yields after each epoch",
        )
    return learner


def _known_settings(
    create: Any, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings a family knows: all of them for a `create` without a `Config` beside."""
    module = sys.modules.get(getattr(create, "__module__", None) or "")
    beside = vars(module).get("Config") if module is not None else None
    if not isinstance(beside, type) or not isinstance(beside, _Keyed):
        return dict(settings)
    known = set(beside.keys())  # a classmethod
    return {k: v for k, v in settings.items() if k in known or k in config}
