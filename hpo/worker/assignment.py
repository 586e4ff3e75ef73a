"""Assignments that go to a worker and reports that come back: plain picklable data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.chaos import Chaos
from hpo.schedule import Schedule
from models.training.protocol import Epoch


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Everything a worker needs to train one attempt at one trial.

    Attributes:
        trial: The trial's number in the run, from 1.
        attempt: Which go at it, from 1.
        family: Its family's name.
        create: ``"module:function"``, or a callable as `hpo.worker.pickling.pack` ships it.
        config: Constants and searched values by dotted key, those of the first epoch.
        settings: The study's fixed keys; those that the family does not know are left out.
        data: The data reference, handed on in the context.
        told_data: What is written down of it instead, where the data lies at another path
            for this worker alone; None for `data`.
        task: Name and settings of the task, likewise; None where there is none.
        seed: The trial's seed.
        epochs: The epoch budget.
        known: The last epoch in the ledger; earlier records are not reported again.
        folder: The trial's folder, ``trials/0007``; attempts live below it.
        restore: The attempt whose checkpoint to go on from, or None for none.
        donor: The folder of another trial's checkpoint to go on from where `restore` is None;
            it belongs to the same training, up to the schedule's last change. With neither,
            training starts afresh.
        schedule: How traced values change between epochs.
        rungs: Epochs after which a checkpoint is saved in any case.
        objective: The metric that decides which epoch is best, and its direction.
        checkpoint_seconds: Most seconds of training that may be lost.
        device: ``"cpu"`` or ``"gpu"``.
        stopping: A file whose presence asks for a checkpoint after the epoch in progress.
        ahead: Whether epochs between rungs may be trained before those before them are judged.
        evaluate: A part of the data over which the trial, which has ended, is evaluated
            instead of being trained; empty to train.
        chaos: Faults on purpose; None for none.
        deaths: How often a worker of the trial has died, which these depend on.
    """

    trial: int
    attempt: int
    family: str
    create: str | bytes
    config: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Any = None
    told_data: Any = None
    task: Mapping[str, Any] | None = None
    seed: int = 0
    epochs: int = 1
    known: int = 0
    folder: Path
    restore: int | None = None
    donor: Path | None = None
    schedule: Schedule = ()
    rungs: tuple[int, ...] = ()
    objective: tuple[str, Literal["minimize", "maximize"]] = ("rmse", "minimize")
    checkpoint_seconds: float = 5.0
    device: str = "cpu"
    stopping: Path | None = None
    ahead: bool = False
    evaluate: str = ""
    chaos: Chaos | None = None
    deaths: int = 0

    @property
    def directory(self) -> Path:
        """The attempt's own folder."""
        return self.folder / f"attempt-{self.attempt}"

    @property
    def source(self) -> Path | None:
        """The folder of the checkpoint to go on from, or None to start afresh."""
        if self.restore is None:
            return self.donor
        return self.folder / f"attempt-{self.restore}"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of a trial's best epoch over a part of the data.

    Attributes:
        metrics: Over the whole part; empty where the learner has no `evaluate`.
        records: The same for each record of the part, by its name, where the learner tells.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    records: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of one step: an epoch, the end, scores, or an error as data.

    Attributes:
        trial: The trial's number.
        attempt: The attempt's number.
        epoch: The epoch's record; None when the learner ended or failed.
        checkpoint: The epoch of a checkpoint saved just before this report, or None.
        scores: What an evaluation found; None for everything else.
        error: The traceback (a message for mistakes a person can mend), or None.
        reason: The error in one line; empty without one.
        obstacle: What no trial can train around, such as a full disk; empty without one.
        parameters: How many numbers are trained, where the learner knows it.
        kernels: The compiled kernels it computes with (``off`` for none), where the learner
            says so.
        resumed_from: Epochs taken over from a checkpoint; 0 when it started at epoch 1.
        resumable: Whether the learner can be saved and restored at all.
        notes: Remarks for the ledger, such as an unreadable checkpoint.
    """

    trial: int
    attempt: int
    epoch: Epoch | None = None
    checkpoint: int | None = None
    scores: Scores | None = None
    error: str | None = None
    reason: str = ""
    obstacle: str = ""
    parameters: int | None = None
    kernels: str | None = None
    resumed_from: int = 0
    resumable: bool = True
    notes: tuple[str, ...] = ()
