"""Whether what would change while a model is trained can: asked before anything is trained.

A child process (``python -m hpo.check.traced``) asks the families, because they load JAX and the
driver must not.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from hpo.check import child
from hpo.check.corners import middle
from hpo.errors import StudyError
from hpo.schedule import values_in
from hpo.stopping.population import changed_keys
from hpo.study import Study
from hpo.worker.pickling import unpack
from models.errors import near_matches

_FOREIGN = (
    "say so beside the function, `create.traced = ('rate',)`, where its learner has "
    "`adopt(directory, traced)` (`models.training.protocol.Adoptable`)"
)


def refuse_static(study: Study, creates: Mapping[str, str | bytes]) -> None:
    """Refuse a study that would change values which no learner can change in training.

    Families of `models` tell by their `Config`, functions of other people by an attribute
    `traced`, the keys in a tuple.

    Args:
        study: The study about to be launched.
        creates: Each family's `create`, as it travels to the workers.

    Raises:
        StudyError: A value is static, or a family's learner adopts nothing.
        ForeignFailure: A family's module cannot be imported, or it refuses a value.
    """
    changed = changed_keys(study)
    if not changed:
        return
    told: dict[str, Any] = {}
    asked: dict[str, list[Any]] = {}
    for name in changed:
        create, space = creates[name], study.family(name).space
        if isinstance(create, bytes):
            told[name] = _declared(unpack(create))
        else:
            first = {**study.settings, **space.complete(middle(space, {}))}
            asked[name] = [create, [first, *_changed(study, name)]]
    if asked:
        told |= child.ask(
            "hpo.check.traced",
            asked,
            failure="the families refuse what would change in training",
        )
    for name, keys in changed.items():
        _refuse(name, keys, told[name])


def _changed(study: Study, family: str) -> list[dict[str, Any]]:
    """The configurations behind each change of the trials that a study names itself."""
    space = study.family(family).space
    return [
        {
            **study.settings,
            **values_in(
                (t.space or space).complete(t.params), t.schedule, change.after + 1
            ),
        }
        for t in study.fixed
        if t.family == family
        for change in t.schedule
    ]


def _refuse(family: str, keys: tuple[str, ...], traced: list[str] | None) -> None:
    if traced is None:
        raise StudyError(
            f"family `{family}`: `{keys[0]}` would change while a model is trained, and its "
            "`create` does not tell which keys may",
            hint=_FOREIGN,
        )
    if not traced:
        raise StudyError(
            f"family `{family}`: `{keys[0]}` would change while a model is trained, and its "
            "learner cannot go on from another one's state",
            hint="leave the family out, or search nothing in it",
        )
    for key in keys:
        if key not in traced:
            raise StudyError(
                f"family `{family}`: `{key}` would change while a model is trained, but it is "
                "static: a state fits one value of it only",
                hint=f"make it a constant, or {near_matches(key, traced)}",
            )


def _declared(create: Any) -> list[str] | None:
    """The keys that a function says may change; None where it says nothing."""
    found = getattr(create, "traced", None)
    return None if found is None else [str(key) for key in found]


def _of_family(reference: str, points: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """In the child: a family's traced keys at the first point; it accepts all the others."""
    name, _, function = reference.partition(":")
    module = importlib.import_module(name)
    names = vars(module)
    kind: Any = names.get("Config")
    if kind is None:
        return _declared(getattr(module, function, None))
    if names.get("CLOSED_FORM"):
        return []
    own = set(kind.keys())
    configs = [
        kind.from_flat({k: v for k, v in values.items() if k in own})
        for values in points
    ]
    return list(configs[0].traced())


def _answers(question: Any) -> dict[str, list[str] | None]:
    return {name: _of_family(*asked) for name, asked in question.items()}


if __name__ == "__main__":
    child.answer(_answers)
