"""The plan by which an executor uses the machine: places for trials and their GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from hpo.errors import RunError
from hpo.study import Resources
from hpo.worker import environment


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run uses the machine.

    Attributes:
        workers: Trials at a time, each in a process of its own.
        gpus_per_trial: Fraction of a GPU each gets; 0 trains on the CPU.
        gpus: GPUs the run may use; 0 on the CPU.
        stall: Seconds without a report after which a worker is killed.
    """

    workers: int
    gpus_per_trial: float
    gpus: int
    stall: float


def plan(resources: Resources, *, gpus: int | None = None) -> Plan:
    """Fit a study's resources to this machine.

    Args:
        resources: What the study asks for.
        gpus: How many GPUs there are; None counts them.

    Raises:
        RunError: The machine has no GPU, or not enough of them, for what is asked.
    """
    share = resources.gpus_per_trial
    available = 0
    places = environment.cores()
    if share > 0:
        available = environment.gpus() if gpus is None else gpus
        places = environment.gpu_places(available, share)
        if places < 1:
            raise RunError(
                f"gpus_per_trial = {share:g} needs a GPU; {available} can be seen here",
                hint="train on the CPU with `--gpus-per-trial 0`",
            )
    workers = resources.workers or (1 if resources.executor == "local" else places)
    if share > 0 and workers > places:
        raise RunError(
            f"{workers} workers with {share:g} GPU each do not fit on {available} GPU(s)",
            hint=f"take at most {places} workers, or a smaller `--gpus-per-trial`",
        )
    return Plan(
        workers=workers, gpus_per_trial=share, gpus=available, stall=resources.stall
    )
