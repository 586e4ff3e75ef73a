"""Whether the compiled kernels are there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from tests.benchmarks.tools.machine import ONE_THREAD, ROOT

_MODULE = "models.layers.kernels.compiled"
_ASK = f"from {_MODULE} import choice; print(choice())"


def choice() -> str:
    """Which kernels a worker would use: an instruction set, or ``off``.

    Asked in a process of its own, since this one loads no JAX.
    """
    if importlib.util.find_spec("models.layers.kernels") is None:
        return "off"
    environment = {k: v for k, v in os.environ.items() if k != "HPO_KERNELS"}
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=environment
        | ONE_THREAD
        | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]
