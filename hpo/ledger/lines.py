"""One line of a ledger, read and checked.

A big run has more than half a million epochs, so lines of the usual form are decoded and
checked in one go by msgspec; it accepts nothing that the standard library would refuse or read
differently. Whatever it does not accept is read the long way, whose verdict stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from hpo.ledger.events import KINDS, Event

UNREADABLE = (ValueError, TypeError, RecursionError, OverflowError)
_OF_RUN = frozenset(("run", "rerun", "test_read", "note"))
_LARGEST = 2**53

_Natural = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
_Whole = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
_Number = _Whole | float


class EpochLine(
    msgspec.Struct,
    tag_field="event",
    tag="epoch",
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,
):
    """An `epoch` event as nearly all lines have it: finite numbers, nothing unusual.

    The fields are those of `Event` and of its data.
    """

    schema: Literal[1]
    n: _Positive
    time: _Number
    elapsed: _Number
    trial: _Positive
    attempt: _Positive | None
    epoch: _Natural
    train: dict[str, _Number]
    valid: dict[str, _Number]
    seconds: _Number
    compile_seconds: _Number
    parameters: _Natural | None | msgspec.UnsetType = msgspec.UNSET
    resumed_from: _Natural | None | msgspec.UnsetType = msgspec.UNSET
    kernels: str | None | msgspec.UnsetType = msgspec.UNSET

    def to_event(self) -> Event:
        """The event, with its data in the order in which it is written."""
        data: dict[str, Any] = {
            "epoch": self.epoch,
            "train": self.train,
            "valid": self.valid,
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
        }
        if self.parameters is not msgspec.UNSET:
            data["parameters"] = self.parameters
        if self.resumed_from is not msgspec.UNSET:
            data["resumed_from"] = self.resumed_from
        if self.kernels is not msgspec.UNSET:
            data["kernels"] = self.kernels
        return Event.trusted(
            "epoch", self.trial, self.attempt, self.elapsed, data, self.n, self.time
        )


_epoch_line = msgspec.json.Decoder(EpochLine).decode
_json = msgspec.json.Decoder().decode
_MARK = b'"event": "epoch"'


def read_record(line: bytes, number: int) -> EpochLine | Event:
    """Read the line of that number; a usual epoch without the cost of an `Event`.

    Args:
        line: The line, with or without its newline.
        number: Its number, from 1.

    Raises:
        ValueError, TypeError, RecursionError, OverflowError: It is damaged.
    """
    if _MARK in line:
        try:
            found = _epoch_line(line)
        except (msgspec.MsgspecError, *UNREADABLE):
            return _the_long_way(line, number)
        if found.n == number:
            return found
    return _the_long_way(line, number)


def read_event(line: bytes, number: int) -> Event:
    """Read the line of that number.

    Args:
        line: The line, with or without its newline.
        number: Its number, from 1.

    Raises:
        ValueError, TypeError, RecursionError, OverflowError: It is damaged.
    """
    found = read_record(line, number)
    return found if isinstance(found, Event) else found.to_event()


def _the_long_way(line: bytes, number: int) -> Event:
    try:
        event = Event.from_record(_record(line.removesuffix(b"\n")))
    except ValueError as error:
        raise ValueError(f"a line must hold one whole event ({error})") from error
    if not _natural(event.n) or event.n != number:
        raise ValueError(f"events are numbered in order; `n` is {event.n!r} here")
    _check(event)
    return event


def _record(line: bytes) -> Any:
    try:
        return _json(line)
    except (msgspec.MsgspecError, *UNREADABLE):
        pass  # `NaN`, `1e400` and lone surrogates are fine with the standard library
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError("a line must be UTF-8 text") from error
    return json.loads(text)


def _natural(value: Any, low: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float)


def _metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(_number(v) for v in value.values())


_SHAPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "epoch": ("an integer from 0 up", _natural),
    "number": ("an integer from 0 up", _natural),
    "seed": ("an integer from 0 up", _natural),
    "donor": ("an integer from 1 up", lambda v: _natural(v, 1)),
    "seconds": ("a number", _number),
    "compile_seconds": ("a number", _number),
    "first": ("a number or null", lambda v: v is None or _number(v)),
    "second": ("a number or null", lambda v: v is None or _number(v)),
    "train": ("numbers by name", _metrics),
    "valid": ("numbers by name", _metrics),
    "metrics": ("numbers by name", _metrics),
    "records": (
        "numbers by name for each record",
        lambda v: isinstance(v, dict) and all(map(_metrics, v.values())),
    ),
    "params": ("values by name", lambda v: isinstance(v, dict)),
    **{
        key: ("text", lambda v: isinstance(v, str))
        for key in (
            "family",
            "rule",
            "reason",
            "text",
            "action",
            "metric",
            "purpose",
            "part",
        )
    },
}


def _check(event: Event) -> None:
    """Refuse values of a wrong type, which only an edited file can hold."""
    for name, value in (("time", event.time), ("elapsed", event.elapsed)):
        if not _number(value) or not math.isfinite(value):
            raise ValueError(f"`{name}` must be a finite number, got {value!r}")
    for name, which in (("trial", event.trial), ("attempt", event.attempt)):
        free = name == "attempt" or event.event in _OF_RUN
        if not (_natural(which, 1) or (free and which is None)):
            raise ValueError(f"`{name}` must be an integer from 1 up, got {which!r}")
    for key in KINDS[event.event]:
        if key in _SHAPES and not _SHAPES[key][1](event.data[key]):
            raise ValueError(
                f"`{key}` must be {_SHAPES[key][0]}, got {event.data[key]!r}"
            )
