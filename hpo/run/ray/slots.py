"""The driver's handle on a slot: what it is doing, what it is asked, and how it was lost."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.run.ray import slot as remote
from hpo.run.ray.view import look
from hpo.run.room import Kind
from hpo.worker import mirror
from hpo.worker.assignment import Assignment

# A node need not have this project.
cloudpickle.register_pickle_by_value(remote)  # type: ignore[no-untyped-call]
_ACTOR = ray.remote(remote.Slot)


class Doing(StrEnum):
    """What a slot is asked for now."""

    PREPARE = "prepare"
    FETCH = "fetch"
    FREE = "free"
    BEGIN = "begin"
    STEP = "step"
    RELEASE = "release"


@dataclass(kw_only=True, eq=False)
class Slot:
    """A slot on a node; two are the same only where they are one.

    Attributes:
        node: Ray's name of the node.
        name: Its host's name and address, for people.
        kind: What it takes of the node, and whom it serves.
        actor: Ray's handle.
        doing: What it is asked for now.
        answer: What it will answer; None when it is free.
        task: What it trains.
        since: When it was last heard of.
        missing: Digests of the data that it still lacks.
        asked: Whether it was asked to save soon.
        due: What it is to be asked for once the ledger is on the disk.
    """

    node: str
    name: str
    kind: Kind
    actor: Any
    doing: Doing = Doing.PREPARE
    answer: Any = None
    task: Assignment | None = None
    since: float = field(default_factory=time.monotonic)
    missing: list[str] = field(default_factory=list)
    asked: bool = False
    due: Doing | None = None

    @property
    def ready(self) -> bool:
        """Whether it can train, or does."""
        return self.doing not in (Doing.PREPARE, Doing.FETCH)

    def prepare(self, order: bytes, code: Any) -> None:
        """Let it take up code and look for data."""
        self.answer = self.actor.prepare.remote(order, code)

    def fetch(self, digest: str, files: Mapping[str, list[Any]]) -> None:
        """Let it write data that its node lacks."""
        self.doing, self.answer = (
            Doing.FETCH,
            self.actor.fetch.remote(digest, dict(files)),
        )

    def begin(self, task: Assignment, *, shared: bool) -> None:
        """Train an attempt from now on."""
        given = None if shared else _holdings(task)
        self.task, self.asked = task, False
        self.since = time.monotonic()
        sent = self.actor.begin.remote(pickle.dumps(task), pickle.dumps(given))
        self.doing, self.answer = Doing.BEGIN, sent

    def step(self) -> None:
        """Let it take a step."""
        self.since = time.monotonic()
        self.doing, self.answer = Doing.STEP, self.actor.step.remote()

    def release(self) -> None:
        """End the attempt, which saves it."""
        self.doing, self.answer = Doing.RELEASE, self.actor.release.remote()

    def free(self) -> None:
        """It has nothing to do."""
        self.doing, self.answer, self.task = Doing.FREE, None, None

    def save_soon(self) -> None:
        """Ask for a checkpoint after the epoch in progress; once is enough."""
        if not self.asked and self.task is not None:
            self.asked = True
            self.actor.save_soon.remote()

    def kill(self) -> None:
        """End it at once, with its child."""
        self.answer = None
        ray.kill(self.actor)


def take(node: str, name: str, kind: Kind) -> Slot:
    """A slot on a node; Ray lets it wait while others use what it takes.

    Args:
        node: Ray's name of the node.
        name: Its name for people.
        kind: What it takes of the node.
    """
    request = kind.request
    others = {k: v for k, v in request.items() if k not in ("CPU", "GPU")}
    options = _ACTOR.options(
        num_cpus=request.get("CPU", 0.0),
        num_gpus=request.get("GPU", 0.0),
        resources=others or None,
        max_restarts=0,
        max_task_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    return Slot(node=node, name=name, kind=kind, actor=options.remote())


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How a slot was lost.

    Attributes:
        reason: In words.
        death: Whether the trial may be why, which spends a retry.
        node: Whether nothing more is to be tried on that node; why.
    """

    reason: str
    death: bool = False
    node: str = ""


def loss(slot: Slot, error: BaseException) -> Loss:
    """What an error of Ray's says of a slot.

    Args:
        slot: It.
        error: As Ray raised it.
    """
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "memory usage threshold" in text:
        return Loss(
            reason=f"node {slot.name} ran out of memory: Ray killed the worker",
            death=True,
        )
    if isinstance(error, RayTaskError) and not _system(error):
        cause = error.cause if isinstance(error.cause, BaseException) else error
        said = str(cause).strip() or "without a word"
        told = getattr(cause, "strerror", None) or said.splitlines()[-1]
        where = getattr(cause, "filename", None)
        why = f"{told} ({where})" if where else f"{type(cause).__name__}: {told}"
        return Loss(reason=f"node {slot.name} cannot train: {why}", node=why)
    if getattr(error, "preempted", False):
        return Loss(reason=f"node {slot.name} was preempted")
    if _gone(slot.node, text):
        return Loss(reason=f"node {slot.name} is gone")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Loss(
        reason=f"the worker on node {slot.name} died: {lines[-1] if lines else error!r}",
        death=True,
    )


def _system(error: RayTaskError) -> bool:
    return isinstance(getattr(error, "cause", None), ray.exceptions.RayError)


def _gone(node: str, text: str) -> bool:
    if "node has died" in text or "node_id" in text and "dead" in text:
        return True
    end = (
        time.monotonic() + 2.0
    )  # Ray may know of the worker before it knows of the node
    while time.monotonic() < end:
        try:
            if node not in look():
                return True
        except Exception:
            return True  # the head does not answer
        time.sleep(0.2)
    return False


def _holdings(task: Assignment) -> dict[str, bytes]:
    sources: list[tuple[str, Path | None]] = []
    if task.restore is not None:
        name = f"attempt-{task.restore}"
        sources.append((name, task.folder / name))
    elif task.donor is not None:
        sources.append((mirror.DONOR, task.donor))
    return mirror.holdings(task.folder, *sources)
