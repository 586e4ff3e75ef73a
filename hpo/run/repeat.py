"""One trial trained again from its first epoch, in a child process that answers by socket.

The same `Session` trains here and in a search, which is why an exact re-run can be exact.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection, wait

from hpo.stopping import registry as stopping
from hpo.study import Objective, Rule
from hpo.worker.assignment import Assignment
from hpo.worker.environment import compose
from hpo.worker.process import die_with, redirect
from hpo.worker.session import Session
from models.training.protocol import Epoch, Evaluable


@dataclass(frozen=True, kw_only=True)
class Job:
    """One repetition.

    Attributes:
        assignment: What to train, with a folder of its own.
        epochs: Stop after so many epochs (the assignment's budget stays the horizon).
        rules: Stopping rules of the study; those that compare trials are left out.
        objective: What the rules look at.
        test: Whether to evaluate the test part at the end.
    """

    assignment: Assignment
    epochs: int
    rules: tuple[Rule, ...] = ()
    objective: Objective = Objective()
    test: bool = False


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """The outcome of a repetition.

    Attributes:
        epochs: Its epochs, in order.
        test: Metrics over the test part; None where they were not asked for or there is no
            `evaluate`.
        ended_by: The rule that ended it early; empty for none.
        error: Why it failed; empty when it did not.
        parameters: How many numbers are trained, where the learner knows it.
        kernels: The compiled kernels it computed with, where the learner says so.
    """

    epochs: tuple[Epoch, ...] = ()
    test: Mapping[str, float] | None = None
    ended_by: str = ""
    error: str = ""
    parameters: int | None = None
    kernels: str | None = None


@dataclass
class _Child:
    job: Job
    process: subprocess.Popen[bytes]
    connection: Connection
    environment: Mapping[str, str]
    heard: float
    result: Repeated = field(default_factory=Repeated)


def repeat(
    jobs: Sequence[Job],
    *,
    environments: Sequence[Mapping[str, str]],
    stall: float,
    tell: Callable[[int, Epoch], None] = lambda index, epoch: None,
) -> list[Repeated]:
    """Train every job in a fresh process.

    Args:
        jobs: What to train.
        environments: The variables of each process that may run at the same time, see
            `hpo.worker.environment`.
        stall: Seconds of silence after which a process is killed.
        tell: Is called with a job's index and each of its epochs.

    Returns:
        What came of each job, in the order of `jobs`; failures are data.
    """
    waiting, free = list(range(len(jobs))), list(environments)
    running: dict[int, _Child] = {}
    done: dict[int, Repeated] = {}
    try:
        while waiting or running:
            while waiting and free:
                index = waiting.pop(0)
                running[index] = _start(jobs[index], free.pop(0))
            wait([c.connection for c in running.values()], timeout=0.5)
            for index, child in list(running.items()):
                if _listen(child, stall, partial(tell, index)):
                    done[index] = running.pop(index).result
                    _reap(child)
                    free.append(child.environment)
    finally:
        for child in running.values():
            child.process.kill()
            _reap(child)
    return [done[i] for i in range(len(jobs))]


def _start(job: Job, environment: Mapping[str, str]) -> _Child:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-c"),
                "from hpo.run.repeat import main; main()",
                *(str(theirs.fileno()), str(os.getpid())),
            ],
            env=compose(environment),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for the driver alone
        )
    connection = Connection(ours.detach())
    connection.send_bytes(pickle.dumps(job))
    return _Child(job, process, connection, environment, heard=time.monotonic())


def _listen(child: _Child, stall: float, tell: Callable[[Epoch], None]) -> bool:
    """Take in what a child says; whether it is done."""
    try:
        while child.connection.poll():
            child.heard = time.monotonic()
            message = child.connection.recv()
            if isinstance(message, Repeated):
                child.result = replace(message, epochs=child.result.epochs)
                return True
            child.result = replace(child.result, epochs=(*child.result.epochs, message))
            tell(message)
    except (EOFError, OSError):
        status = child.process.wait()
        child.result = replace(
            child.result, error=f"the process ended with status {status}"
        )
        return True
    silent = time.monotonic() - child.heard
    if silent > stall:
        child.process.kill()
        child.result = replace(
            child.result, error=f"no sign of life for {silent:.0f} s"
        )
        return True
    return False


def _reap(child: _Child) -> None:
    child.connection.close()
    try:
        child.process.wait(5)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()


def train(job: Job, tell: Callable[[Epoch], None]) -> Repeated:
    """Train one job in this process.

    Args:
        job: What to train.
        tell: Is called with each epoch.

    Returns:
        What came of it, less the epochs, which `tell` has got.
    """
    session = Session(job.assignment)
    judges = _solitary(job)
    values: dict[int, float] = {}
    parameters, kernels, ended_by = None, None, ""
    try:
        while len(values) < job.epochs and not ended_by:
            report = session.step()
            parameters, kernels = report.parameters, report.kernels
            if report.error is not None:
                return Repeated(error=report.reason, parameters=parameters)
            if report.epoch is None:
                break
            tell(report.epoch)
            ended_by = _verdict(job, judges, values, report.epoch)
        learner, test = session.learner, None
        if job.test and isinstance(learner, Evaluable):
            test = {k: float(v) for k, v in learner.evaluate("test").items()}
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        return Repeated(error=text, parameters=parameters)
    finally:
        session.close()
    return Repeated(
        test=test, ended_by=ended_by, parameters=parameters, kernels=kernels
    )


def _solitary(job: Job) -> list[tuple[str, stopping.StoppingRule]]:
    made = [(rule.name, stopping.make(rule)) for rule in job.rules]
    return [(n, rule) for n, rule in made if not rule.rungs(job.assignment.epochs, 0)]


def _verdict(
    job: Job,
    judges: list[tuple[str, stopping.StoppingRule]],
    values: dict[int, float],
    epoch: Epoch,
) -> str:
    """The rule that ends the repetition after this epoch, or nothing."""
    past = [v for v in values.values() if abs(v) < float("inf")]
    best = min(past, key=job.objective.rank_key, default=None)
    values[epoch.number] = float(epoch.valid.get(job.objective.metric, float("nan")))
    evidence = stopping.Evidence(
        trial=job.assignment.trial,
        budget=job.assignment.epochs,
        epoch=epoch,
        values=values,
        best=best,
        rung=None,
        history=(),
        objective=job.objective,
    )
    return next((n for n, rule in judges if rule.judge(evidence) is not None), "")


def main() -> None:
    """Entry of the child process: the socket's number and the parent's process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    die_with(parent)
    job: Job = pickle.loads(connection.recv_bytes())  # from our own parent, by a socket
    with suppress(OSError):
        redirect(job.assignment.folder / "log.txt")
    connection.send(train(job, connection.send))
    os._exit(0)  # threads of user code must not keep the process
