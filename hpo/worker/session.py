"""One attempt at one trial, on the worker's side: configuration in, epochs out.

A `Session` knows no executor: the same object trains under Ray, in a child process, and in
a re-run, which is why they give the same numbers.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import traceback
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpo.errors import ForeignFailure
from hpo.schedule import written
from hpo.worker import epochs
from hpo.worker.assignment import Assignment, Report
from hpo.worker.misfortune import suffer
from hpo.worker.pieces import Pieces
from models.errors import UserError
from models.training.protocol import (
    Compiled,
    Countable,
    Epoch,
    Learner,
    Resumable,
)

__all__ = ["Assignment", "Report", "Session"]


class Session:
    """Trains one attempt, an epoch a step. Nothing is loaded before the first step.

    Args:
        assignment: What to train.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._pieces: Pieces | None = None
        self._epochs: Iterator[Any] | None = None
        self._records: dict[int, Epoch] = {}
        self._waiting: list[Epoch] = []
        self._last = 0  # the last epoch the learner has done, in this attempt or before
        self._shift = 0  # 1 for a learner that counts its epochs from 0
        self._saved = 0
        self._unsaved_seconds = 0.0
        self._resumed_from = 0
        self._notes: list[str] = []
        self._failed = False

    @property
    def learner(self) -> Learner | None:
        """The learner, once the first step has made it."""
        return None if self._pieces is None else self._pieces.learner

    @property
    def _stored(self) -> Mapping[int, Epoch]:
        """Records that came with the checkpoint."""
        return {} if self._pieces is None else self._pieces.stored

    def step(self) -> Report:
        """Train one epoch; whatever the learner raises comes back as data.

        Exceptions and `SystemExit` are caught. Only the death of the process (and an
        interrupt) is left to whoever runs the worker.
        """
        try:
            if self._epochs is None:
                self._open()
            return self._next()
        except (Exception, SystemExit) as error:
            self._failed = True
            return self._report(**failure(error))

    def close(self) -> None:
        """End the attempt: save what is not saved yet, and end the generator."""
        with suppress(Exception, SystemExit):
            if isinstance(self._epochs, Generator):
                self._epochs.close()
        with suppress(Exception, SystemExit):
            self._save_at_end()
        self._pieces = self._epochs = None

    def _save_at_end(self) -> None:
        # A loser's folder may be gone already: then there is nothing worth keeping.
        if self._failed or not self._records or not self.assignment.directory.is_dir():
            return
        if self._last > self._saved:
            self._save()

    def _open(self) -> None:
        a = self.assignment
        if has_checkpoint(a.directory):
            drop(a.directory)  # of an attempt that no ledger knows: its machine died
        a.directory.mkdir(parents=True, exist_ok=True)
        self._pieces = Pieces(a)
        source = a.source
        if source is not None:
            self._take_up(self._pieces, source)
        elif a.attempt > 1:
            self._note("starts at epoch 1: no earlier attempt left a checkpoint")
        self._write_config()
        self._epochs = self._pieces.epochs(a.epochs)

    def _take_up(self, pieces: Pieces, source: Path) -> None:
        if not isinstance(pieces.learner, Resumable):
            self._note("starts at epoch 1: the learner has no save and restore")
            return
        try:
            pieces.take_up(source)
        except (Exception, SystemExit) as error:
            whose = f"attempt {self.assignment.restore}"
            if self.assignment.restore is None:
                whose = "the trial that it adopts"
            self._note(
                f"starts at epoch 1: the checkpoint of {whose} cannot be read "
                f"({_in_one_line(error)})"
            )

    def _next(self) -> Report:
        assert self._epochs is not None
        while not self._waiting:
            begin = time.perf_counter()
            try:
                thing = next(self._epochs)
            except StopIteration:
                return self._finish()
            self._take(thing, time.perf_counter() - begin)
        epoch = self._waiting.pop(0)
        chaos = self.assignment.chaos
        if chaos is not None and chaos.spoils(self.assignment.trial, epoch.number):
            self._note(f"has no validation of epoch {epoch.number}, on purpose")
        return self._report(epoch=epoch, checkpoint=self._checkpoint(epoch))

    def _take(self, thing: Any, seconds: float) -> None:
        """Sort one yielded record: known and stored ones are silent, new ones wait."""
        epoch = epochs.as_epoch(thing, self._last + 1)
        if epoch.number == 0 and self._last == 0:
            self._shift = 1
        epoch = replace(epoch, number=epoch.number + self._shift)
        if epoch.number <= self._last:
            raise ForeignFailure(
                f"fit_iter yielded epoch {epoch.number} after epoch {self._last}",
                hint="number the epochs 1, 2, 3, …",
            )
        for number in range(self._last + 1, epoch.number):  # taken over in silence
            if number in self._stored:
                self._keep(self._stored[number], stored=True)
        chaos = self.assignment.chaos
        if chaos is not None:
            epoch = chaos.spoiled(self.assignment.trial, epoch)
        stored = self._stored.get(epoch.number)
        if epochs.same(epoch, stored):
            assert stored is not None
            self._keep(stored, stored=True)
        else:
            if chaos is not None:
                suffer(chaos, self.assignment, epoch.number)
            self._unsaved_seconds += seconds
            self._keep(replace(epoch, seconds=epoch.seconds or seconds), stored=False)
        self._last = epoch.number

    def _keep(self, epoch: Epoch, *, stored: bool) -> None:
        self._records[epoch.number] = epoch
        if stored:
            self._resumed_from = epoch.number
        if not stored or epoch.number > self.assignment.known:
            self._waiting.append(epoch)

    def _checkpoint(self, epoch: Epoch) -> int | None:
        """Save when it is time to; the epoch the new checkpoint holds, or None."""
        a = self.assignment
        due = (
            epoch.number >= a.epochs
            or epoch.number in a.rungs
            or any(epoch.number == change.after for change in a.schedule)
            or self._unsaved_seconds + epoch.seconds >= a.checkpoint_seconds
            or (a.stopping is not None and a.stopping.exists())
        )
        if not due or self._waiting or self._last <= self._saved:
            return None
        return self._last if self._save() else None

    def _finish(self) -> Report:
        if not self._records:
            raise ForeignFailure(
                "fit_iter ended without yielding an epoch",
                hint="yield once after each epoch",
            )
        saved = self._last > self._saved and self._save()
        return self._report(checkpoint=self._last if saved else None)

    def _save(self) -> bool:
        """Records first, so that they never know less than the checkpoint."""
        learner = self.learner
        if not isinstance(learner, Resumable):
            return False
        directory = self.assignment.directory
        epochs.begin_save(directory)
        epochs.write(directory, {**self._stored, **self._records})
        learner.save(directory)
        epochs.end_save(directory, self._last)
        self._saved, self._unsaved_seconds = self._last, 0.0
        return True

    def _write_config(self) -> None:
        """Write ``config.json`` once per training: what repeats it, resolved."""
        a, learner = self.assignment, self.learner
        path = a.folder / "config.json"
        if path.exists() and not a.schedule:
            return  # a trial that adopts another one has a training of its own no more
        resolved = {**a.settings, **a.config}
        if isinstance(learner, Countable):
            changed = {name for change in a.schedule for name in change.traced}
            first = {k: v for k, v in a.config.items() if k in changed}
            resolved = {**learner.configuration, **first}
        content = {
            "trial": a.trial,
            "family": a.family,
            "create": a.create if isinstance(a.create, str) else None,
            "seed": a.seed,
            "epochs": a.epochs,
            "data": a.data if a.told_data is None else a.told_data,
            "task": a.task,
            "kernels": _kernels(learner),
            "config": resolved,
            **({"schedule": written(a.schedule)} if a.schedule else {}),
        }
        epochs.replace(path, json.dumps(content, indent=2, default=str) + "\n")

    def _note(self, text: str) -> None:
        self._notes.append(f"attempt {self.assignment.attempt} {text}")

    def _report(self, **values: Any) -> Report:
        learner = self.learner
        notes, self._notes = tuple(self._notes), []
        return Report(
            trial=self.assignment.trial,
            attempt=self.assignment.attempt,
            parameters=_parameters(learner),
            kernels=_kernels(learner),
            resumed_from=self._resumed_from,
            resumable=isinstance(learner, Resumable),
            notes=notes,
            **values,
        )


