"""What runs on a node of a cluster: it takes a place there and looks after one child process.

The class is pickled by value, since a node need not have this project, or may have another
version of it: nothing but the standard library is imported before the archive with the
driver's own packages has been unpacked. From then on its code is what the driver shipped.

A slot trains nothing itself. Its child is the very process that the executor `local` starts,
so that the death of a trial's process and that of a node are two things, and numbers agree.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import io
import os
import pickle
import platform
import shutil
import socket
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def facts(question: dict[str, Any]) -> dict[str, Any]:
    """What is to be known of a node before anything is trained on it.

    Args:
        question: ``packages`` whose versions are asked, and ``paths`` that it might read.

    Returns:
        Its name, versions, instruction set, clock, cache, and which of the paths it reads.
    """
    versions = {}
    for name in question["packages"]:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    flags: list[str] = []
    model = platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
            if line.startswith(("flags", "Features")):
                flags = sorted(line.partition(":")[2].split())
                break
    except OSError:
        pass  # not Linux
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "versions": versions,
        "machine": platform.machine(),
        "cpu": model,
        "flags": flags,
        "cores": os.cpu_count(),
        "clock": time.time(),
        "reads": {path: os.access(path, os.R_OK) for path in question["paths"]},
        **_cache(),
    }


def _cache() -> dict[str, str]:
    """The node's own cache, and what stands in the way of it."""
    try:
        given = os.environ.get("HPO_CACHE") or "~/.cache/hpo"
        folder = Path(given).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return {"cache": os.environ.get("HPO_CACHE") or "~/.cache/hpo", "no_cache": why}
    return {"cache": str(folder), "no_cache": ""}


