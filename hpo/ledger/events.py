"""The events a ledger may hold, and their form as lines of JSON.

One line an event: ``schema, n, time, elapsed, event, trial, attempt`` and what the kind adds.
Numbers that JSON cannot hold (NaN, infinities) are written as the strings ``"nan"``, ``"inf"``
and ``"-inf"`` inside ``train``, ``valid``, ``metrics``, ``records`` and ``value``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SCHEMA = 1

KINDS: Mapping[str, tuple[str, ...]] = {
    # kind: what it must add beside n, time, elapsed, trial, attempt
    "run": ("action",),  # launch | resume (pid, host, provenance) | finish
    "proposed": (
        "family",
        "number",
        "params",
        "seed",
    ),  # number: index within the family
    "started": (
        "attempt_of",
        "epoch",
    ),  # attempt_of: why (first, retry, resume, promoted, carried); epoch: known
    "epoch": ("epoch", "train", "valid", "seconds", "compile_seconds"),
    "checkpoint": ("epoch",),
    "stopped": ("rule", "epoch"),
    "completed": ("epoch",),
    "converged": ("rule", "epoch"),
    "diverged": ("rule", "epoch"),
    "failed": ("reason", "epoch"),
    "cancelled": ("reason", "epoch"),
    "interrupted": ("reason", "epoch"),  # the attempt ended, the trial will go on
    "paused": ("epoch",),  # the attempt ended; the trial waits for others of its family
    "exploited": ("donor", "epoch"),
    "rerun": ("kind",),
    "test_read": ("purpose",),
    "evaluated": ("part", "metrics", "records"),  # of the best epoch; reason: why not
    "nondeterminism": ("epoch", "metric", "first", "second"),
    "note": ("text",),
}
ENDINGS = ("completed", "converged", "stopped", "diverged", "failed", "cancelled")
RANKED = ("completed", "converged")


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        event: The kind, one of `KINDS`.
        trial: The trial's number in the run, or None for the run itself.
        attempt: Which go at the trial, counted from 1.
        elapsed: Seconds the run had been active when it happened; downtime excluded.
        data: What the kind adds.
        n: Position in the ledger; stamped when written.
        time: Unix time; stamped when written. Nothing is ever decided by it.
    """

    event: str
    trial: int | None = None
    attempt: int | None = None
    elapsed: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)
    n: int = -1
    time: float = 0.0

    def __post_init__(self) -> None:
        """Refuse kinds and shapes that the schema does not know."""
        assert self.event in KINDS, f"unknown event {self.event!r}"
        missing = [k for k in KINDS[self.event] if k not in self.data]
        assert not missing, f"event {self.event!r} lacks {missing}"

    def to_line(self) -> str:
        """The event as one line of strict JSON, with its newline."""
        head = {
            "schema": SCHEMA,
            "n": self.n,
            "time": round(self.time, 3),
            "elapsed": round(self.elapsed, 6),
            "event": self.event,
            "trial": self.trial,
            "attempt": self.attempt,
        }
        return json.dumps({**head, **_encode(self.data)}, allow_nan=False) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Event:
        """Read what `to_line` wrote.

        Raises:
            ValueError: The line is not a whole event of this schema.
        """
        return cls.from_record(json.loads(line))

    @classmethod
    def from_record(cls, record: Any) -> Event:
        """Read what a line of JSON holds; a dict is emptied on the way.

        Raises:
            ValueError: It is not a whole event of this schema.
        """
        if not isinstance(record, dict) or record.pop("schema", None) != SCHEMA:
            raise ValueError(f"not an event of schema {SCHEMA}")
        try:
            head = {
                k: record.pop(k)
                for k in ("n", "time", "elapsed", "event", "trial", "attempt")
            }
        except KeyError as error:
            raise ValueError(f"the event lacks {error}") from error
        kind = head["event"]
        if kind not in KINDS or any(k not in record for k in KINDS[kind]):
            raise ValueError(f"event {kind!r} is unknown or incomplete")
        return cls(**head, data=_decode(record))

    @classmethod
    def trusted(
        cls,
        event: str,
        trial: int | None,
        attempt: int | None,
        elapsed: float,
        data: Mapping[str, Any],
        n: int,
        time: float,
    ) -> Event:
        """An event whose parts were checked before; there are very many of them.

        Args:
            event: See `Event`, like the others.
            trial: The trial.
            attempt: The attempt.
            elapsed: Active seconds.
            data: What the kind adds.
            n: Position in the ledger.
            time: Unix time.
        """
        made = object.__new__(cls)
        for put, value in zip(
            _PUTS, (event, trial, attempt, elapsed, data, n, time), strict=True
        ):
            put(made, value)
        return made


# How a frozen object's slots are filled, in the order of its fields.
_PUTS = tuple(vars(Event)[f.name].__set__ for f in fields(Event))


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def _decode(record: dict[str, Any]) -> dict[str, Any]:
    def number(value: Any) -> Any:
        return float(value) if value in ("nan", "inf", "-inf") else value

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: numbers(v) for k, v in value.items()}
        return number(value)

    for key in ("train", "valid"):
        if isinstance(record.get(key), dict):
            record[key] = {sys.intern(k): number(v) for k, v in record[key].items()}
    for key in ("metrics", "records"):
        if key in record:
            record[key] = numbers(record[key])
    for key in ("value", "first", "second"):
        if key in record:
            record[key] = number(record[key])
    return {sys.intern(k): v for k, v in record.items()}  # a run has very many events
