"""Builds the C++ kernels on first use and calls them through XLA's foreign functions.

The object is kept below ``$HPO_CACHE/kernels``, named after everything it was made from and
its own hash, so that a damaged file is noticed before it is loaded. Whatever stands in the
way (no compiler, an older processor, another platform) only means that the layers compute
in pure JAX; `reason` says what it was. Results of the two differ in the last bits, and so
do those of two instruction sets, which is why `choice` belongs to what identifies a result.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock
import jax
import jax.numpy as jnp
import jaxlib
from jax import Array

from models.data.cache import cache_folder
from models.errors import ConfigError, UserError, near_matches

VARIABLE = "HPO_KERNELS"
OFF = "off"
# The handlers of kernels.cpp.
TARGETS = ("gru_forward", "gru_backward", "lstm_forward", "lstm_backward")

_FOLDER = Path(__file__).parent
_PATIENCE = 300.0  # seconds; compiling takes a few
# The widest first: register width in bytes, and the processor flags it needs.
_LEVELS: dict[str, tuple[int, frozenset[str]]] = {
    "x86-64-v4": (
        64,
        frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ),
    "x86-64-v3": (32, frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"})),
}


class _Unavailable(Exception):
    """Why there are no compiled kernels."""


@dataclass(frozen=True)
class _Kernels:
    """What was found for one value of the variable.

    Attributes:
        choice: See `choice`.
        reason: Why it is off; empty when it is not.
    """

    choice: str
    reason: str = ""


def choice() -> str:
    """Which kernels there are: ``off``, or instruction set and hash of the object.

    For example ``x86-64-v3:0f3a9c41d2be``. The first call in a process may compile; later
    ones are a look into a table. ``HPO_KERNELS`` switches them off, or names the widest
    instruction set that may be used.

    Raises:
        ConfigError: ``HPO_KERNELS`` has a value that is not known.
    """
    return _kernels().choice


def reason() -> str:
    """Why `choice` is off; empty when it is not.

    Raises:
        ConfigError: ``HPO_KERNELS`` has a value that is not known.
    """
    return _kernels().reason


def in_force() -> str:
    """What programs traced now compute with: `choice`, or off where it is not `usable`.

    Raises:
        ConfigError: ``HPO_KERNELS`` has a value that is not known.
    """
    single = jnp.result_type(float) == jnp.float32
    return choice() if single and jax.default_backend() == "cpu" else OFF


def padded(size: int) -> int:
    """The number of channels that are computed for `size` of them: whole vectors."""
    lanes = _LEVELS[choice().partition(":")[0]][0] // 4
    return -(-size // lanes) * lanes


def usable(*arrays: Array) -> bool:
    """Whether kernels may compute with these: single precision, on the CPU, and not off.

    Decided while tracing, by the default backend: `jax.lax.platform_dependent` would trace
    and differentiate both forms, with residuals that differ.
    """
    if any(a.dtype != jnp.float32 for a in arrays):
        return False
    return jax.default_backend() == "cpu" and choice() != OFF


def call(
    target: str,
    shapes: Sequence[tuple[int, ...]],
    *arguments: Array,
    **attributes: Any,
) -> list[Array]:
    """Call a kernel; under `vmap` it is called once a lane.

    Args:
        target: One of `TARGETS`.
        shapes: Of the results, all of them of single precision.
        *arguments: Of the kernel.
        **attributes: Static numbers the kernel wants by name (`numpy` scalars).
    """
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    name = _name(target, choice())
    function = jax.ffi.ffi_call(name, results, vmap_method="sequential")
    return list(function(*arguments, **attributes))


def _kernels() -> _Kernels:
    wanted = os.environ.get(VARIABLE) or "on"
    if wanted == OFF:
        return _Kernels(OFF, f"{VARIABLE} is off")
    known = ("on", OFF, *_LEVELS)
    if wanted not in known:
        raise ConfigError(
            f"{VARIABLE} must be one of {', '.join(known)}, got `{wanted}`",
            hint=near_matches(wanted, known) or None,
        )
    return _found(wanted, os.environ.get("HPO_CACHE", ""))


@lru_cache(maxsize=16)
def _found(wanted: str, cache: str) -> _Kernels:
    del cache  # only tells the entries apart
    try:
        level = _level(wanted)
        path = _object(level)
        found = f"{level}:{path.stem.rpartition('-')[2]}"
        _register(path, found)
    except _Unavailable as error:
        return _Kernels(OFF, str(error))
    except (OSError, UserError, subprocess.SubprocessError, filelock.Timeout) as error:
        return _Kernels(OFF, str(error).partition("\n")[0])
    return _Kernels(found)


def _level(wanted: str) -> str:
    """The instruction set to compile for.

    Raises:
        _Unavailable: This processor has none that is known, or not the wanted one.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise _Unavailable(f"no kernels for {sys.platform} on {platform.machine()}")
    flags, levels = _processor_flags(), list(_LEVELS)
    first = 0 if wanted == "on" else levels.index(wanted)
    for level in levels[first:]:
        if _LEVELS[level][1] <= flags:
            return level
    raise _Unavailable("this processor has no AVX2")


