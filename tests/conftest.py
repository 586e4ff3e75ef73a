"""Strict JAX on one core for every test; no test writes outside its temporary folder."""

from __future__ import annotations

import os

# Before JAX loads: one thread (a jitted sum differs between one and two) and no GPU.
os.environ["NPROC"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Nearly every program of a test runs once or twice: XLA does not polish it, which takes two
# thirds of all compiling. `XLA_FLAGS= pytest` compiles as people's runs do (see `.ci/run`).
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true",
)

import signal

import pytest

# A suite in the background of a shell inherits an ignored Ctrl-C, and so would what it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Slow tests that take longer than `.ci/run` has: run by hand (`-m long`), and what came out is
# written into the closing note of the change that they belong to.
LONG_FILES = {
    "test_confirm.py",
    "test_exporting.py",
    "test_group.py",
    "test_handed_on.py",
    "test_orientation_page.py",
    "test_pbt_runs.py",
    "test_physics_residual.py",
    "test_pirnn.py",
    "test_population_page.py",
    "test_stopping_planning.py",
    "test_tanks_pbt.py",
    "test_training_streams.py",
    "test_verdict_calibration.py",
}
LONG_FAMILIES = {
    *("categorical_vqvae", "fmpe", "patch", "tfmpe", "vae", "vqvae"),
    *("greybox", "pinc", "pirnn", "attitude", "ar", "fransys"),
    *("forecaster", "dlinear"),
}
LONG_PAIRS = {
    *(("rnn", "estimation"), ("tcn", "estimation"), ("crnn", "estimation")),
    *(("crnn", "prediction"), ("ssm", "prediction")),
}


def pytest_collection_modifyitems(items):
    """Mark slow tests as long by their file, or by the family that a suite is given.

    A long test is a slow one, whether it says so or not: `-m "not slow"` leaves it out.
    """
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.slow)
        named = getattr(item, "callspec", None)
        family = named.params.get("name") if named else None
        pair = family, named.params.get("task") if named else None
        suite = item.path.name == "test_conformance.py" and (
            family in LONG_FAMILIES or pair in LONG_PAIRS
        )
        if item.get_closest_marker("slow") and (suite or item.path.name in LONG_FILES):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory):
    """Simulated data and compiled programs of the tests go to a folder of their own.

    The processes of one session share it, as those of a person do.
    """
    before = os.environ.get("HPO_CACHE")
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (common / "cache").mkdir(mode=0o700, exist_ok=True)
    os.environ["HPO_CACHE"] = str(common / "cache")
    yield
    if before is None:
        del os.environ["HPO_CACHE"]
    else:
        os.environ["HPO_CACHE"] = before
