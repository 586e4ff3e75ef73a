"""Executors: what gives a run's trials to processes that train them, and how one is found.

A file in `hpo.run.executors` with a class `Executor` is one, under the file's name. Whatever it
is built on, it only carries reports one way and answers the other: what to train, what to stop
and what to write down is decided behind the `TrialLoop`, in the driver's process.

Hold a new one against `hpo.testing.executors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hpo.options import look_up, names_in
from hpo.run import executors
from hpo.run.attach import Attach
from hpo.run.loop import TrialLoop
from hpo.run.room import Kind


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run uses the machine.

    Attributes:
        workers: Trials at a time, each in a process of its own.
        gpus_per_trial: Fraction of a GPU each gets; 0 trains on the CPU.
        gpus: GPUs the run may use; 0 on the CPU.
        stall: Seconds without a report after which a worker is killed.
        request: What a trial takes of a machine, as Ray names it: ``CPU``, ``GPU``, others.
        kinds: The kinds of slots that its trials need on a cluster.
        attach: The cluster to work on; None for this machine.
        cluster: What was found there at the launch or resume; empty for this machine.
    """

    workers: int
    gpus_per_trial: float
    gpus: int
    stall: float
    request: Mapping[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    kinds: tuple[Kind, ...] = ()
    attach: Attach | None = None
    cluster: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Carries assignments to workers and their reports back; made without arguments.

    A worker is a process with the variables of `hpo.worker.environment.worker_environment`.
    It makes of each `Assignment` what `hpo.worker.evaluation.begin` gives, calls its `step`
    as often as it is told to, each time sending the `Report`, and its `close` when the
    assignment is over or the process is to leave. `hpo.worker.process.Child` is such a
    process. Several assignments may follow one another in the same one.
    """

    def workers(self, places: int) -> int:
        """How many trials run at a time where a person does not say.

        Args:
            places: How many have room on this machine: a core each, or their share of a GPU.
        """
        ...

    def execute(self, loop: TrialLoop, plan: Plan) -> None:
        """Train until nothing is left to do, a budget is used up, or a stop is asked for.

        - `loop.next` is asked for each free worker, never for more than ``plan.workers`` at
          a time. An `Assignment` is begun, `Wait` is asked again after the next report, and
          after a `Done` no worker gets anything any more.
        - Each report goes to `loop.report`, one after the other, in the driver's own thread.
          Only the answer `Continue` lets the worker take its next step; any other one, and
          ``loop.stop.requested``, ends the attempt: it is closed, which saves it.
        - A process that died is told to `loop.lost`. One that has been silent for longer than
          ``plan.stall`` seconds is told to `loop.stalled` and killed. Both may be followed by
          a new attempt, from `loop.next`.
        - `loop.expire` and `loop.tick` are called several times a second. Once `expire` is
          true, whatever is in the middle of a step is killed.
        - Once ``loop.stop.requested``, nothing new is begun and the steps in progress are
          waited for.
        - Whatever is raised here, `KeyboardInterrupt` included, goes on to the caller once no
          process is left. Without an exception all workers have saved and left, too.

        Args:
            loop: Asked for work and told what came of it; it outlives the executor.
            plan: How to use the machine.

        Raises:
            RunError: It cannot start, or nothing comes of what it starts.
        """
        ...


def names() -> tuple[str, ...]:
    """Every executor's name."""
    return names_in(executors)


def find(name: str) -> Executor:
    """The executor of that name.

    Raises:
        StudyError: There is none (near matches are listed).
    """
    found: Executor = look_up("executor", name, executors, "Executor")()
    return found
