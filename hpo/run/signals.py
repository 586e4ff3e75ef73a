"""Ctrl-C: once finishes cleanly, twice leaves at once; neither tears the ledger."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

_FINISHING = (
    "finishing: the epochs in progress are saved; press Ctrl-C again to leave now"
)


class Stop:
    """Whether a person (or the system) asked the run to stop; a context that listens.

    The first SIGINT or SIGTERM sets `requested` and creates the file at which workers look
    after each epoch; a second SIGINT raises `KeyboardInterrupt`, though never inside
    `shielded`. Outside the main thread it cannot listen, and does not.

    Args:
        file: Where the workers look.
        say: Is told what the first signal led to.
    """

    def __init__(self, file: Path, say: Callable[[str], None]) -> None:
        self.file = file
        self.requested = False
        self.reason = ""
        self._asked = ""
        self._say = say
        self._depth = 0
        self._leave = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Start to listen."""
        self.file.unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening; the handlers of before are back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self.file.unlink(missing_ok=True)

    def request(self, reason: str) -> None:
        """Ask the run to finish cleanly, as the first Ctrl-C does."""
        if not self.requested:
            self.requested, self.reason = True, reason
            self.file.touch()
            self._say(_FINISHING)

    def ask(self, reason: str) -> None:
        """From another thread: what Ctrl-C does, for a reason of one's own.

        Args:
            reason: Who asks, in words.
        """
        self._asked = reason
        if self._before:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            self.request(reason)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """A section that a second Ctrl-C does not cut in two: it is raised at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._leave and not self._depth:
                self._leave = False
                raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.request(self._asked or f"stopped by {signal.Signals(number).name}")
        elif number == signal.SIGINT:
            # One is enough: what follows is tidying up, and takes a second or two.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if self._depth:
                self._leave = True
            else:
                raise KeyboardInterrupt
