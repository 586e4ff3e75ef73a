"""Compiles the kernels' C++ sources on first use. Loads no JAX, so that a driver can begin it.

The object is kept below ``$HPO_CACHE/kernels``, named after everything it was made from and
its own hash, so that a damaged file is noticed before it is loaded.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

from models.data.cache import cache_folder
from models.errors import ConfigError, UserError, near_matches

VARIABLE = "HPO_KERNELS"
ON, OFF = "on", "off"

_FOLDER = Path(__file__).parent
_PATIENCE = 300.0  # seconds; compiling takes a few


@dataclass(frozen=True)
class Level:
    """An instruction set that the kernels can be compiled for.

    Attributes:
        width: Bytes of a vector register.
        needs: The flags a processor must have, as Linux names them.
    """

    width: int
    needs: frozenset[str]


# The widest first, by g++'s names of them.
LEVELS = {
    "x86-64-v4": Level(
        64, frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})
    ),
    "x86-64-v3": Level(32, frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"})),
}


class Unavailable(Exception):
    """Why there are no compiled kernels."""


# Whatever stands in the way of an object.
FAILURES = (
    Unavailable,
    UserError,
    OSError,
    subprocess.SubprocessError,
    filelock.Timeout,
)


def wanted() -> str:
    """``on`` (also when nothing is set), ``off``, or the widest level that may be used.

    Raises:
        ConfigError: ``HPO_KERNELS`` has a value that is not known.
    """
    value = os.environ.get(VARIABLE) or ON
    known = (ON, OFF, *LEVELS)
    if value not in known:
        raise ConfigError(
            f"{VARIABLE} must be one of {', '.join(known)}, got `{value}`",
            hint=near_matches(value, known) or None,
        )
    return value


def choose_level(wanted: str) -> str:
    """The instruction set to compile for.

    Args:
        wanted: ``on`` or a level, the widest that may be used.

    Raises:
        Unavailable: This processor has none that is known, or not the wanted one.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unavailable(f"no kernels for {sys.platform} on {platform.machine()}")
    flags, levels = _processor_flags(), list(LEVELS)
    first = 0 if wanted == ON else levels.index(wanted)
    for level in levels[first:]:
        if LEVELS[level].needs <= flags:
            return level
    raise Unavailable("this processor has no AVX2")


def level_of(flags: Collection[str]) -> str:
    """The widest level that a processor with these flags has; empty for none.

    Args:
        flags: As Linux names them.
    """
    has = frozenset(flags)
    return next((name for name, level in LEVELS.items() if level.needs <= has), "")


def shared_object(level: str) -> Path:
    """The shared object of today's sources, compiled unless it is there and whole.

    Args:
        level: One of `LEVELS`.

    Raises:
        Unavailable: There is no compiler, or it refused.
        DataError: The cache cannot be made.
    """
    folder, key = _folder(), _key(level)
    if found := _whole(folder, key):
        return found
    with filelock.FileLock(folder / f".{key}.lock", mode=0o600, timeout=_PATIENCE):
        return _whole(folder, key) or _compile(folder, key, level)


def begin() -> None:
    """Let a process of its own compile what is not there yet, and do not wait for it.

    Whoever needs the object meanwhile waits for that process in `shared_object`.
    """
    global _begun
    with suppress(*FAILURES):
        asked = wanted()
        if asked == OFF or shutil.which("g++") is None:
            return
        if _whole(_folder(), _key(choose_level(asked))):
            return
        found = os.pathsep.join(p or os.getcwd() for p in sys.path)
        _begun = subprocess.Popen(
            [sys.executable, "-P", "-m", "models.layers.kernels.build"],
            env={**os.environ, "PYTHONPATH": found},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for the driver alone
        )


_begun: subprocess.Popen[bytes] | None = None  # kept, or Python complains of it


def _processor_flags() -> frozenset[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _folder() -> Path:
    folder = cache_folder() / "kernels"
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # it is code that will be run
    return folder


def _key(level: str) -> str:
    """The hash of everything that the object is made from."""
    digest = hashlib.blake2b(digest_size=6)
    for part in (*_flags(level), importlib.metadata.version("jaxlib"), level):
        digest.update(part.encode() + b"\0")
    for path in sorted([*_FOLDER.glob("*.h"), *_FOLDER.glob("*.cpp")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _whole(folder: Path, key: str) -> Path | None:
    """The object whose content still has the hash in its name, if there is one."""
    for path in sorted(folder.glob(f"{key}-*.so")):
        if _hash(path) == path.stem.rpartition("-")[2]:
            return path
    return None


def _hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()


def _flags(level: str) -> tuple[str, ...]:
    return (
        *("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-DNDEBUG", "-w"),
        f"-march={level}",
        f"-DVECTOR_BYTES={LEVELS[level].width}",
    )


def _compile(folder: Path, key: str, level: str) -> Path:
    """Compile, and let the object appear under its name all at once.

    Raises:
        Unavailable: There is no compiler, or it refused.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise Unavailable("there is no C++ compiler (g++)")
    for left in (*folder.glob(f"{key}-*.so"), *folder.glob(f".{key}-*")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    with tempfile.TemporaryDirectory(prefix=f".{key}-", dir=folder) as place:
        sources = sorted(path.name for path in _FOLDER.glob("*.cpp"))
        parts = [f"{place}/{Path(source).stem}.o" for source in sources]
        flags = [*_flags(level), "-I", _headers()]
        _run(
            [compiler, *flags, "-c", "-o", part, source]
            for source, part in zip(sources, parts, strict=True)
        )
        draft = Path(place) / "kernels.so"
        _run([[compiler, "-shared", "-o", str(draft), *parts]])
        path = folder / f"{key}-{_hash(draft)}.so"
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
        return path


def _headers() -> str:
    """Where XLA's headers lie (`jax.ffi.include_dir`, which would load JAX)."""
    spec = importlib.util.find_spec("jaxlib")
    for place in (spec and spec.submodule_search_locations) or ():
        return str(Path(place) / "include")
    raise Unavailable("jaxlib is not installed")


def _run(commands: Iterable[list[str]]) -> None:
    """Run compilers side by side.

    Raises:
        Unavailable: One of them refused.
    """
    running: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:
        for command in commands:
            process = subprocess.Popen(
                command,
                cwd=_FOLDER,  # relative names: the same sources give the same object
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        told = [process.communicate(timeout=_PATIENCE)[1] for process in running]
    for process, text in zip(running, told, strict=True):
        if process.returncode:
            lines = text.strip().splitlines()
            first = next((ln for ln in lines if "error" in ln), "no message")
            raise Unavailable(f"g++ failed: {first}")


if __name__ == "__main__":
    with suppress(*FAILURES):
        shared_object(choose_level(wanted()))
