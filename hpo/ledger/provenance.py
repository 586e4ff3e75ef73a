"""Facts needed to repeat a run: versions, commit, machine, environment flags, command line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = (
    "hpo-harness", "jax", "jaxlib", "flax", "optax", "ray", "optuna", "numpy", "scipy",
    "grain", "diffrax", "safetensors", "h5py",
)  # fmt: skip
FLAGS = (
    "NPROC", "OMP_NUM_THREADS", "XLA_FLAGS", "XLA_CLIENT_MEM_FRACTION", "LIBTPU_INIT_ARGS",
    "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "HPO_DATA", "HPO_CACHE",
    "HPO_KERNELS",
)  # fmt: skip


def provenance(
    *, argv: Sequence[str] | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Everything about code, machine and call that can change a number (JSON-able).

    Nothing heavy is imported for it, and nothing is asked of a network.

    Args:
        argv: The command line; None takes this process's.
        folder: Where to ask git; None takes the current folder. Outside a repository, or
            without git, `commit` is None.
    """
    return {
        "argv": list(sys.argv if argv is None else argv),
        "folder": str(folder or Path.cwd()),
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git(folder or Path.cwd()),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "instructions": _instructions(),
        "cores": len(os.sched_getaffinity(0))
        if sys.platform == "linux"
        else os.cpu_count(),
        "gpus": _gpus(),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in FLAGS or (name.startswith("JAX_") and "TOKEN" not in name)
        },
    }


def cpu_model() -> str:
    """The processor's name as its maker gives it, or the architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _instructions() -> str | None:
    """A short name of the processor's set of instructions, which compiled code depends on.

    Processors of one maker's name may differ in it, and then in the last bits.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None  # not Linux
    named = (line for line in lines if line.startswith(("flags", "Features")))
    flags = sorted(next(named, "").partition(":")[2].split())
    digest = hashlib.blake2b(" ".join(flags).encode(), digest_size=4)
    return digest.hexdigest() if flags else None


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _git(folder: Path) -> dict[str, Any]:
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    status = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _ask_git(folder: Path, *question: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *question],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _gpus() -> list[str]:
    """The names of NVIDIA devices, from the driver's own files."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        names += [
            ln.partition(":")[2].strip() for ln in lines if ln.startswith("Model")
        ]
    return names
