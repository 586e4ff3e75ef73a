"""What a worker suffers on purpose: it dies, hangs, or is slow."""

from __future__ import annotations

import os
import time

from hpo.chaos import Chaos
from hpo.worker.assignment import Assignment

STATUS = 86  # with which a process ends that dies on purpose


def suffer(chaos: Chaos, assignment: Assignment, epoch: int) -> None:
    """Suffer what is due at the end of an epoch that was trained just now.

    Args:
        chaos: The faults.
        assignment: What is trained.
        epoch: The epoch; nothing of it is saved yet.
    """
    trial = assignment.trial
    time.sleep(chaos.delay(trial, epoch))
    if chaos.dies(trial, epoch, deaths=assignment.deaths):
        print(f"dies on purpose at the end of epoch {epoch}", flush=True)
        os._exit(STATUS)
    while chaos.hangs(trial, epoch):  # until somebody kills it
        print(f"hangs on purpose at the end of epoch {epoch}", flush=True)
        time.sleep(3600)
