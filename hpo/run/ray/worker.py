"""The code of Ray's worker processes. Neither optuna nor a report is imported here."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from hpo.worker.batch import reports
from hpo.worker.evaluation import Evaluation, begin
from hpo.worker.process import redirect, watch
from hpo.worker.session import Session

_search_path: list[str] = []


def keep_search_path() -> None:
    """Load this module and keep where modules are found, as the process has just started.

    With its first task Ray puts the driver's current folder before everything else, where a
    person's own folder ``models`` would take the place of ours.
    """
    _search_path[:] = sys.path


class Worker(Trainable):
    """Trains one session after another; errors are returned, never raised."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin in a fresh process."""
        sys.path[:] = _search_path
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver alone
        watch(os.getppid())
        self._session: Session | Evaluation | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Epochs, or scores; never `done`, since only the Director ends trials."""
        assert self._session is not None
        return {"reports": reports(self._session)}

    def cleanup(self) -> None:
        """Save what is not saved and end the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _begin(self, config: dict[str, Any]) -> None:
        self.cleanup()
        assignment = pickle.loads(config["assignment"])
        creates = pickle.loads(Path(config["creates"]).read_bytes())
        with suppress(OSError):  # a full disk must not cost the log its trial
            redirect(assignment.folder / "log.txt")
        self._session = begin(replace(assignment, create=creates[assignment.family]))
