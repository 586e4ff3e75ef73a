"""The machine a measurement was taken on, and whether the machine was all there meanwhile."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
GATE = 1.8  # two cores must do at least so many times the work of one
_SECONDS, _START = 0.7, 0.5  # of one spin; until both are sure to have loaded numpy

_SPIN = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
import numpy as np
a = np.random.default_rng(0).standard_normal((128, 128), dtype=np.float32)
for _ in range(50): a @ a
while time.time() < float(sys.argv[2]): pass
count, end = 0, time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end:
    for _ in range(20): a @ a
    count += 20
print(count / float(sys.argv[3]))
"""

ONE_THREAD = dict.fromkeys(
    ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


@dataclass(frozen=True, kw_only=True)
class Spin:
    """128³ single-precision matrix products a second, on one thread each.

    Attributes:
        alone: On the first core, the second one idle.
        both: On both at once, added up.
    """

    alone: float
    both: float

    @property
    def ratio(self) -> float:
        """How many cores there really are; 2 on an undisturbed machine."""
        return self.both / self.alone

    @property
    def valid(self) -> bool:
        """Whether a measurement next to this may count."""
        return self.ratio >= GATE

    def to_json(self) -> dict[str, Any]:
        """The figures and the ratio, rounded."""
        rounded = {k: round(v) for k, v in asdict(self).items()}
        return {**rounded, "ratio": round(self.ratio, 3), "valid": self.valid}


def cores() -> list[int]:
    """The processor cores this process may use."""
    return sorted(os.sched_getaffinity(0))


def spin() -> Spin:
    """Measure one core, then two at once.

    Raises:
        SystemExit: There is one core only.
    """
    if len(cores()) < 2:
        raise SystemExit("the spin test needs two cores")
    first, second = cores()[:2]
    (alone,) = _spins(first)
    return Spin(alone=alone, both=sum(_spins(first, second)))


def wait(patience: int = 5) -> Spin:
    """Spin until the machine is all there, or `patience` is at an end; the last spin."""
    found = spin()
    while not found.valid and patience > 1:
        found, patience = spin(), patience - 1
    return found


def _spins(*places: int) -> list[float]:
    begin = str(time.time() + _START)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _SPIN, str(core), begin, str(_SECONDS)],
            env=os.environ | ONE_THREAD,
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in places
    ]
    return [float(process.communicate()[0]) for process in started]


def describe() -> dict[str, Any]:
    """The machine, this code and when."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": len(cores()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions("jax", "jaxlib", "flax", "optax", "ray", "optuna"),
    }


def versions(*names: str) -> dict[str, str]:
    """Versions of those of these packages that are installed here."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    changed = git(
        "status", "--porcelain", "--untracked-files=no", "--", "hpo", "models"
    )
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def _processor() -> str:
    """Model, family and vector instructions: virtual machines hide the model's name."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags", "").split()
    vectors = [f for f in ("avx2", "fma", "avx512f") if f in flags]
    family = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{facts.get('model name', '?')} ({family}; {' '.join(vectors)})"
