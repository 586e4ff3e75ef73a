"""Loaded by Python itself at its start: notes when this process is busy importing.

Put this folder on PYTHONPATH and name a folder in BENCHMARK_IMPORTS; every process then
writes a file there, a line for each outermost import: when it began, when it ended, its name.
"""

import builtins
import importlib
import json
import os
import threading
import time

_FOLDER = os.environ.get("BENCHMARK_IMPORTS")
_SHORTEST = 0.001  # seconds; shorter imports are mostly of what is loaded already


def _install(folder: str) -> None:
    local = threading.local()
    path = os.path.join(folder, f"{os.getpid()}.jsonl")

    def timed(function):  # type: ignore[no-untyped-def]
        def wrapper(name, *arguments, **options):  # type: ignore[no-untyped-def]
            if getattr(local, "inside", False):
                return function(name, *arguments, **options)
            local.inside, begin = True, time.time()
            try:
                return function(name, *arguments, **options)
            finally:
                local.inside, end = False, time.time()
                if end - begin >= _SHORTEST:
                    with open(path, "a") as file:
                        file.write(json.dumps([begin, end, name]) + "\n")

        return wrapper

    builtins.__import__ = timed(builtins.__import__)
    importlib.import_module = timed(importlib.import_module)


if _FOLDER:
    _install(_FOLDER)
