"""Getting a `create` function into another process, wherever it was defined."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.machinery import PathFinder
from operator import attrgetter
from typing import Any

from hpo.errors import ForeignFailure
from hpo.worker.environment import compose, search_path

Create = Callable[..., Any]


def pack(create: str | Create) -> str | bytes:
    """Make `create` fit to travel: a name as it is, a callable as cloudpickled bytes.

    Functions of a module that another process could not import (a script, a notebook, a
    study file loaded by its path) travel by value.

    Raises:
        ForeignFailure: The callable holds something that cannot be pickled.
    """
    if isinstance(create, str):
        return create
    import cloudpickle

    name = getattr(create, "__module__", None) or type(create).__module__
    module = sys.modules.get(name)
    by_value = module is not None and name != "__main__" and not _importable(name)
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        blob: bytes = cloudpickle.dumps(create)
    except Exception as error:
        raise ForeignFailure(
            f"`create` cannot be sent to another process: {error}",
            hint="define it at the top of a module and keep open files and locks out of it",
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return blob


def unpack(create: str | bytes) -> Create:
    """Give back the callable, in the process that will use it.

    Raises:
        ForeignFailure: The name is not ``module:function``, or names nothing.
    """
    if isinstance(create, bytes):
        import cloudpickle

        return _callable(cloudpickle.loads(create), "the shipped `create`")
    module, separator, path = create.partition(":")
    if not separator or not path:
        raise ForeignFailure(
            f"`create` must be `module:function`, got {create!r}",
            hint="name a function that takes (config, context)",
        )
    try:
        return _callable(attrgetter(path)(importlib.import_module(module)), create)
    except (ModuleNotFoundError, AttributeError) as error:
        missing = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and not module.startswith(
            f"{missing}"
        ):
            raise  # the module exists; what it imports does not
        raise ForeignFailure(
            f"`create` = `{create}` cannot be found: {error}",
            hint="a function of a script or notebook must be given again to go on with a run",
        ) from error


def _callable(thing: Any, what: str) -> Create:
    if not callable(thing):
        raise ForeignFailure(
            f"{what} is a {type(thing).__name__}, not a function",
            hint="name a function that takes (config, context)",
        )
    found: Create = thing
    return found


def can_be_found(create: str) -> bool:
    """Whether ``module:function`` names a module that a fresh process could import."""
    module, separator, path = create.partition(":")
    usable = separator and module != "__main__" and "<" not in path
    return bool(usable) and _origin(module) is not None


def _importable(name: str) -> bool:
    """Whether a fresh process with this `sys.path` would find the same module."""
    origin = _origin(name)
    return origin is not None and origin == getattr(sys.modules[name], "__file__", None)


def _origin(name: str) -> str | None:
    """Where a fresh process would find a module; nothing is imported here.

    Returns:
        The file, empty for a package without one, None where there is no such module.
    """
    path: list[str] | None = None
    spec = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), path)
        if spec is None:
            return _origin_elsewhere(name)
        path = list(spec.submodule_search_locations or ())
    return (spec.origin or "") if spec else None


@lru_cache
def _origin_elsewhere(name: str) -> str | None:
    """The same for a module that no folder of `sys.path` holds, asked of a fresh process.

    Editable installs put finders of their own on `sys.meta_path` when Python starts; a
    finder that this process added later is of no use to its workers.
    """
    answer = subprocess.run(
        [sys.executable, "-P", "-c", _FIND, name],
        env=compose({"PYTHONPATH": search_path()}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return None if answer.returncode else answer.stdout.splitlines()[-1]


_FIND = """
import importlib.util, sys
spec = importlib.util.find_spec(sys.argv[1])
print(spec.origin or "") if spec else sys.exit(1)
"""
