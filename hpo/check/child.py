"""A question to families, answered in a child process: they load JAX, the driver must not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from hpo.errors import ForeignFailure
from hpo.worker.environment import search_path
from models.errors import UserError


def ask(module: str, question: Any, *, failure: str) -> Any:
    """Run a module as a child that reads JSON and writes JSON.

    Args:
        module: Calls `answer` when it is run as ``python -m module``.
        question: Its standard input; what JSON does not know is sent as text.
        failure: What it means when the child fails, for the message.

    Returns:
        What its function returned.

    Raises:
        ForeignFailure: The child failed, as it does where a family cannot be imported or
            the data not be read.
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
    said = json.loads(child.stdout)
    if "error" in said:
        raise ForeignFailure(f"{failure}: {said['error']}", hint=said["hint"])
    return said["answer"]


def answer(function: Callable[[Any], Any]) -> None:
    """In the child: answer the question with a function, or with the mistake that it found.

    Args:
        function: From the question to something that JSON knows. What it prints, as a
            family may that it imports, goes to standard error.
    """
    said: dict[str, Any]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            said = {"answer": function(json.load(sys.stdin))}
        except UserError as error:
            said = {"error": error.message, "hint": error.hint}
    json.dump(said, sys.stdout)
