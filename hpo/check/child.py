"""A question to families, answered in a child process: they load JAX, the driver must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from hpo.errors import ForeignFailure
from hpo.run.environment import search_path


def ask(module: str, question: Any, *, failure: str) -> Any:
    """Run a module as a child that reads JSON and writes JSON.

    Args:
        module: Answers as ``python -m module``.
        question: Its standard input; what JSON does not know is sent as text.
        failure: What it means when the child fails, for the message.

    Returns:
        What it wrote.

    Raises:
        ForeignFailure: The child failed, as it does where a family cannot be imported.
    """
    child = subprocess.run(
        [sys.executable, "-P", "-m", module],
        input=json.dumps(question, default=str),
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": search_path(),
        },
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        raise ForeignFailure(f"{failure}: {last}")
    return json.loads(child.stdout)
