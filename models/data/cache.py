"""Simulated data is made once, by a process of its own, and appears all at once.

The folder's name holds a hash of the options and of the simulators' source, so that neither
can change unnoticed. A writer works in a hidden folder and renames it when every byte is on
the disk; whatever a killed writer leaves has another name and is removed by the next.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock

from models.data.files import sync_folder
from models.data.options import AnyOptions, Draws, Options, Sites, Steps, Turns
from models.errors import DataError

_MODELS = Path(__file__).parents[1]
_SIMULATORS = _MODELS / "data" / "simulators"
_SOURCES = {
    Options: (_SIMULATORS, _MODELS / "physics" / "equations"),
    Draws: (_SIMULATORS / "inference",),
    Sites: (_SIMULATORS / "inference",),
    Steps: (_SIMULATORS / "tables",),
    Turns: (_SIMULATORS / "inertial",),
}
_PROGRAMS = {
    Options: "models.data.simulators",
    Draws: "models.data.simulators.inference",
    Sites: "models.data.simulators.inference",
    Steps: "models.data.simulators.tables",
    Turns: "models.data.simulators.inertial",
}
_ROOT = Path(__file__).parents[2]


def cache_folder() -> Path:
    """``$HPO_CACHE``, by default ``~/.cache/hpo``; made with mode 0700.

    Raises:
        DataError: It cannot be made.
    """
    given = os.environ.get("HPO_CACHE") or "~/.cache/hpo"
    try:
        path = Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(
            "there is no home folder for the cache",
            hint="set HPO_CACHE to a folder that can be written",
        ) from error
    try:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def simulated(name: str, options: AnyOptions) -> Path:
    """The folder of a simulated dataset, made on the first call.

    Args:
        name: A simulator's name.
        options: How to run it.

    Returns:
        The absolute path of the folder that holds ``train``, ``valid`` and ``test``: folders
        of records, or files of samples.

    Raises:
        DataError: The cache cannot be written, or the simulator failed.
    """
    cache = cache_folder()
    target = cache / f"{name}-{_fingerprint(name, options)}"
    if target.is_dir():
        return target
    try:
        with filelock.FileLock(cache / f".{target.name}.lock", mode=0o600):
            if not target.is_dir():
                _remove_leftovers(target)
                _make(name, options, target)
    except OSError as error:
        raise _unwritable(cache, error) from error
    return target


def holds_simulated(path: Path, name: str) -> bool:
    """Whether data of a simulator's name was made by `simulated`, not by a person.

    Args:
        path: Where it lies.
        name: Its name, which a file of a person can have as well.
    """
    return path.name.startswith(f"{name}-")


def _make(name: str, options: AnyOptions, target: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _simulate(name, options, folder)
        os.rename(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_folder(target.parent)


def _simulate(name: str, options: AnyOptions, folder: Path) -> None:
    """Run the simulator in a child, so that this process never initialises JAX."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "NPROC": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
    }
    values = json.dumps(dataclasses.asdict(options))
    command = [sys.executable, "-P", "-m", _PROGRAMS[type(options)], name, values]
    done = subprocess.run(
        [*command, str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise DataError(
            f"simulating `{name}` failed: {lines[-1]}",
            hint=f"see it in full: `python -m {command[3]} {name} '{values}' FOLDER`",
        )


def _remove_leftovers(target: Path) -> None:
    """Remove what killed writers left; the lock says that none is at work."""
    for path in target.parent.glob(f".{target.name}.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _fingerprint(name: str, options: AnyOptions) -> str:
    digest = hashlib.sha256()
    for folder in _SOURCES[type(options)]:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    if isinstance(options, Draws) and options.observations:
        for path in sorted(Path(options.observations).rglob("*.csv*")):
            digest.update(path.read_bytes())
    known = {"name": name, **dataclasses.asdict(options)}
    digest.update(json.dumps(known, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write simulated data to {path}: {error.strerror or error}",
        hint="make room, or set HPO_CACHE to a folder that can be written",
    )