def failure(error: BaseException) -> dict[str, Any]:
    """The fields of a report on an exception: `error`, `reason` and `obstacle`."""
    return {
        "error": _told(error),
        "reason": _in_one_line(error),
        "obstacle": _obstacle(error),
    }


def has_checkpoint(directory: os.PathLike[str]) -> bool:
    """Whether an attempt's folder holds a whole checkpoint."""
    try:  # a listing is asked of the server, where NFS answers `exists` from a cache
        return epochs.SAVED in os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False


def drop(directory: os.PathLike[str]) -> None:
    """Delete an attempt's checkpoint; the marker first, so that no half is ever read."""
    with suppress(OSError):
        os.unlink(os.path.join(directory, epochs.SAVED))
    shutil.rmtree(directory, ignore_errors=True)


def _parameters(learner: Learner | None) -> int | None:
    try:
        return int(learner.parameters) if isinstance(learner, Countable) else None
    except Exception:  # a report must never fail for want of a count
        return None


def _kernels(learner: Learner | None) -> str | None:
    return str(learner.kernel_choice) if isinstance(learner, Compiled) else None


def _obstacle(error: BaseException) -> str:
    """A full or read-only disk in words: it would fail every other trial, too."""
    no_room = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if isinstance(error, OSError) and error.errno in no_room:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or os.strerror(error.errno)}{where}"
    return ""


def _told(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    inside = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.format_exception(type(error), error, inside))


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, UserError):
        return error.message.partition("\n")[0]
    if isinstance(error, SystemExit):
        return f"the code called sys.exit({error.code!r})"
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
