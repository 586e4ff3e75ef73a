"""The environment of a worker's process before JAX loads, and how many fit on a machine."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.errors import RunError
from hpo.run.plan import plan
from hpo.study import Resources
from hpo.worker import environment


def test_a_cpu_worker_has_one_thread_and_a_private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))
    variables = environment.worker_environment()
    assert variables["JAX_PLATFORMS"] == "cpu"
    assert variables["NPROC"] == variables["OMP_NUM_THREADS"] == "1"
    folder = Path(variables["JAX_COMPILATION_CACHE_DIR"])
    assert (
        folder.is_relative_to(tmp_path) and stat.S_IMODE(folder.stat().st_mode) == 0o700
    )
    assert variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"


def test_a_gpu_worker_gets_its_share_and_nothing_that_contradicts_it():
    variables = environment.worker_environment(gpus_per_trial=0.25)
    assert variables["XLA_CLIENT_MEM_FRACTION"] == "0.225"
    base = {"JAX_PLATFORMS": "cpu", "XLA_PYTHON_CLIENT_MEM_FRACTION": ".5", "HOME": "/"}
    whole = environment.compose(variables, base)
    assert (
        "JAX_PLATFORMS" not in whole and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in whole
    )
    assert whole["HOME"] == "/"


@pytest.mark.parametrize(
    ("visible", "count"), [("0,1", 2), ("", 0), ("-1", 0), ("GPU-1a,GPU-2b,3", 3)]
)
def test_gpus_are_counted_as_cuda_sees_them(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert environment.gpus() == count


@pytest.mark.parametrize(
    ("resources", "gpus", "workers"),
    [
        (Resources(workers=3), None, 3),
        (Resources(), None, environment.cores()),
        (Resources(executor="local"), None, 1),
        (Resources(executor="local", workers=4), None, 4),
        (Resources(gpus_per_trial=0.25), 2, 8),
        (Resources(gpus_per_trial=0.75), 3, 3),
        (Resources(gpus_per_trial=2.0), 5, 2),
        (Resources(gpus_per_trial=1.0, workers=1), 2, 1),
    ],
)
def test_workers_that_fit(resources, gpus, workers):
    assert plan(resources, gpus=gpus).workers == workers


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [(Resources(gpus_per_trial=0.5), 0), (Resources(gpus_per_trial=0.5, workers=3), 1)],
)
def test_workers_that_do_not_fit(resources, gpus):
    with pytest.raises(RunError):
        plan(resources, gpus=gpus)


@pytest.mark.parametrize(
    ("share", "own"),
    [
        (0.5, ["4", "4", "7", "7", "9", "9"]),
        (0.6, ["4", "7", "9"]),
        (1.0, ["4", "7", "9"]),
        (2.0, ["4,7"]),
    ],
)
def test_workers_of_ours_fill_one_gpu_after_the_other(share, own, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    workers = plan(Resources(gpus_per_trial=share)).workers
    given = [
        environment.worker_environment(gpus_per_trial=share, place=place)
        for place in range(workers)
    ]
    assert [g["CUDA_VISIBLE_DEVICES"] for g in given] == own
    ray = environment.worker_environment(gpus_per_trial=share)
    assert "CUDA_VISIBLE_DEVICES" not in ray, "Ray says it itself"


def test_workers_load_neither_optuna_nor_jax_by_themselves():
    """The imports of a trial before its family's."""
    code = (
        "import sys, hpo.worker.process; heavy = {'jax', 'optuna', 'ray', 'numpy', 'rich'};"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert out.stdout.strip() == ""
