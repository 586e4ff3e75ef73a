"""The options of several commands that say where a run works."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.run.attach import Attach
    from hpo.study import Study

AUTO = "auto"


def workers_of(text: str | None) -> int | None:
    """The number of ``--workers``; None for ``auto``, and where nothing is said.

    Raises:
        StudyError: It is neither.
    """
    from hpo.errors import StudyError

    if text is None or text == AUTO:
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise StudyError(
        f"`--workers` is a positive number or `{AUTO}`, got {text!r}",
        hint="for example `--workers 4`",
    )


def counted(study: Study, text: str | None) -> Study:
    """A study without a number of workers where ``--workers`` is ``auto``.

    Args:
        study: The study, with the number of ``--workers`` where that is one.
        text: ``--workers``.
    """
    if text != AUTO:
        return study
    return study.replace(resources=replace(study.resources, workers=None))


def cluster_of(
    executor: str,
    address: str | None,
    *,
    insecure: bool,
    storage: str,
    patience: str,
    workers: int | None,
) -> Attach | None:
    """The cluster to work on; None for this machine.

    Args:
        executor: What trains: ``RAY_ADDRESS`` says nothing to another one than ``ray``.
        address: ``--address``.
        insecure: ``--insecure-cluster``.
        storage: ``--storage``.
        patience: ``--patience``.
        workers: Trials at a time; None for as many as have room.

    Raises:
        UserError: One of them is refused.
    """
    from hpo.duration import parse_duration
    from hpo.run.attach import attach

    if address is None and executor != "ray":
        return None
    return attach(
        address,
        insecure=insecure,
        storage=storage,
        patience=parse_duration(patience, option="--patience"),
        workers=workers,
    )


def for_children(
    executor: str | None,
    address: str | None,
    *,
    insecure: bool,
    storage: str,
    patience: str,
    workers: str | None,
) -> tuple[int | None, Attach | None]:
    """Where runs below a run work: how many trials at a time, and on which cluster.

    Args:
        executor: ``--executor``; None is ``local``.
        address: ``--address``.
        insecure: ``--insecure-cluster``.
        storage: ``--storage``.
        patience: ``--patience``.
        workers: ``--workers``.

    Raises:
        UserError: One of them is refused.
    """
    count = workers_of(workers)
    return count, cluster_of(
        executor or "local",
        address,
        insecure=insecure,
        storage=storage,
        patience=patience,
        workers=count,
    )


def cluster_of_run(
    study: Study,
    address: str | None,
    *,
    insecure: bool,
    storage: str,
    patience: str,
    workers: str | None,
) -> Attach | None:
    """The cluster on which to go on with a run; None for this machine.

    Args:
        study: What runs.
        address: ``--address``.
        insecure: ``--insecure-cluster``.
        storage: ``--storage``.
        patience: ``--patience``.
        workers: ``--workers``, which counts on a cluster only.

    Raises:
        UserError: One of them is refused.
    """
    from hpo.errors import RunError

    attach = cluster_of(
        study.resources.executor,
        address,
        insecure=insecure,
        storage=storage,
        patience=patience,
        workers=workers_of(workers),
    )
    if workers is not None and attach is None:
        raise RunError(
            "`--workers` is for a cluster (`--address`) here",
            hint="on one machine a run keeps the number of its launch",
        )
    return attach
