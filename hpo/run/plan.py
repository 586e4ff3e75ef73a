"""The plan by which an executor uses the machine: places for trials and their GPUs."""

from __future__ import annotations

from hpo.errors import RunError
from hpo.run.executor import Plan, find
from hpo.study import Resources
from hpo.worker import environment


def plan(resources: Resources, *, gpus: int | None = None) -> Plan:
    """Fit a study's resources to this machine.

    Args:
        resources: What the study asks for.
        gpus: How many GPUs there are; None counts them.

    Raises:
        StudyError: There is no such executor.
        RunError: The machine has no GPU, or not enough of them, for what is asked.
    """
    executor = find(resources.executor)
    share = resources.gpus_per_trial
    available = _available(share, gpus)
    room = places(resources, gpus=gpus)
    workers = resources.workers or executor.workers(room)
    if share > 0 and workers > room:
        raise RunError(
            f"{workers} workers with {share:g} GPU each do not fit on {available} GPU(s)",
            hint=f"take at most {room} workers, or a smaller `--gpus-per-trial`",
        )
    return Plan(
        workers=workers, gpus_per_trial=share, gpus=available, stall=resources.stall
    )


def places(resources: Resources, *, gpus: int | None = None) -> int:
    """How many trials have room on this machine: a core each, or their share of a GPU.

    Args:
        resources: What a trial needs.
        gpus: How many GPUs there are; None counts them.

    Raises:
        RunError: There is no GPU, or none with such a share.
    """
    share = resources.gpus_per_trial
    if not share > 0:
        return environment.cores()
    available = _available(share, gpus)
    found = environment.gpu_places(available, share)
    if found < 1:
        raise RunError(
            f"gpus_per_trial = {share:g} needs a GPU; {available} can be seen here",
            hint="train on the CPU with `--gpus-per-trial 0`",
        )
    return found


def _available(share: float, gpus: int | None) -> int:
    if not share > 0:
        return 0
    return environment.gpus() if gpus is None else gpus
