"""Asking families, before anything is trained, what they make of a study's keys."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpo.check import child
from hpo.check.corners import corners
from hpo.errors import StudyError
from hpo.study import Family, Study
from models.errors import UserError, near_matches

Check = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], "tuple[Checked, ...]"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """The answer of a family's own configuration to some keys and values.

    Attributes:
        keys: Every key it knows, or None when its module has no `Config`.
        error: Why it refuses one of the values; empty when it accepts them.
        hint: What to do about it.
    """

    keys: tuple[str, ...] | None
    error: str = ""
    hint: str = ""


def check_configurations(
    asked: Sequence[tuple[str, Mapping[str, Any]]],
) -> tuple[Checked, ...]:
    """Ask configuration classes which of these keys they know and whether the values fit.

    Args:
        asked: (``module:function`` of a `create`, dotted keys with values) pairs.

    Raises:
        ForeignFailure: A family's module cannot be imported.
    """
    answers = child.ask(
        "hpo.check.keys",
        [[reference, dict(values)] for reference, values in asked],
        failure="the families' configurations cannot be loaded",
    )
    return tuple(Checked(**answer) for answer in answers)


def check_families(
    families: Sequence[Family],
    over: Mapping[str, Any] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    check: Check = check_configurations,
) -> tuple[Checked, ...]:
    """Each family's answer to the first point of its space and to those around it.

    Args:
        families: Of a study.
        over: Values that replace those of every point.
        settings: Values that hold where a space says nothing.
        check: Asks configuration classes what they know.

    Returns:
        An answer a family; its error is the first one where *every* point is refused, so
        that no trial could be trained. One that hits some points only is told by
        `hpo check`, which looks at all corners.
    """
    points = [
        [
            {**(settings or {}), **f.space.complete(corner.point), **(over or {})}
            for corner in corners(
                f.space, f.initial_points[0] if f.initial_points else {}, together=1
            )
        ]
        for f in families
    ]
    pairs = zip(families, points, strict=True)
    answers = iter(check([(f.reference, p) for f, own in pairs for p in own]))
    out = []
    for own in points:
        said = [next(answers) for _ in own]
        fine = next((s for s in said if not s.error), None)
        out.append(fine or said[0])
    return tuple(out)


def refuse_unknown(study: Study, answers: Sequence[Checked]) -> None:
    """Refuse a study whose spaces or settings name keys that its families do not know.

    Families without a `Config` beside their `create` take any key.

    Args:
        study: The study about to be launched.
        answers: What its families say, as `check_families` gives it.

    Raises:
        StudyError: A key is unknown (near matches are listed), or constants and defaults
            are such that a family refuses every point.
    """
    for family, answer in zip(study.families, answers, strict=True):
        for key in family.space.entries():
            if answer.keys is not None and key not in answer.keys:
                raise StudyError(
                    f"family `{family.name}` knows no configuration key `{key}`",
                    hint=near_matches(key, answer.keys),
                )
        if answer.error:
            raise StudyError(
                f"family `{family.name}`: {answer.error}", hint=answer.hint or None
            )
    known = [answer.keys for answer in answers]
    for key in study.settings:
        if all(keys is not None and key not in keys for keys in known):
            raise StudyError(
                f"no family of the study knows the key `{key}` of its settings",
                hint=near_matches(key, {k for keys in known for k in keys or ()}),
            )


def _check_one(reference: str, values: Mapping[str, Any]) -> Checked:
    module_name = reference.partition(":")[0]
    if importlib.util.find_spec(module_name) is None:
        return Checked(keys=None)
    kind = vars(importlib.import_module(module_name)).get("Config")
    if kind is None:
        return Checked(keys=None)
    keys = tuple(kind.keys())
    try:
        kind.from_flat({k: v for k, v in values.items() if k in keys})
    except UserError as error:
        return Checked(keys=keys, error=error.message, hint=error.hint or "")
    return Checked(keys=keys)


def _answers(question: Any) -> list[dict[str, Any]]:
    return [dataclasses.asdict(_check_one(*pair)) for pair in question]


if __name__ == "__main__":
    child.answer(_answers)
