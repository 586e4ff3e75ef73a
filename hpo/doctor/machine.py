"""The machine examined: cores, memory, limits, disks, the cache, devices and kernels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from hpo.doctor.finding import Finding, Status, judged
from hpo.ledger.provenance import provenance
from hpo.report import numbers
from hpo.worker import environment

_MEBI, _GIBI = 1 << 20, 1 << 30
_WORKER = 1 * _GIBI  # memory that a worker with JAX and a small model takes, from above
_FILES = 4096  # open files that Ray and some workers need
_SHARED = 128 * _MEBI  # of /dev/shm: Ray's object store, with room to spare
_DISK = 1 * _GIBI
_CGROUP = Path("/sys/fs/cgroup")


def cores(root: Path = _CGROUP) -> Finding:
    """Cores by affinity, and what a container's quota leaves of them.

    Args:
        root: Where control groups are mounted.
    """
    count, quota = environment.cores(), cpu_quota(root)
    found = f"{count} of {os.cpu_count()} may be used"
    short = quota is not None and quota < count - 0.01
    if quota is not None:
        found += f"; the container's quota is {quota:g}"
    return judged(
        "cores",
        found,
        problem="warning" if short else None,
        remedy=f"launch with `--workers {max(1, int(quota or 1))}`: more of them only "
        "wait for each other",
    )


def cpu_quota(root: Path = _CGROUP) -> float | None:
    """Cores that a control group (version 2 or 1) grants; None without a limit."""
    words = _first_line(root / "cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        return int(words[0]) / int(words[1])
    quota = _first_line(root / "cpu" / "cpu.cfs_quota_us")
    period = _first_line(root / "cpu" / "cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(period):
        return int(quota) / int(period)
    return None


def memory(root: Path = _CGROUP) -> Finding:
    """Memory that is free, beside what one worker for each core would take.

    Args:
        root: Where control groups are mounted.
    """
    free = float(psutil.virtual_memory().available)
    limit = _first_line(root / "memory.max")
    used = _first_line(root / "memory.current")
    found = f"{numbers.size(free)} available"
    if limit.isdigit() and used.isdigit():
        left = float(int(limit) - int(used))
        if left < free:
            free, found = left, f"{numbers.size(left)} left of the container's limit"
    workers = environment.cores()
    problem: Status | None = "warning" if free < workers * _WORKER else None
    if free < _WORKER / 2:
        problem = "error"
    return judged(
        "memory",
        found,
        problem=problem,
        remedy=f"launch with `--workers {max(1, int(free // _WORKER))}`: each takes up "
        f"to about {numbers.size(_WORKER)}",
    )


def open_files() -> Finding:
    """The limit on open files."""
    try:
        import resource
    except ImportError:  # Windows
        return Finding(check="open files", status="ok", found="no limit is known")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    low = not unlimited and soft < _FILES
    return judged(
        "open files",
        "no limit" if unlimited else f"at most {soft}",
        problem="warning" if low else None,
        remedy=f"`ulimit -n {_FILES}`"
        + (
            ""
            if hard == resource.RLIM_INFINITY or hard >= _FILES
            else f" (ask for more: the hard limit is {hard})"
        ),
    )


def shared_memory(place: Path = Path("/dev/shm")) -> Finding:
    """Room for Ray's object store."""
    if not place.is_dir():
        return Finding(check=str(place), status="ok", found="not used on this system")
    free = shutil.disk_usage(place).free
    return judged(
        str(place),
        f"{numbers.size(free)} free",
        problem="warning" if free < _SHARED else None,
        remedy=f"give the container `--shm-size {numbers.size(2 * _SHARED)}`, or "
        "launch with `--executor local`",
    )


def disk(what: str, place: Path) -> Finding:
    """Whether a folder can be written to, and how much room there is.

    Args:
        what: ``results`` or ``cache``, for the report.
        place: The folder, whether it is there yet or not.
    """
    variable = "HPO_CACHE" if what == "cache" else "`--results DIR`"
    remedy = f"check its permissions, or choose another folder with {variable}"
    place = place.absolute()
    there = next((p for p in (place, *place.parents) if p.exists()), place)
    try:
        if not there.is_dir():
            raise NotADirectoryError(20, "is no folder", str(there))
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        text = f"{place} cannot be written: {error.strerror or error}"
        return Finding(check=what, status="error", found=text, remedy=remedy)
    held = f"holds {numbers.size(_size(place))}, " if what == "cache" else ""
    return judged(
        what,
        f"{place}: {held}{numbers.size(free)} free",
        problem="warning" if free < _DISK else None,
        remedy="free some space, or choose another folder with " + variable,
    )


def devices(*, deadline: float) -> Iterator[Finding]:
    """The devices JAX finds, and whether the layers have compiled kernels, asked in a child.

    Args:
        deadline: Seconds to wait for an answer; compiling kernels takes some.
    """
    answer = _asked(deadline)
    remedy = "`python -c 'import jax; jax.devices()'` shows the whole error"
    if "error" in answer:
        yield Finding(
            check="devices", status="error", found=answer["error"], remedy=remedy
        )
        return
    cards = provenance()["gpus"]
    count = sum(n for kind, n in answer["devices"].items() if kind != "cpu")
    missed = bool(environment.gpus()) and not count
    found = ", ".join(f"{n} {kind}" for kind, n in answer["devices"].items())
    found += f" ({', '.join(cards)})" if cards else ""
    yield judged(
        "devices",
        found + ("; JAX does not see the GPU" if missed else ""),
        problem="warning" if missed else None,
        remedy="`pip install -c constraints.txt '.[cuda]'` and launch with "
        "`--gpus-per-trial`",
    )
    choice, reason = answer["kernels"]
    wanted = choice != "off" or os.environ.get("HPO_KERNELS") == "off"
    yield judged(
        "kernels",
        f"{choice}: {reason}" if reason else choice,
        problem=None if wanted else "warning",
        remedy="nothing breaks, but training is slower; with g++ on the PATH they are "
        "built on first use",
    )


def compiler() -> Finding:
    """The C++ compiler that builds the kernels."""
    found = shutil.which("g++")
    return judged(
        "compiler",
        found or "there is no g++",
        problem=None if found else "warning",
        remedy="install g++; without it the layers compute in pure JAX",
    )


def _asked(deadline: float) -> Mapping[str, Any]:
    """The child's answer, or why there is none under ``error``."""
    env = environment.compose({"PYTHONPATH": environment.search_path()})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hpo.doctor.machine"],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"JAX did not answer within {deadline:g} s"}
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        return {"error": lines[-1] if lines else f"exit status {done.returncode}"}
    answer: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _answer() -> dict[str, Any]:
    """In the child, which loads JAX."""
    from hpo import packages

    return {"devices": packages.devices(), "kernels": packages.kernels()}


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0].strip()
    except OSError:
        return ""


def _size(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue  # somebody removed it meanwhile
    return total


if __name__ == "__main__":
    print(json.dumps(_answer()))
