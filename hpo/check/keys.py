"""Asking families, before anything is trained, what they make of a study's keys.

A child process does the asking, because families load JAX and the driver must not.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hpo.errors import ForeignFailure, StudyError
from hpo.study import Study
from models.errors import UserError, near_matches


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """What a family's own configuration says to some keys and values.

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

    A child process does it, because families load JAX and the driver must not.

    Args:
        asked: (``module:function`` of a `create`, dotted keys with values) pairs.

    Raises:
        ForeignFailure: A family's module cannot be imported.
    """
    child = subprocess.run(
        [sys.executable, "-m", "hpo.check.keys"],
        input=json.dumps([[reference, dict(values)] for reference, values in asked]),
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
        },
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        raise ForeignFailure(f"the families' configurations cannot be loaded: {last}")
    return tuple(Checked(**answer) for answer in json.loads(child.stdout))


def check_spaces(study: Study) -> None:
    """Refuse a study whose spaces or settings name keys that its families do not know.

    Families without a `Config` beside their `create` take any key.

    Args:
        study: The study about to be launched.

    Raises:
        StudyError: A key is unknown (near matches are listed) or a constant is refused.
        ForeignFailure: A family's module cannot be imported.
    """
    answers = check_configurations(
        [(f.reference, f.space.constants) for f in study.families]
    )
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


if __name__ == "__main__":
    answers = [_check_one(*pair) for pair in json.load(sys.stdin)]
    json.dump([dataclasses.asdict(a) for a in answers], sys.stdout)
