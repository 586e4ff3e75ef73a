"""The code that a run needs on other machines, as one archive named by its hash.

Our own packages and the Python files of the study's folder, and what a family's `create` names
outside of installed packages. A node runs what is shipped, whatever it has installed itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import RunError
from hpo.packages import PACKAGES, ours
from hpo.worker.environment import STUDY_FOLDER

CODE, STUDY = "code", "study"
_LEFT_OUT = {"__pycache__", "results", "node_modules", "build", "dist"}
_LIMIT = 64 * 2**20  # bytes
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal files make an equal archive


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Code that is ready to travel.

    Attributes:
        content: A zip file.
        digest: Its SHA-256.
        study: Whether the study's folder is in it.
    """

    content: bytes
    digest: str
    study: bool


def archive(creates: Mapping[str, str | bytes]) -> Archive:
    """Pack what the workers of a run import.

    Args:
        creates: ``module:function`` or a shipped callable by family.

    Raises:
        RunError: There is too much of it.
    """
    files: dict[str, Path] = {}
    for package in PACKAGES:
        folder = ours(package)
        files |= {f"{CODE}/{package}/{n}": p for n, p in _below(folder, suffix="")}
    named = [create for create in creates.values() if isinstance(create, str)]
    for package in sorted(
        {create.partition(":")[0].partition(".")[0] for create in named}
    ):
        files |= dict(_foreign(package))
    beside = os.environ.get(STUDY_FOLDER)
    if beside:
        found = _below(Path(beside), suffix=".py")
        files |= {f"{STUDY}/{n}": p for n, p in found}
    size = sum(path.stat().st_size for path in files.values())
    if size > _LIMIT:
        raise RunError(
            f"the code for the workers has {size / 2**20:.0f} MB, more than "
            f"{_LIMIT / 2**20:.0f}",
            hint=f"keep other things out of {beside or 'the study’s folder'}",
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in sorted(files):
            file.writestr(zipfile.ZipInfo(name, _EPOCH), files[name].read_bytes())
    content = out.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return Archive(content=content, digest=digest, study=bool(beside))


def _foreign(package: str) -> Iterator[tuple[str, Path]]:
    """The files of a person's own package or module; of an installed one none."""
    if package in PACKAGES:
        return
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin:
        return
    origin = Path(spec.origin).resolve()
    if any(origin.is_relative_to(place) for place in _installed()):
        return
    if spec.submodule_search_locations is None:
        yield f"{CODE}/{origin.name}", origin
        return
    for name, path in _below(origin.parent, suffix=".py"):
        yield f"{CODE}/{package}/{name}", path


def _installed() -> Iterable[Path]:
    paths = sysconfig.get_paths()
    return {
        Path(paths[name]).resolve()
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }


def _below(folder: Path, *, suffix: str) -> Iterator[tuple[str, Path]]:
    """Files below a folder with their names there; environments and results left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            f
            for f in folders
            if not f.startswith(".")
            and f not in _LEFT_OUT
            and not (Path(root) / f / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            path = Path(root) / name
            left_out = name.startswith(".") or name.endswith((".pyc", ".so"))
            if name.endswith(suffix or name) and not left_out:
                yield path.relative_to(folder).as_posix(), path
