"""Workers that answer one request at a time, so that their epochs can be alternated.

A worker is a process with its own interpreter, pinned to one core; requests and answers are
lines of JSON. This module is loaded by the peers' interpreter too: standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Worker:
    """The driver's side of a worker.

    Args:
        python: The interpreter.
        module: Run as ``python -m module``; it calls `serve`.
        core: The core it may use; None for all of them.
        environment: Variables on top of this process's own; None takes one away.
        root: The checkout it runs; this one by default.
    """

    def __init__(
        self,
        *,
        python: str,
        module: str,
        core: int | None,
        environment: Mapping[str, str | None],
        root: Path | None = None,
    ) -> None:
        merged: dict[str, str | None] = {**os.environ, **environment}
        place = str(root or Path(__file__).parents[3])
        self.module = module
        self._process = subprocess.Popen(
            [python, "-m", module],
            env={k: v for k, v in merged.items() if v is not None}
            | {"PYTHONPATH": place},
            cwd=place,
            preexec_fn=None
            if core is None
            else partial(os.sched_setaffinity, 0, {core}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Send one request and wait for its answer.

        Raises:
            RuntimeError: The worker failed or is gone.
        """
        self.send(verb, **arguments)
        return self.receive()

    def send(self, verb: str, **arguments: Any) -> None:
        """Send one request; `receive` waits for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([verb, arguments]) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Wait for the answer to what was sent.

        Raises:
            RuntimeError: The worker failed or is gone.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.module} is gone ({self._process.wait()})")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.module}: {answer['error']}")
        return answer["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def serve(verbs: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests until the driver closes the pipe. What is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            answer = {"value": verbs[verb](**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
