"""The folder of a trial on a node, and what of it travels to the run's folder.

Where nodes and driver share no disk, a trial is trained in a folder of the node's own. What a
report says was saved goes with that report, and the driver alone writes into the run's folder:
records first and the mark of a whole checkpoint last, as the worker itself does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hpo.ledger.folder import write_atomically
from hpo.worker import epochs

LIMIT = 8 * 2**20  # bytes that travel with one report
_LOG = "log.txt"
_LOG_LIMIT = 2**20  # of the log, likewise; the rest of it is left out
DONOR = "donor"  # the folder of another trial's checkpoint


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is new in a trial's folder.

    Attributes:
        files: Contents by name, relative to the trial's folder.
        log: What was added to its log.
        too_large: Bytes of `files` where they are too many to travel; they are left out.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    log: bytes = b""
    too_large: int = 0


class Mirror:
    """A trial's folder on a node.

    Args:
        folder: It, made here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, int, int]] = {}
        self._logged = 0
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, given: Mapping[str, bytes]) -> None:
        """Write what the run's folder holds; none of it travels back as it is."""
        for name, content in given.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._known = {name: self._state(name) for name in self._names()}

    def changes(self) -> Changes:
        """What is new since the last call."""
        states = {name: self._state(name) for name in self._names()}
        new = [name for name, state in states.items() if state != self._known.get(name)]
        size = sum(states[name][1] for name in new)
        if size > LIMIT:
            return Changes(log=self._log(), too_large=size)
        files = {name: (self._folder / name).read_bytes() for name in new}
        self._known = states
        return Changes(files=files, log=self._log())

    def _names(self) -> Iterable[str]:
        for path in self._folder.rglob("*"):
            name = path.relative_to(self._folder)
            hidden = any(part.startswith(".") for part in name.parts)
            if not hidden and name.parts[0] not in (_LOG, DONOR) and path.is_file():
                yield name.as_posix()

    def _state(self, name: str) -> tuple[int, int, int]:
        found = (self._folder / name).stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _log(self) -> bytes:
        try:
            with (self._folder / _LOG).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                skipped = max(0, size - self._logged - _LOG_LIMIT)
                file.seek(self._logged + skipped)
                text = file.read(_LOG_LIMIT)
        except OSError:
            return b""
        self._logged += skipped + len(text)
        return (b"[%d bytes left out]\n" % skipped if skipped else b"") + text


def holdings(trial: Path, *sources: tuple[str, Path | None]) -> dict[str, bytes]:
    """What a node needs of a trial's folder to go on with it.

    Args:
        trial: The trial's folder in the run.
        sources: Folders of checkpoints, each with its name on the node.
    """
    found = {p.name: p for p in _files(trial.glob("*")) if p.name != _LOG}
    for name, folder in sources:
        if folder is not None:
            for path in _files(folder.rglob("*")):
                found[f"{name}/{path.relative_to(folder).as_posix()}"] = path
    return {name: path.read_bytes() for name, path in found.items()}


def store(trial: Path, changes: Changes, *, ended: bool = False) -> None:
    """Write what is new into a trial's folder of the run.

    Args:
        trial: The trial's folder.
        changes: As `Mirror.changes` found them.
        ended: Whether the attempt is over: what was removed since stays so.

    Raises:
        OSError: The disk is full or the folder is read-only.
    """
    trial.mkdir(parents=True, exist_ok=True)
    places = [PurePosixPath(name) for name in sorted(changes.files, key=_order)]
    # A trial's folder is all that its worker may write into.
    places = [p for p in places if not p.is_absolute() and ".." not in p.parts]
    for place in places:
        if place.name == epochs.SAVED:
            epochs.begin_save(trial / place.parent)
    for place in places:
        path = trial / place
        if ended and len(place.parts) > 1 and not path.parent.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, changes.files[str(place)])
    if changes.log:
        with (trial / _LOG).open("ab") as file:
            file.write(changes.log)


def _order(name: str) -> tuple[int, str]:
    last = PurePosixPath(name).name
    return {epochs.FILE: 0, epochs.SAVED: 2}.get(last, 1), name


def _files(paths: Iterable[Path]) -> list[Path]:
    """Those that are files, without what is half written."""
    return [p for p in sorted(paths) if p.is_file() and not p.name.startswith(".")]
