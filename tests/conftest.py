"""Strict JAX on one core for every test; no test writes outside its temporary folder."""

from __future__ import annotations

import os

# Before JAX loads: one thread (a jitted sum differs between one and two) and no GPU.
os.environ["NPROC"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import signal

import pytest

# A suite in the background of a shell inherits an ignored Ctrl-C, and so would what it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory):
    """Simulated data and compiled programs of the tests go to a folder of their own."""
    before = os.environ.get("HPO_CACHE")
    cache, base = tmp_path_factory.mktemp("cache"), tmp_path_factory.getbasetemp()
    # Compiled kernels are shared by the processes of one session.
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (common / "kernels").mkdir(mode=0o700, exist_ok=True)
    (cache / "kernels").symlink_to(common / "kernels")
    os.environ["HPO_CACHE"] = str(cache)
    yield
    if before is None:
        del os.environ["HPO_CACHE"]
    else:
        os.environ["HPO_CACHE"] = before
