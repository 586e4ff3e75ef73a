"""The events a ledger may hold, a class for each kind, and their form as lines of JSON.

One line an event: ``schema, n, time, elapsed, event, trial, attempt`` and the fields of the kind,
in the order of the class; what is `UNSET` is left out. Numbers that JSON cannot hold (NaN,
infinities) are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``. `hpo.ledger.lines`
reads the lines back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from models.training.protocol import Epoch

SCHEMA = 1  # goes up when a line of before would be misread

_Natural = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    forbid_unknown_fields=True,
    tag_field="event",
):
    """One thing that happened; each kind is a subclass.

    Attributes:
        schema: Of the line.
        n: Position in the ledger; stamped when written.
        time: Unix time; stamped when written. Nothing is ever decided by it.
        elapsed: Seconds the run had been active when it happened; downtime excluded.
        trial: The trial's number in the run, or None for the run itself.
        attempt: Which go at the trial, counted from 1; None outside of any.
    """

    schema: Literal[1] = 1
    n: int = -1
    time: float = 0.0
    elapsed: float = 0.0
    trial: _Positive | None = None
    attempt: _Positive | None = None

    @property
    def event(self) -> str:
        """The name of the kind, as the line has it."""
        return str(self.__struct_config__.tag)

    def details(self) -> dict[str, Any]:
        """The fields that only this kind has, in order; without those that are unset."""
        found = ((k, getattr(self, k)) for k in self.__struct_fields__[_HEAD:])
        return {k: value for k, value in found if value is not UNSET}

    def to_line(self) -> str:
        """The event as one line of strict JSON, with its newline."""
        head = {
            "schema": self.schema,
            "n": self.n,
            "time": round(self.time, 3),
            "elapsed": round(self.elapsed, 6),
            "event": self.event,
            "trial": self.trial,
            "attempt": self.attempt,
        }
        line = {**head, **self.details()}
        try:
            return _STRICT(line) + "\n"
        except (TypeError, ValueError):  # not finite, or no plain dictionary
            return _STRICT(_encode(line)) + "\n"


_HEAD = len(Event.__struct_fields__)
_STRICT = json.JSONEncoder(allow_nan=False).encode


# -- of the run ---------------------------------------------------------------------------


class RunEvent(Event, frozen=True, kw_only=True, gc=False, tag="run"):
    """A driver took up the run, or finished it.

    Attributes:
        action: ``launch``, ``resume`` or ``finish``.
        pid: The driver's process id.
        host: Its machine.
        boot: When that machine was started, by a name of the kernel's.
        nonce: Of this driver alone; with host and boot it is the driver's lease of the run.
        provenance: What code and machine it ran with.
        reason: Why the run finished: ``budget``, ``time`` or ``epochs``.
    """

    action: str
    pid: int | UnsetType = UNSET
    host: str | UnsetType = UNSET
    boot: str | UnsetType = UNSET
    nonce: str | UnsetType = UNSET
    provenance: dict[str, Any] | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Note(Event, frozen=True, kw_only=True, gc=False, tag="note"):
    """A remark on the run or a trial; decides nothing.

    Attributes:
        text: The remark.
    """

    text: str


class Capacity(Event, frozen=True, kw_only=True, gc=False, tag="capacity"):
    """From now on so many workers are there, on a cluster whose nodes come and go.

    Attributes:
        workers: How many trials can be at work.
        nodes: How many of them on each node, by its name.
        reason: What changed, in words.
    """

    workers: _Natural
    nodes: dict[str, _Natural]
    reason: str


class RerunEvent(Event, frozen=True, kw_only=True, gc=False, tag="rerun"):
    """A trial was trained again.

    Attributes:
        kind: ``exact`` or ``seeds``.
        equal: Whether every number was the same again.
        seeds: The fresh seeds.
        values: The objective by seed.
        tests: The scores on the test part by seed.
        folder: The name of the folder below ``reruns/``.
    """

    kind: str
    equal: bool | UnsetType = UNSET
    seeds: list[int] | UnsetType = UNSET
    values: list[Any] | UnsetType = UNSET
    tests: list[Any] | UnsetType = UNSET
    folder: str | UnsetType = UNSET


class ReadTest(Event, frozen=True, kw_only=True, gc=False, tag="test_read"):
    """The test part is about to be read.

    Attributes:
        purpose: What for, in words.
        folder: The name of the re-run's folder below ``reruns/``, in the ledger of its run.
    """

    purpose: str
    folder: str | UnsetType = UNSET


class Extended(Event, frozen=True, kw_only=True, gc=False, tag="extended"):
    """The run goes on with more than it was launched with; `study.json` says with what.

    Attributes:
        said: The changes, in words.
        before: The study as it was until now.
    """

    said: list[str]
    before: dict[str, Any]


# -- of a trial ---------------------------------------------------------------------------


class TrialEvent(Event, frozen=True, kw_only=True, gc=False):
    """Anything that happens to a trial; the subclasses are the kinds."""

    trial: _Positive


class Proposed(TrialEvent, frozen=True, kw_only=True, gc=False, tag="proposed"):
    """A trial came into being.

    Attributes:
        family: Its family.
        number: Its index within the family, from 0.
        params: Searched values by name.
        seed: Its seed.
        origin: Who proposed it: a sampler's name, ``first`` for a point to try first, or
            ``carried`` for a trial of an earlier run.
        schedule: How its traced values change between epochs, as `hpo.schedule.written`.
        carried: Which trial of which run that was.
        extension: Under which extension of the run, and so under which space; unset before
            the first.
    """

    family: str
    number: _Natural
    params: dict[str, Any]
    seed: _Natural
    origin: str | UnsetType = UNSET
    schedule: list[dict[str, Any]] | UnsetType = UNSET
    carried: str | UnsetType = UNSET
    extension: _Positive | UnsetType = UNSET


class Started(TrialEvent, frozen=True, kw_only=True, gc=False, tag="started"):
    """An attempt began.

    Attributes:
        attempt_of: Why: ``first``, ``retry``, ``resume``, ``promoted`` or ``carried``.
        epoch: The last epoch known by then.
        from_attempt: The newest attempt of which a checkpoint was known, or None.
    """

    attempt_of: str
    epoch: _Natural
    from_attempt: _Positive | None | UnsetType = UNSET


class EpochEvent(TrialEvent, frozen=True, kw_only=True, gc=False, tag="epoch"):
    """An epoch was trained.

    Attributes:
        epoch: Its number, counted from 1.
        train: Training terms by name.
        valid: Validation metrics by name.
        seconds: Training and validation, without compiling.
        compile_seconds: Tracing and compiling.
        parameters: How many numbers the model trains; told once an attempt.
        resumed_from: The epoch of the checkpoint the attempt went on from; told likewise.
        kernels: The compiled kernels it computes with; told likewise.
    """

    epoch: _Natural
    train: dict[str, float]
    valid: dict[str, float]
    seconds: float
    compile_seconds: float
    parameters: _Natural | None | UnsetType = UNSET
    resumed_from: _Natural | None | UnsetType = UNSET
    kernels: str | None | UnsetType = UNSET

    def record(self) -> Epoch:
        """The epoch as the learner yielded it."""
        return Epoch(
            self.epoch, self.train, self.valid, self.seconds, self.compile_seconds
        )


class CheckpointEvent(
    TrialEvent, frozen=True, kw_only=True, gc=False, tag="checkpoint"
):
    """An attempt was saved.

    Attributes:
        epoch: After which epoch.
    """

    epoch: _Natural


class Nondeterminism(
    TrialEvent, frozen=True, kw_only=True, gc=False, tag="nondeterminism"
):
    """An epoch gave another number when it was trained again; the first one stands.

    Attributes:
        epoch: The epoch.
        metric: Which number, such as ``valid.rmse``.
        first: What it was; None where it was not reported.
        second: What it is now.
    """

    epoch: _Natural
    metric: str
    first: float | None
    second: float | None


class Evaluated(TrialEvent, frozen=True, kw_only=True, gc=False, tag="evaluated"):
    """The best epoch of a trial that has ended was scored over a part of the data.

    Attributes:
        part: The part.
        metrics: Scores by name; empty where it could not be scored.
        records: Scores of each record of the part alone, by its name.
        reason: Why it could not be scored, in words.
    """

    part: str
    metrics: dict[str, float]
    records: dict[str, dict[str, float]]
    reason: str | UnsetType = UNSET


class Interrupted(TrialEvent, frozen=True, kw_only=True, gc=False, tag="interrupted"):
    """An attempt ended; the trial will go on in another one.

    Attributes:
        epoch: The last epoch known.
        reason: What happened, in words.
        death: Whether the process died, which spends a retry.
    """

    epoch: _Natural
    reason: str
    death: bool | UnsetType = UNSET


class Paused(TrialEvent, frozen=True, kw_only=True, gc=False, tag="paused"):
    """An attempt ended; the trial waits for others of its family.

    Attributes:
        epoch: The last epoch known.
        rule: The rule that lets it wait.
        reason: What for, in words.
    """

    epoch: _Natural
    rule: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Reopened(TrialEvent, frozen=True, kw_only=True, gc=False, tag="reopened"):
    """An extended run takes up a trial that had ended by a budget or a comparison.

    Attributes:
        epoch: The last epoch known.
        state: ``paused`` where a rule decides when it goes on, or ``pending``.
        rule: That rule.
    """

    epoch: _Natural
    state: Literal["paused", "pending"]
    rule: str | UnsetType = UNSET


class Exploited(TrialEvent, frozen=True, kw_only=True, gc=False, tag="exploited"):
    """A paused trial gave up its own state for a copy of another paused one's.

    From here on it is the other's training, with other traced values behind this epoch.

    Attributes:
        donor: The other trial.
        epoch: The last epoch of both.
        traced: The values that change, by dotted key.
        rule: The rule that says so.
    """

    donor: _Positive
    epoch: _Positive
    traced: dict[str, Any]
    rule: str


class Ending(TrialEvent, frozen=True, kw_only=True, gc=False):
    """A trial ended; the kinds bear the names of the states they lead to.

    Attributes:
        epoch: The last epoch known.
        rule: The rule that ended it, where one did.
        reason: Why, in words.
    """

    epoch: _Natural
    rule: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Completed(Ending, frozen=True, kw_only=True, gc=False, tag="completed"):
    """Its whole budget was spent, or its learner had no more to yield."""


class Converged(Ending, frozen=True, kw_only=True, gc=False, tag="converged"):
    """A rule saw no further improvement; its value stands."""

    rule: str


class Stopped(Ending, frozen=True, kw_only=True, gc=False, tag="stopped"):
    """A rule that compares it with others cut it."""

    rule: str


class Diverged(Ending, frozen=True, kw_only=True, gc=False, tag="diverged"):
    """A rule saw its numbers explode."""

    rule: str


class Failed(Ending, frozen=True, kw_only=True, gc=False, tag="failed"):
    """An exception, a stall, or its process died too often."""

    reason: str


class Cancelled(Ending, frozen=True, kw_only=True, gc=False, tag="cancelled"):
    """A budget of the run was used up."""

    reason: str


AnyEvent = (
    RunEvent | Note | Capacity | RerunEvent | ReadTest | Extended | Reopened | Proposed | Started
    | EpochEvent | CheckpointEvent | Nondeterminism | Evaluated | Interrupted | Paused | Exploited
    | Completed | Converged | Stopped | Diverged | Failed | Cancelled
)  # fmt: skip
KINDS: Mapping[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind for kind in AnyEvent.__args__
}


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
