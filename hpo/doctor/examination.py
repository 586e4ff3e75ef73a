"""All of the doctor's questions, in the order in which a person would ask them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hpo.doctor import cluster, installation, machine
from hpo.doctor.finding import Finding
from hpo.doctor.trial import trial as one_trial
from hpo.run.attach import Attach
from hpo.worker.environment import cache_folder
from models.errors import UserError

_PATIENCE = 300.0  # seconds for JAX to load and for kernels to be built


def examine(
    *, results: Path, data_root: Path | None, trial: bool, deadline: float
) -> Iterator[Finding]:
    """Every finding, as soon as it is known.

    Args:
        results: Where runs would lie.
        data_root: Where real datasets lie; None asks ``$HPO_DATA``.
        trial: Whether to train one epoch through Ray.
        deadline: Seconds that this may take.
    """
    yield from _careful("versions", installation.versions)
    yield from _careful("packages", installation.packages)
    yield from _careful("extras", installation.extras)
    yield from _careful("git", lambda: [installation.git()])
    yield from _careful("cores", lambda: [machine.cores()])
    yield from _careful("memory", lambda: [machine.memory()])
    yield from _careful("open files", lambda: [machine.open_files()])
    yield from _careful("/dev/shm", lambda: [machine.shared_memory()])
    yield from _careful("results", lambda: [machine.disk("results", results)])
    yield from _careful("cache", lambda: [machine.disk("cache", cache_folder())])
    yield from _careful("compiler", lambda: [machine.compiler()])
    yield from _careful("devices", lambda: machine.devices(deadline=_PATIENCE))
    yield from _careful("datasets", lambda: [installation.datasets(data_root)])
    if trial:
        yield from _careful("trial", lambda: [one_trial(deadline=deadline)])


def examine_cluster(
    attach: Attach, *, results: Path, data_root: Path | None
) -> Iterator[Finding]:
    """Every node of a Ray cluster.

    Args:
        attach: The cluster.
        results: Where runs would lie.
        data_root: Where real datasets lie; None asks ``$HPO_DATA``.
    """
    root = data_root or (Path(p) if (p := os.environ.get("HPO_DATA")) else None)
    yield from _careful(
        "cluster", lambda: cluster.nodes(attach, results=results, data_root=root)
    )


def _careful(check: str, ask: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A question whose failure is a finding too: the others are still worth asking."""
    try:
        yield from ask()
    except UserError as error:
        yield Finding(
            check=check, status="error", found=error.message, remedy=error.hint or ""
        )
    except Exception as error:
        yield Finding(
            check=check,
            status="error",
            found=f"cannot be examined: {type(error).__name__}: {error}",
            remedy="this should not happen; please report it",
        )
