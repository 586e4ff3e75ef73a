"""Whether what would change while a model is trained can: asked before anything is trained.

A child process (``python -m hpo.check.traced``) asks the families, because they load JAX and the
driver must not.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hpo.check import child
from hpo.check.corners import middle
from hpo.errors import StudyError
from hpo.schedule import values_in
from hpo.stopping.population import changed_keys, kept_keys
from hpo.study import Study
from hpo.worker.pickling import unpack
from models.errors import near_matches

_FOREIGN = (
    "say so beside the function, `create.traced = ('rate',)`, where its learner has "
    "`adopt(directory, traced)` (`models.training.protocol.Adoptable`)"
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a family says of its keys.

    Attributes:
        traced: Those whose values are arrays in the training state.
        start: Those of them that act where training begins alone.
    """

    traced: list[str]
    start: list[str] = field(default_factory=list)


def refuse_static(study: Study, creates: Mapping[str, str | bytes]) -> None:
    """Refuse a study that would change values which no learner can change in training.

    Families of `models` tell by their `Config`, functions of other people by an attribute
    `traced`, the keys in a tuple.

    Args:
        study: The study about to be launched.
        creates: Each family's `create`, as it travels to the workers.

    Raises:
        StudyError: A value is static or acts where training begins alone, or a family's
            learner adopts nothing.
        ForeignFailure: A family's module cannot be imported, or it refuses a value.
    """
    changed = changed_keys(study)
    if not changed:
        return
    told: dict[str, Told | None] = {}
    asked: dict[str, list[Any]] = {}
    for name in changed:
        create, space = creates[name], study.family(name).space
        if isinstance(create, bytes):
            told[name] = _declared(unpack(create))
        else:
            first = {**study.settings, **space.complete(middle(space, {}))}
            asked[name] = [create, [first, *_changed(study, name)]]
    if asked:
        answers = child.ask(
            "hpo.check.traced",
            asked,
            failure="the families refuse what would change in training",
        )
        told |= {
            name: None if found is None else Told(**found)
            for name, found in answers.items()
        }
    for name, keys in changed.items():
        _refuse(name, keys, told[name], kept=kept_keys(study, name))


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


def _refuse(
    family: str, keys: tuple[str, ...], told: Told | None, *, kept: tuple[str, ...]
) -> None:
    if told is None:
        raise StudyError(
            f"family `{family}`: `{keys[0]}` would change while a model is trained, and its "
            "`create` does not tell which keys may",
            hint=_FOREIGN,
        )
    if not told.traced:
        raise StudyError(
            f"family `{family}`: `{keys[0]}` would change while a model is trained, and its "
            "learner cannot go on from another one's state",
            hint="leave the family out, or search nothing in it",
        )
    for key in (*keys, *kept):
        if key not in told.traced:
            raise StudyError(
                f"family `{family}`: `{key}` would change while a model is trained, but it is "
                "static: a state fits one value of it only",
                hint=f"make it a constant, or {near_matches(key, told.traced)}",
            )
    for key in keys:
        if key in told.start:
            raise StudyError(
                f"family `{family}`: `{key}` would change while a model is trained, but it "
                "acts where training begins alone: later nothing reads it",
                hint="leave it out of schedules; `pbt` leaves alone what its option `start` "
                f'names, {{"start": ["{key}"]}}',
            )


def _declared(create: Any) -> Told | None:
    """The keys that a function says may change; None where it says nothing."""
    found = getattr(create, "traced", None)
    return None if found is None else Told(traced=[str(key) for key in found])


def _of_family(reference: str, points: Sequence[Mapping[str, Any]]) -> Told | None:
    """In the child: a family's traced keys at the first point; it accepts all the others."""
    name, _, function = reference.partition(":")
    module = importlib.import_module(name)
    names = vars(module)
    kind: Any = names.get("Config")
    if kind is None:
        return _declared(getattr(module, function, None))
    if names.get("CLOSED_FORM"):
        return Told(traced=[])
    own = set(kind.keys())
    configs = [
        kind.from_flat({k: v for k, v in values.items() if k in own})
        for values in points
    ]
    return Told(traced=list(configs[0].traced()), start=list(kind.start_keys()))


def _answers(question: Any) -> dict[str, dict[str, list[str]] | None]:
    found = {name: _of_family(*asked) for name, asked in question.items()}
    return {
        name: None if told is None else asdict(told) for name, told in found.items()
    }


if __name__ == "__main__":
    child.answer(_answers)
