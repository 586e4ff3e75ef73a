"""Ray for one run: private, on the loopback interface only, and gone afterwards."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpo.errors import RunError
from hpo.run.executor import Plan
from hpo.worker.environment import compose, worker_environment

_PREFIX = "hpo-ray-"
_OBJECT_STORE = 80 * 2**20  # bytes; nothing large goes through it
_TOKEN = secrets.token_hex(32)  # Ray reads it once per process, so it lives as long


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running Ray.

    Attributes:
        folder: Private temporary folder of the run (0700).
    """

    folder: Path

    @property
    def storage(self) -> Path:
        """Where Tune may write what nobody will read."""
        return self.folder / "tune"


@contextmanager
def cluster(
    plan: Plan,
    *,
    kernels: str | None = None,
    shielded: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Cluster]:
    """Start Ray for the time of a ``with``.

    Args:
        plan: How many workers there will be and what each of them gets.
        kernels: The compiled kernels the run has computed with so far, if any.
        shielded: Makes a section that no Ctrl-C cuts in two, for tidying up.

    Raises:
        RunError: This process runs a Ray already, or Ray does not start.
    """
    _refuse_second_ray()
    remove_abandoned()
    folder = Path(
        tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_short_root())
    )
    folder.chmod(0o700)
    variables = worker_environment(gpus_per_trial=plan.gpus_per_trial, kernels=kernels)
    with _environ(compose(variables | _own_variables(folder))):
        import ray  # only now: Ray reads its environment while it is imported

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        try:
            _start(folder, plan, variables)
            yield Cluster(folder=folder)
        finally:
            with shielded():
                ray.shutdown()
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def attached(
    plan: Plan,
    *,
    shielded: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[None]:
    """Be a driver of a cluster that is there already, for the time of a ``with``.

    Token and TLS are what Ray's own variables say: they are neither read nor written here.

    Args:
        plan: Which cluster it is.
        shielded: Makes a section that no Ctrl-C cuts in two, for tidying up.

    Raises:
        RunError: This process runs a Ray already, or the cluster does not take it.
    """
    _refuse_second_ray()
    with _environ(compose({"RAY_USAGE_STATS_ENABLED": "0"})):
        import ray

        address = plan.cluster["address"]
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        except (OSError, RuntimeError, ValueError) as error:
            first = str(error).strip().partition("\n")[0]
            raise RunError(
                f"the Ray cluster at {address} refuses this driver: {first}",
                hint="`hpo doctor --address` says more of it",
            ) from error
        try:
            yield
        finally:
            with shielded():
                ray.shutdown()


def remove_abandoned() -> None:
    """Delete the folders of drivers that were killed before they could."""
    for path in _short_root().glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):
            mine = path.lstat().st_uid == os.getuid() and not path.is_symlink()
            if mine and owner.isdecimal() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(path, ignore_errors=True)


def _start(folder: Path, plan: Plan, variables: Mapping[str, str]) -> None:
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=plan.workers,
            num_gpus=plan.gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            object_store_memory=_OBJECT_STORE,
            runtime_env={
                "env_vars": dict(variables),
                "worker_process_setup_hook": "hpo.run.ray.worker.keep_search_path",
            },
            _temp_dir=str(folder / "ray"),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"Ray does not start: {error}",
            hint="try again, or train in one process with `--executor local`",
        ) from error


def _refuse_second_ray() -> None:
    module = sys.modules.get("ray")
    if module is not None and module.is_initialized():
        raise RunError(
            "Ray runs in this process already, with settings that are not ours",
            hint="call `ray.shutdown()` first, or use the executor `local`",
        )


def _own_variables(folder: Path) -> dict[str, str]:
    token = folder / "token"
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_TOKEN)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # The one switch that keeps every listener on the loopback interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Workers started ahead have not our variables: Ray never uses them, and they would
        # import Ray on the very cores that our own workers start on.
        "RAY_prestart_worker_first_driver": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
        "TUNE_RESULT_BUFFER_LENGTH": "1",
    }


@contextmanager
def _environ(wanted: Mapping[str, str]) -> Iterator[None]:
    """This process's environment for a while; as it was afterwards."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _short_root() -> Path:
    """The temporary directory; sockets below it must have short names."""
    root = Path(tempfile.gettempdir())
    return root if len(str(root)) <= 24 else Path("/tmp")
