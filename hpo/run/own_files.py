"""Files of a person's own that a study names in its values, as ``my_file:NAME``."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution

from hpo.packages import PACKAGES
from hpo.study import Study
from hpo.worker.environment import STUDY_FOLDER

_NAMED = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")


def own_files(study: Study) -> dict[str, str]:
    """Every such name in settings and spaces, with its file's SHA-256.

    Args:
        study: The study; what its families make of the names is theirs to say.
    """
    return digests(value for value in _values(study) if _own(value))


def digests(references: Iterable[str]) -> dict[str, str]:
    """The files of some names now; empty text for one that is gone.

    Args:
        references: Names such as ``my_file:NAME``.
    """
    return {name: _digest(name) for name in sorted(set(references))}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two answers of `digests`, one sentence each."""
    return [
        f"the file of `{name}` {'changed' if now.get(name) else 'is gone'}"
        for name, digest in before.items()
        if now.get(name) != digest
    ]


def _values(study: Study) -> Iterator[Any]:
    yield from study.settings.values()
    for family in study.families:
        for entry in family.space.entries().values():
            chosen = isinstance(entry, CategoricalDistribution)
            yield from entry.choices if chosen else (entry,)


def _own(value: Any) -> bool:
    match = _NAMED.fullmatch(value) if isinstance(value, str) else None
    return match is not None and match[1].partition(".")[0] not in PACKAGES


def _digest(reference: str) -> str:
    path = _file(reference.partition(":")[0])
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""
    except OSError:
        return ""


def _file(module: str) -> Path | None:
    """Beside the study, where Python finds it, or in the current folder."""
    relative = Path(*module.split(".")).with_suffix(".py")
    beside = os.environ.get(STUDY_FOLDER)
    if beside and (Path(beside) / relative).is_file():
        return Path(beside) / relative
    spec = PathFinder.find_spec(module) if "." not in module else None
    if spec is not None and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin)
    return relative if relative.is_file() else None