class Slot:
    """A place for one trial at a time on a node. Every call but `prepare` needs it prepared."""

    def __init__(self) -> None:
        self._child: Any = None
        self._mirror: Any = None
        self._order: dict[str, Any] = {}
        self._places: dict[str, str] = {}
        self._code = self._scratch = self._stopping = Path()
        self._environment: dict[str, str] = {}
        self._creates: dict[str, Any] = {}
        self._before = os.environ.get("PYTHONPATH", "")

    async def prepare(self, order: bytes, archive: bytes) -> dict[str, Any]:
        """Unpack the code, look for the data, and say what is missing.

        Args:
            order: A pickled mapping, made in `hpo.run.ray.orders`.
            archive: The code, as a zip file.

        Returns:
            The node's facts, with ``refused`` where it cannot be used, and ``missing``: the
            digests of data that is not here.
        """
        self._order = pickle.loads(order)
        found = facts(self._order["question"])
        found |= {"pid": os.getpid(), "refused": "", "missing": []}
        if found["no_cache"]:
            found["refused"] = (
                f"its cache {found['cache']} cannot be used: {found['no_cache']}"
            )
            return found
        try:
            self._code = await asyncio.to_thread(
                _unpacked, Path(found["cache"]), archive, self._order["code"]
            )
            found["refused"] = self._take_up_code(Path(found["cache"]))
            if not found["refused"]:
                await asyncio.to_thread(self._look_for_data, found)
        except OSError as error:
            found["refused"] = f"{error.strerror or error} ({error.filename})"
        return found

    async def fetch(self, digest: str, files: dict[str, list[Any]]) -> None:
        """Write data that this node lacks into its cache; one slot of a node does it.

        Args:
            digest: The data's.
            files: References to the pieces of each file, in order.
        """
        from hpo.worker import located

        manifest = next(m for m in self._order["data"] if m["digest"] == digest)
        lock = located.lock(digest)
        await asyncio.to_thread(lock.acquire)
        try:
            place = await asyncio.to_thread(located.find, manifest)
            if place is None:
                with located.draft(manifest) as draft:
                    for name, pieces in files.items():
                        with draft.file(name) as file:
                            for piece in pieces:
                                file.write(await piece)
                    place = await asyncio.to_thread(draft.finish)
        finally:
            lock.release()
        self._places[digest] = place

    async def begin(self, assignment: bytes, files: bytes) -> None:
        """Train an attempt from now on.

        Args:
            assignment: It, pickled.
            files: Pickled contents of what the trial's folder holds, by name; None where
                the run's folder is shared.
        """
        from dataclasses import replace

        from hpo.worker import located
        from hpo.worker.mirror import Mirror
        from hpo.worker.process import Child, ChildDied

        task, given = pickle.loads(assignment), pickle.loads(files)
        self._stopping.unlink(missing_ok=True)
        data = located.placed(task.data, self._order["data"], self._places)
        task = replace(
            task,
            create=self._creates[task.family],
            data=data,
            told_data=task.data,
            stopping=self._stopping,
        )
        self._mirror = None
        if given is not None:
            folder = self._scratch / f"{task.trial:04d}"
            shutil.rmtree(folder, ignore_errors=True)
            self._mirror = Mirror(folder)
            self._mirror.take(given)
            donor = None if task.donor is None else folder / "donor"
            task = replace(task, folder=folder, donor=donor)
        try:
            if self._child is not None:
                self._child.assign(task)
                return
        except ChildDied:
            pass  # it was killed while it waited: that is nobody's fault
        self._child = Child(self._environment)
        self._child.assign(task)

    async def step(self) -> tuple[Any, Any]:
        """The next report and what the trial's folder has new; a text where the child died."""
        from hpo.worker.process import ChildDied

        child = self._child
        if child is None:
            return "the worker process was killed", None
        try:
            child.step()
            await _readable(child.fileno())
            report = child.poll(0.0)
        except ChildDied as error:
            self._child = None
            return str(error), self._changes()
        if report is not None and report.obstacle:
            from dataclasses import replace

            where = f"{report.obstacle} on node {socket.gethostname()}"
            report = replace(report, obstacle=where)
        return report, self._changes()

    async def save_soon(self) -> None:
        """Let the child save after the epoch in progress."""
        self._stopping.touch()

    async def release(self) -> Any:
        """End the attempt, which saves it; what the trial's folder has new."""
        from hpo.worker.process import ChildDied

        child = self._child
        if child is None:
            return self._changes()
        try:
            child.end()
            await _readable(child.fileno())
            child.poll(0.0)
        except ChildDied:
            self._child = None
        return self._changes()

    async def abandon(self) -> None:
        """Kill the child: nobody waits for it any more."""
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()

    async def leave(self) -> Any:
        """Let the child save and leave; what the trial's folder has new."""
        if self._child is not None:
            child, self._child = self._child, None
            await asyncio.to_thread(child.close)
        changes = self._changes()
        shutil.rmtree(self._scratch, ignore_errors=True)
        return changes

    def _changes(self) -> Any:
        return None if self._mirror is None else self._mirror.changes()

    def _take_up_code(self, cache: Path) -> str:
        """From here on `hpo` is the driver's own; what is wrong, if anything is."""
        folders = [str(self._code / name) for name in self._order["folders"]]
        sys.path[:0] = folders
        for name in [*sys.modules]:
            if name.partition(".")[0] in self._order["packages"]:
                del sys.modules[name]
        import hpo

        if not str(hpo.__file__).startswith(str(self._code)):
            return (
                f"it finds the package hpo at {hpo.__file__}, not the code of the run"
            )
        from hpo.worker import environment

        if self._order["study"]:
            environment.study_lies_in(self._code / self._order["study"])
        before = [self._before] if self._before else []
        self._environment = {
            **environment.worker_environment(
                gpus_per_trial=self._order["gpus_per_trial"]
            ),
            "PYTHONPATH": os.pathsep.join([*folders, *before]),
            **self._order["variables"],
        }
        self._creates = pickle.loads(self._order["creates"])
        self._scratch = cache / "attached" / _own_name(self._order["run"])
        _remove_abandoned(self._scratch.parent)
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._stopping = self._scratch / "stopping"
        shared = self._order["shared"]
        return _shares(Path(shared[0]), shared[1]) if shared else ""

    def _look_for_data(self, found: dict[str, Any]) -> None:
        from hpo.worker import located

        for manifest in self._order["data"]:
            place = located.find(manifest)
            if place is None:
                found["missing"].append(manifest["digest"])
            else:
                self._places[manifest["digest"]] = place


def _unpacked(cache: Path, archive: bytes, digest: str) -> Path:
    """The folder of the code with that hash: unpacked once a node, all at once."""
    folder = cache / "code" / digest
    if folder.is_dir():
        return folder
    found = hashlib.sha256(archive).hexdigest()
    if found != digest:
        raise OSError(5, f"the code arrived as {found[:12]}, not {digest[:12]}", "code")
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            file.extractall(draft)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # another slot was faster, else
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _shares(folder: Path, word: str) -> str:
    """Whether this node writes into the very folder that the driver sees; why not."""
    try:
        seen = (folder / f".probe-{word}").read_text()
        if seen != word:
            return f"{folder} is another folder there"
        (folder / f".probe-{word}-{socket.gethostname()}-{os.getpid()}").write_text(
            word
        )
    except OSError as error:
        return f"it does not share {folder}: {error.strerror}"
    return ""


def _own_name(word: str) -> str:
    """Of this process's scratch: nodes may share their cache, and containers their numbers."""
    return f"{_machine()}-{os.getpid()}-{word}"


def _machine() -> str:
    """This machine since it was started, and this container on it, as a few letters."""
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        known.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _remove_abandoned(folder: Path) -> None:
    """Delete what slots of this machine left that were killed before they could."""
    for path in folder.glob(f"{_machine()}-*"):
        owner = path.name.split("-")[1]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(path, ignore_errors=True)


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read, or the other end is closed."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def heard() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, heard)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
