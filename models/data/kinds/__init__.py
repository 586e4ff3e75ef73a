"""How data lies on disk and is cut: one module for each kind, found by its name.

`models.data.kinds.base` says what such a module has.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import cast

from models.data.kinds.base import Kind
from models.errors import DataError, near_matches

_NO_KIND = "base"
_NAMED = frozenset({"windows"})
"""Kinds that lie as another does: not told by the layout, but named by a request."""


def names() -> tuple[str, ...]:
    """Every kind of data."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in found if n != _NO_KIND and not n.startswith("_")))


def kind(name: str) -> Kind:
    """A kind of data by name.

    Raises:
        DataError: There is none of this name.
    """
    if name not in names():
        raise DataError(
            f"unknown kind of data `{name}`", hint=near_matches(str(name), names())
        )
    return cast(Kind, importlib.import_module(f"{__name__}.{name}"))


def kind_at(path: Path) -> str:
    """The kind of the data at a path, by its layout; nothing is read.

    Raises:
        DataError: No kind, or more than one, lies there.
    """
    told = (name for name in names() if name not in _NAMED)
    found = [name for name in told if kind(name).find(path) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{path} may be data of the kinds {' and '.join(found)}",
            hint=f'say which: data={{"path": …, "kind": "{found[0]}"}}',
        )
    raise DataError(f"{path} is no dataset: {_what_is(path)}", hint=layouts())


def layouts() -> str:
    """How each kind lies on disk, for hints."""
    return "; ".join(f"{name}: {kind(name).LAYOUT}" for name in names())


def _what_is(path: Path) -> str:
    """The reason why a path is no dataset."""
    if not path.exists():
        return "there is nothing"
    if not path.is_dir():
        return f"no kind of data is a file that ends in `{path.suffix}`"
    several = sorted(p.name for p in path.iterdir() if _is_data(p))
    if several:
        return f"name one of its files: {', '.join(several[:8])}"
    return "it has no part `train`"


def _is_data(path: Path) -> bool:
    return path.is_file() and any(kind(name).find(path) for name in names())
