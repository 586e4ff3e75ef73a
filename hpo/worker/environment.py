"""Environment variables of a worker, set before anything in it loads JAX."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from hpo.errors import RunError

_THREADS = (
    "NPROC",  # XLA on the CPU: a jitted sum differs between one thread and two
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
STUDY_FOLDER = "HPO_STUDY_FOLDER"
"""Where the study file lies: files of one's own that it names are looked for there first."""
_OTHER_CACHE = "set HPO_CACHE to a folder that can be written"
_USABLE_MEMORY = 0.9  # the rest is for CUDA contexts and what XLA does not count


def worker_environment(
    *,
    gpus_per_trial: float = 0.0,
    kernels: str | None = None,
    place: int | None = None,
) -> dict[str, str]:
    """The variables for one worker process.

    Args:
        gpus_per_trial: Fraction of a GPU; 0 trains on the CPU.
        kernels: The compiled kernels of numbers that are to come out again, as a learner
            names them; ``HPO_KERNELS`` of this process goes before.
        place: The worker's number among those of the run, from 0, which says what GPU is
            its own; None where somebody else (Ray) says so.

    Returns:
        Variables to set on top of the driver's own.

    Raises:
        UserError: ``HPO_KERNELS`` is not known, or the cache cannot be used.
    """
    variables = dict.fromkeys(_THREADS, "1")
    variables |= {
        "PYTHONPATH": search_path(),
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compilation_cache()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    if STUDY_FOLDER in os.environ:
        variables[STUDY_FOLDER] = os.environ[STUDY_FOLDER]
    wanted = _kernel_setting() or (kernels or "").partition(":")[0]
    if wanted:
        variables["HPO_KERNELS"] = wanted
    if gpus_per_trial > 0:
        share = min(1.0, gpus_per_trial) * _USABLE_MEMORY
        variables["XLA_CLIENT_MEM_FRACTION"] = f"{share:.4g}"
        if place is not None:
            variables["CUDA_VISIBLE_DEVICES"] = _gpu_of(place, gpus_per_trial)
    else:
        variables["JAX_PLATFORMS"] = "cpu"
    return variables


def study_lies_in(folder: Path) -> None:
    """Tell this process and those it starts where the study file lies."""
    os.environ[STUDY_FOLDER] = str(folder)


def search_path() -> str:
    """Where this process finds modules, for ``PYTHONPATH`` of one that must find them too.

    That one is started with ``-P``, or the folder it starts in would come before all others:
    a person's own folder ``models`` in the place of ours.
    """
    return os.pathsep.join(p or os.getcwd() for p in sys.path)


def compose(
    variables: Mapping[str, str], base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The whole environment of a child: the driver's, with `variables` on top.

    What would contradict them is left out: the deprecated name of the memory fraction (JAX
    refuses both), and a driver's own ``JAX_PLATFORMS=cpu`` for a worker on a GPU.
    """
    merged = dict(os.environ if base is None else base)
    if "XLA_CLIENT_MEM_FRACTION" in variables:
        merged.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None)
        merged.pop("JAX_PLATFORMS", None)
    return merged | dict(variables)


def compilation_cache() -> Path:
    """The folder of JAX's persistent compilation cache, made where it is missing.

    Compiled programs are machine code: the folder is this person's alone (0700), lies below
    `cache_folder` and is named after the processor's features.

    Raises:
        RunError: It cannot be made, or belongs to somebody else.
    """
    folder = cache_folder() / "compiled" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for private in (folder.parent, folder):
            private.chmod(0o700)
    except OSError as error:
        raise RunError(
            f"the cache {folder} cannot be used: {error.strerror or error}",
            hint=_OTHER_CACHE,
        ) from error
    return folder


def cache_folder() -> Path:
    """``$HPO_CACHE`` or ``~/.cache/hpo``, absolute; need not be there.

    Raises:
        RunError: Neither HPO_CACHE nor a home folder is known.
    """
    try:
        given = os.environ.get("HPO_CACHE") or "~/.cache/hpo"
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise RunError(
            "there is no home folder for the cache", hint=_OTHER_CACHE
        ) from error


def cores() -> int:
    """How many processor cores this process may use."""
    return (
        len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    )


def gpus() -> int:
    """How many NVIDIA GPUs this process may use, without loading anything of CUDA."""
    return len(_visible_gpus())


def _visible_gpus() -> list[str]:
    """Their names as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        found = list(Path("/dev").glob("nvidia[0-9]*"))
        return [str(number) for number in range(len(found))]
    return [v.strip() for v in visible.split(",") if v.strip() not in ("", "-1")]


def gpu_places(gpus: int, share: float) -> int:
    """How many workers with a share of a GPU each fit; no share lies on two GPUs.

    Args:
        gpus: How many there are.
        share: Of one GPU; from 1 on, whole GPUs.
    """
    if share >= 1:
        return gpus // math.ceil(share)
    return gpus * int(1 / share + 1e-9)


def _gpu_of(place: int, share: float) -> str:
    """The GPUs of a worker, as CUDA_VISIBLE_DEVICES has them: each is filled in turn."""
    wanted = math.ceil(share)
    first = place // gpu_places(1, share) if share < 1 else place * wanted
    return ",".join(_visible_gpus()[first : first + wanted])


def _kernel_setting() -> str:
    """``HPO_KERNELS`` of this process, when it is set and known; else empty."""
    if not os.environ.get("HPO_KERNELS"):
        return ""
    from hpo import packages  # not for workers

    return packages.kernel_setting()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    names = ("model name", "flags", "Features")
    facts = sorted({line for line in lines if line.startswith(names)})
    text = "\n".join([platform.machine(), *facts])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
