"""A run's folder: what lies where, how it is made, found and locked.

results/<study>/<YYYYMMDD-HHMMSS>-<hash>/
  study.json      resolved study and spaces, provenance, command line
  events.jsonl    the ledger
  trials/0007/    config.json · attempt-1/ · error.txt · excerpts.npz
  reruns/ report/
  .index          what was read of a long ledger; can be deleted at any time
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from hpo.errors import RunError, RunLocked
from hpo.ledger import lease
from hpo.ledger.lock import READ_ONLY, seen_held
from models.errors import near_matches

if TYPE_CHECKING:
    from hpo.study import Study

SCHEMA = 1
PATIENCE = 0.5  # seconds for which a lock is asked for; looking at it takes some µs,
GLANCE = 0.05  # unless it is held, or somebody else just looks
_RUN_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]+")


class RunFolder:
    """One run's folder, whether it is there yet or not.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    # -- what lies where ----------------------------------------------------------------

    @property
    def name(self) -> str:
        """The run's own name, such as ``20260131-101500-1a2b3c4d``."""
        return self.path.resolve().name

    @property
    def study_name(self) -> str:
        """The name of its study, after the folder it lies in."""
        return self.path.resolve().parent.name

    @property
    def study_file(self) -> Path:
        """The resolved study, provenance and command line."""
        return self.path / "study.json"

    @property
    def events_file(self) -> Path:
        """The ledger."""
        return self.path / "events.jsonl"

    @property
    def index_file(self) -> Path:
        """The index of a long ledger, so that it need not be read again."""
        return self.path / ".index"

    @property
    def lock_file(self) -> Path:
        """The file that the run's one driver holds a lock on."""
        return self.path / ".lock"

    @property
    def lease_file(self) -> Path:
        """The lease of the run's one driver (`hpo.ledger.lease`)."""
        return self.path / ".lease"

    @property
    def request_file(self) -> Path:
        """Where a driver on another host is asked to stop."""
        return self.path / ".stop"

    @property
    def reruns(self) -> Path:
        """Where re-runs of finished trials go."""
        return self.path / "reruns"

    @property
    def result_file(self) -> Path:
        """What came of a re-run, written when nothing is left to do; runs have none."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """Where reports go."""
        return self.path / "report"

    def trial(self, number: int) -> Path:
        """A trial's folder.

        Args:
            number: The trial's number in the run, from 1.
        """
        return self.path / "trials" / f"{number:04d}"

    def attempt(self, number: int, attempt: int) -> Path:
        """The folder of one go at a trial, where its checkpoint lies."""
        return self.trial(number) / f"attempt-{attempt}"

    def adopted(self, number: int, attempt: int) -> Path:
        """The folder of another trial's checkpoint that an attempt goes on from."""
        return self.trial(number) / f"adopted-{attempt}"

    def config_file(self, number: int) -> Path:
        """A trial's whole configuration."""
        return self.trial(number) / "config.json"

    def error_file(self, number: int) -> Path:
        """The traceback of a failed trial."""
        return self.trial(number) / "error.txt"

    def excerpts_file(self, number: int) -> Path:
        """The pieces of the test part that an evaluated trial shows (`hpo.ledger.excerpts`)."""
        return excerpts_file(self.trial(number))

    def children(self) -> list[RunFolder]:
        """Every re-run and stage of a confirmation that is a run, newest first."""
        found = self.reruns.glob("*/study.json")
        return [RunFolder(p.parent) for p in sorted(found, reverse=True)]

    def __repr__(self) -> str:
        """The folder's path, for messages."""
        return f"RunFolder({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        """Equal when the folder is the same."""
        return isinstance(other, RunFolder) and self.path == other.path

    def __hash__(self) -> int:
        """Follows equality."""
        return hash(self.path)

    # -- made and found -----------------------------------------------------------------

    @classmethod
    def create(cls, results: Path | str, study: Study) -> RunFolder:
        """Make the folder of a new run, named after the time and the study's fingerprint.

        Args:
            results: The folder of all results; made when it is not there.
            study: The resolved study.

        Raises:
            RunError: The folder cannot be made.
        """
        root, moment = Path(results) / study.name, time.time()
        with _explained(root):
            root.mkdir(parents=True, exist_ok=True)
            while True:
                stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(moment))
                path = root / f"{stamp}-{study.fingerprint()}"
                try:
                    path.mkdir()
                except FileExistsError:
                    moment += 1  # two launches within a second
                else:
                    return cls(path)

    @classmethod
    def list(cls, results: Path | str, study: str | None = None) -> list[RunFolder]:
        """Every run under a results folder, newest first.

        Args:
            results: The folder of all results; need not be there.
            study: Only the runs of this study.
        """
        pattern = f"{study or '*'}/*"
        found = [
            cls(p)
            for p in Path(results).glob(pattern)
            if _RUN_NAME.fullmatch(p.name) and _is_run(p)
        ]
        return sorted(
            found, key=lambda f: (f.name[:15], f.study_name, f.name), reverse=True
        )

    @classmethod
    def find(cls, results: Path | str, run: str) -> RunFolder:
        """The run a person means.

        Args:
            results: The folder of all results.
            run: ``latest``, a study's name (its newest run), a run's name (with its study
                before a slash or without), or the path of a run's folder.

        Raises:
            RunError: There is none; near matches are listed.
        """
        runs = cls.list(results)
        for candidate in (Path(run).expanduser(), Path(results) / run):
            if run and _is_run(candidate):
                return cls(candidate)
        if not runs:
            raise RunError(
                f"no run under `{results}`",
                hint="launch one: `hpo launch quickstart`; or say where runs lie with "
                "`--results DIR`",
            )
        if run == "latest":
            return runs[0]
        for found in runs:
            if run in (found.study_name, found.name):
                return found
        names = [*(f.study_name for f in runs), *(f.name for f in runs[:20])]
        raise RunError(
            f"no run `{run}` under `{results}`",
            hint=near_matches(run, [*names, "latest"])
            + " (`hpo list runs` shows them all)",
        )

    # -- what is written into it --------------------------------------------------------

    def write_study(
        self,
        study: Study,
        *,
        provenance: Mapping[str, Any],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `study.json` in one go: it is there whole, or not at all.

        Args:
            study: The resolved study.
            provenance: See `hpo.ledger.provenance.provenance`.
            extra: Further JSON-able entries, such as the data reference with its hashes.

        Raises:
            RunError: The disk is full or the folder is read-only.
        """
        record = {
            "schema": SCHEMA,
            "study": study.to_json(),
            "provenance": dict(provenance),
            **(extra or {}),
        }
        self.write_json(self.study_file, record)

    def read_study(self) -> dict[str, Any]:
        """The record that `write_study` wrote: ``schema, study, provenance`` and the extras.

        Raises:
            RunError: The file is missing, damaged, or of another version.
        """
        hint = f"is `{self.path}` a run's folder? `hpo list runs` shows them"
        try:
            record = json.loads(self.study_file.read_text())
        except FileNotFoundError as error:
            raise RunError(f"{self.study_file} is missing", hint=hint) from error
        except OSError as error:
            raise RunError(
                f"cannot read {self.study_file}: {error.strerror}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise RunError(
                f"{self.study_file} is no JSON: {error}",
                hint="it is never edited by hand; restore it from a copy",
            ) from error
        if not isinstance(record, dict) or "study" not in record:
            raise RunError(f"{self.study_file} describes no study", hint=hint)
        if record.get("schema") != SCHEMA:
            raise RunError(
                f"{self.study_file} has schema {record.get('schema')!r}; this version "
                f"reads {SCHEMA}",
                hint="use the version of the harness that made the run",
            )
        return record

    def write_json(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write a JSON file of this run atomically (NaN and infinities as text).

        Args:
            path: A file inside the folder; folders on the way are made.
            record: JSON-able data; anything else is written as its text.

        Raises:
            RunError: The disk is full or the folder is read-only.
        """
        text = json.dumps(record, indent=2, default=str) + "\n"
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text.encode())

    # -- one driver ---------------------------------------------------------------------

    @contextlib.contextmanager
    def acquire(self) -> Iterator[None]:
        """Be the only driver of this run; a killed driver's lock is free at once.

        Whoever looks whether the run is held (`held`) holds it for that instant; a lock
        that is taken is therefore asked for again for a moment before it is an obstacle.
        Where a driver on another host left a lease, that is watched for some seconds.

        Raises:
            RunLocked: Another driver is at work.
            RunError: The folder is missing or cannot be written to.
        """
        with _explained(self.path):
            if not self.path.is_dir():
                raise FileNotFoundError(2, "No such file or directory")
            lock = self._lock()
            try:
                lock.acquire(timeout=PATIENCE, poll_interval=0.02)
            except filelock.Timeout as error:
                raise RunLocked(
                    f"another driver is at work on run `{self.name}` ({self.path})",
                    hint="wait until it ends, or stop it: `hpo stop`",
                ) from error
        try:
            self._refuse_other_host()
            yield
        finally:
            lock.release()

    def held(self) -> bool:
        """Whether somebody is at work on this run; a killed driver is not.

        Raises:
            RunError: The folder is missing, or neither to be written to nor read.
        """
        with _explained(self.path):
            if not self.path.is_dir():
                raise FileNotFoundError(2, "No such file or directory")
            lock = self._lock()
            try:
                lock.acquire(timeout=GLANCE, poll_interval=0.01)
            except filelock.Timeout:
                return True
            except OSError as error:
                if error.errno not in READ_ONLY:
                    raise
                return seen_held(self.lock_file)
            lock.release()
            return False

    def _refuse_other_host(self) -> None:
        found = lease.read(self.lease_file)
        if found is not None and not found.here and lease.alive(self.lease_file):
            raise RunLocked(
                f"the driver on host `{found.host}` (process {found.pid}) is at work on run "
                f"`{self.name}` ({self.path})",
                hint="wait until it ends, or stop it: `hpo stop`",
            )

    def _lock(self) -> filelock.BaseFileLock:
        return filelock.FileLock(self.lock_file, thread_local=False)


def excerpts_file(trial: Path) -> Path:
    """The file of the excerpts of an evaluated trial.

    Args:
        trial: The trial's folder.
    """
    return trial / "excerpts.npz"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, on the disk before this returns.

    Args:
        path: The file, in a folder that is there.
        content: All of it.

    Raises:
        OSError: The disk is full or the folder is read-only; the old file is untouched.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _is_run(path: Path) -> bool:
    return (path / "study.json").is_file() or (path / "events.jsonl").is_file()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into a message for a person."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"cannot write to {path}: {reason}",
            hint="free some space, check the permissions, or choose another folder with "
            "`--results DIR`",
        ) from error
