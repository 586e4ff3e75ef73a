"""A ledger with faults on purpose: a disk that is full, and a driver that is killed."""

from __future__ import annotations

import errno
import os
import signal

from hpo.chaos import Chaos
from hpo.ledger.events import RunEvent
from hpo.ledger.log import Kind, Ledger, explained


class FaultyLedger(Ledger):
    """A ledger in which events of some numbers are not written, or are the last ones.

    The disk stays full until another driver takes up the run: its first event is written.

    Attributes:
        chaos: The faults; none before they are set.
    """

    chaos = Chaos()

    def append(self, event: Kind) -> Kind:
        """Write one event, or refuse to; see `Ledger.append`.

        Args:
            event: What happened.

        Raises:
            RunError: The disk is full, on purpose or not.
        """
        number = self.count + 1
        if number in self.chaos.disk_full and not isinstance(event, RunEvent):
            with explained(self.path, "write"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().append(event)
        if number in self.chaos.driver:
            self.sync()
            os.kill(os.getpid(), signal.SIGKILL)
        return written
