"""Data by its hash: where it lies on this node, whatever its path was on the driver's.

The driver describes data by a *manifest*: path, and size and SHA-256 of every file below it. A
node reads the path where all of that agrees; else it has, or is given, a copy in its cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import filelock

from hpo.worker.environment import cache_folder

_PIECE = 1 << 22


def manifests(data: Any) -> list[dict[str, Any]]:
    """A manifest of each prepared dataset in a data reference; reads all of it.

    Args:
        data: As a study's data was prepared; what has no hashes travels as it is.
    """
    return [_manifest(Path(path)) for path in sorted(set(_paths(data)))]


def placed(
    data: Any, known: Sequence[Mapping[str, Any]], places: Mapping[str, str]
) -> Any:
    """A data reference with the paths of this node.

    Args:
        data: The reference, with the driver's paths.
        known: The manifests of its datasets.
        places: Where each is here, by digest.
    """
    moved = {m["path"]: places[m["digest"]] for m in known if m["digest"] in places}
    return _moved(data, moved)


def find(manifest: Mapping[str, Any]) -> str | None:
    """The path at which this node has the very same files; None where it has none."""
    own = _cached(manifest)
    for path in (Path(manifest["path"]), own):
        if _agrees(path, manifest):
            return str(path)
    return None


def lock(digest: str) -> filelock.FileLock:
    """What one process of a node holds while it writes this data."""
    folder = cache_folder() / "data"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return filelock.FileLock(folder / f".{digest}.lock", thread_local=False)


class Draft:
    """Data that is being written; it appears all at once.

    Args:
        folder: Where it is written.
        manifest: What it is to be.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self._folder = folder
        self._manifest = manifest

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """A file of it, open for writing."""
        path = self._folder / self._manifest["name"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> str:
        """Check every byte and let it appear; the path.

        Raises:
            OSError: What arrived is not what was sent.
        """
        own = _cached(self._manifest)
        written = self._folder / self._manifest["name"]
        if _listed(written) != self._manifest["files"]:
            raise OSError(5, "the data arrived damaged", str(own))
        shutil.rmtree(own.parent, ignore_errors=True)
        self._folder.rename(own.parent)
        return str(own)


@contextlib.contextmanager
def draft(manifest: Mapping[str, Any]) -> Iterator[Draft]:
    """Write data into the cache."""
    root = cache_folder() / "data"
    folder = Path(tempfile.mkdtemp(dir=root, prefix=".draft-"))
    try:
        yield Draft(folder, manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sizes(manifest: Mapping[str, Any]) -> dict[str, Path]:
    """The driver's files of a dataset, by their names in the manifest."""
    root = Path(manifest["path"])
    return {name: root / name if name else root for name in manifest["files"]}


def _manifest(path: Path) -> dict[str, Any]:
    files = _listed(path)
    text = json.dumps(files, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()[:32]
    return {"digest": digest, "path": str(path), "name": path.name, "files": files}


def _listed(path: Path) -> dict[str, list[Any]]:
    """Size and hash of every file, by its name below the path; empty for the path itself."""
    return {name: [p.stat().st_size, _hash(p)] for name, p in _files(path)}


def _files(path: Path) -> list[tuple[str, Path]]:
    if path.is_file():
        return [("", path)]
    found = (p for p in path.rglob("*") if p.is_file())
    named = ((p.relative_to(path), p) for p in found)
    return sorted(
        (n.as_posix(), p)
        for n, p in named
        if not any(part.startswith(".") for part in n.parts)
    )


def _agrees(path: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a path holds these very files; a hash is taken once, until a file changes."""
    wanted = manifest["files"]
    try:
        found = dict(_files(path))
        if found.keys() != wanted.keys():
            return False
        stats = {name: p.stat() for name, p in found.items()}
        if any(stats[name].st_size != wanted[name][0] for name in wanted):
            return False
        seen = [str(path), *([n, s.st_mtime_ns, s.st_ino] for n, s in stats.items())]
        if _remembered(manifest) == seen:
            return True
        if any(_hash(found[name]) != wanted[name][1] for name in wanted):
            return False
    except OSError:
        return False
    _remember(manifest, seen)
    return True


def _remembered(manifest: Mapping[str, Any]) -> Any:
    try:
        return json.loads(_note(manifest).read_text())
    except (OSError, ValueError):
        return None


def _remember(manifest: Mapping[str, Any], seen: Any) -> None:
    with contextlib.suppress(OSError):
        note = _note(manifest)
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = note.with_name(f".{note.name}.{os.getpid()}")
        draft.write_text(json.dumps(seen))
        draft.replace(note)


def _note(manifest: Mapping[str, Any]) -> Path:
    return cache_folder() / "data" / f"seen-{manifest['digest']}.json"


def _cached(manifest: Mapping[str, Any]) -> Path:
    return cache_folder() / "data" / str(manifest["digest"]) / str(manifest["name"])


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _paths(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        if data.get("hashes") and isinstance(data.get("path"), str):
            yield data["path"]
        for value in data.values():
            yield from _paths(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _paths(value)


def _moved(data: Any, places: Mapping[str, str]) -> Any:
    if isinstance(data, Mapping):
        new = {key: _moved(value, places) for key, value in data.items()}
        if data.get("hashes") and data.get("path") in places:
            new["path"] = places[data["path"]]
        return new
    if isinstance(data, (list, tuple)):
        return [_moved(value, places) for value in data]
    return data
