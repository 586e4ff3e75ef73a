"""Equations found by name: those shipped, and one's own as ``my_file:TANKS``."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from models.errors import ConfigError, near_matches
from models.physics.equation import Equation

_SHIPPED = Path(__file__).parent / "equations"
_STUDY_FOLDER = "HPO_STUDY_FOLDER"  # a harness tells its workers where the study lies


def names() -> tuple[str, ...]:
    """The shipped equations."""
    return tuple(sorted(p.stem for p in _SHIPPED.glob("*.py") if p.stem != "__init__"))


def find_equation(reference: str) -> Equation:
    """The equation of a name.

    Args:
        reference: A shipped one's name, or ``my_file:NAME`` for a constant of ``my_file.py``
            beside the study, on Python's search path, or in the current folder.

    Raises:
        ConfigError: There is no such equation, its file fails, or it breaks a rule.
    """
    path = equation_file(reference)
    module = _load(path, content_of(reference))
    name = reference.partition(":")[2] or "EQUATION"
    found = vars(module).get(name)
    if not isinstance(found, Equation):
        got = "nothing" if found is None else f"a {type(found).__name__}"
        raise ConfigError(
            f"`{reference}` must name an `Equation`, got {got}",
            hint=near_matches(
                name, [k for k, v in vars(module).items() if isinstance(v, Equation)]
            ),
        )
    found.check(where=reference)
    return found


def content_of(reference: str) -> str:
    """A hash of the file that states an equation, so that a change of it is noticed.

    Raises:
        ConfigError: There is no such file.
    """
    path = equation_file(reference)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"the equation `{reference}` cannot be read from {path}: {error.strerror}"
        ) from error


def equation_file(reference: str) -> Path:
    """The file that states an equation; nothing is run.

    Raises:
        ConfigError: There is none.
    """
    module, separator, name = reference.partition(":")
    if not separator:
        if module in names():
            return _SHIPPED / f"{module}.py"
        raise ConfigError(
            f"unknown equation `{reference}`",
            hint=f"{near_matches(module, names())}; or one's own as `my_file:NAME`",
        )
    if not (module and name.isidentifier()):
        raise ConfigError(
            f"one's own equation is named `my_file:NAME`, got `{reference}`"
        )
    path = _module_file(module)
    if path is None:
        raise ConfigError(
            f"there is no file `{module.replace('.', '/')}.py` for the equation "
            f"`{reference}`",
            hint="put it beside the study, into the current folder, or on PYTHONPATH",
        )
    return path


def _module_file(module: str) -> Path | None:
    """Beside the study, where Python would find a module, or in the current folder."""
    relative = Path(*module.split(".")).with_suffix(".py")
    beside = os.environ.get(_STUDY_FOLDER)
    if beside and (Path(beside) / relative).is_file():
        return (Path(beside) / relative).resolve()
    path: list[str] | None = None
    spec = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), path)
        if spec is None:
            break
        path = list(spec.submodule_search_locations or ())
    if spec is not None and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin)
    return relative.resolve() if relative.is_file() else None


@lru_cache(maxsize=64)
def _load(path: Path, content: str) -> ModuleType:
    """Run a file, once for each content; under a name of its own, for it may change."""
    if path.parent == _SHIPPED:
        return importlib.import_module(f"{__package__}.equations.{path.stem}")
    name = f"equation_file_{path.stem}_{content[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look themselves up there
    try:
        # Not by the loader: its bytecode knows a file by size and second, and may be stale.
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), vars(module))  # noqa: S102
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        at = f", line {lines[-1]}" if lines else ""
        raise ConfigError(f"{path}{at}: {type(error).__name__}: {error}") from error
    return module