def _processor_flags() -> frozenset[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _object(level: str) -> Path:
    """The shared object of today's sources, compiled unless it is there and whole."""
    folder = cache_folder() / "kernels"
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # it is code that will be run
    sources = sorted([*_FOLDER.glob("*.h"), *_FOLDER.glob("*.cpp")])
    digest = hashlib.blake2b(digest_size=6)
    for part in (*_flags(level), jaxlib.__version__, level):
        digest.update(part.encode() + b"\0")
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    key = digest.hexdigest()
    if found := _whole(folder, key):
        return found
    with filelock.FileLock(folder / f".{key}.lock", mode=0o600, timeout=_PATIENCE):
        return _whole(folder, key) or _compile(folder, key, level)


def _whole(folder: Path, key: str) -> Path | None:
    """The object whose content still has the hash in its name, if there is one."""
    for path in sorted(folder.glob(f"{key}-*.so")):
        if _hash(path) == path.stem.rpartition("-")[2]:
            return path
    return None


def _hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()


def _flags(level: str) -> tuple[str, ...]:
    width, _ = _LEVELS[level]
    return (
        *("-O3", "-std=c++17", "-shared", "-fPIC", "-DNDEBUG", "-w"),
        f"-march={level}",
        f"-DVECTOR_BYTES={width}",
    )


def _compile(folder: Path, key: str, level: str) -> Path:
    """Compile, and let the object appear under its name all at once.

    Raises:
        _Unavailable: There is no compiler, or it refused.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise _Unavailable("there is no C++ compiler (g++)")
    for broken in folder.glob(f"{key}-*.so"):
        broken.unlink()
    handle, name = tempfile.mkstemp(prefix=f".{key}.", suffix=".so", dir=folder)
    os.close(handle)
    draft = Path(name)
    try:
        include = ("-I", jax.ffi.include_dir())
        done = subprocess.run(
            [compiler, *_flags(level), *include, "-o", str(draft), "kernels.cpp"],
            cwd=_FOLDER,  # a relative name, so that the same sources give the same object
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            first = next((ln for ln in lines if "error" in ln), "no message")
            raise _Unavailable(f"g++ failed: {first}")
        path = folder / f"{key}-{_hash(draft)}.so"
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
        return path
    finally:
        draft.unlink(missing_ok=True)


_REGISTERED: dict[str, ctypes.CDLL] = {}
_REGISTERING = threading.Lock()


def _register(path: Path, found: str) -> None:
    """Load the object and make its kernels known to XLA, once in a process."""
    with _REGISTERING:
        if found in _REGISTERED:
            return
        library = ctypes.CDLL(str(path))
        try:
            handlers = {t: jax.ffi.pycapsule(getattr(library, t)) for t in TARGETS}
        except AttributeError as error:
            raise _Unavailable(f"{path.name} lacks a kernel: {error}") from error
        for target, handler in handlers.items():
            jax.ffi.register_ffi_target(_name(target, found), handler, platform="cpu")
        _REGISTERED[found] = library


def _name(target: str, found: str) -> str:
    """Names carry the choice: a cached program never meets another kernel than its own."""
    return f"hpo_{target}_{found.replace(':', '_')}"
