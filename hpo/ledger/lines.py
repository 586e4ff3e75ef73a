"""One line of a ledger, read and checked.

A big run has more than half a million epochs, so lines are decoded and checked in one go by
msgspec, which accepts nothing that the standard library would refuse or read differently.
Whatever it does not accept is read the long way, whose verdict stands: numbers that JSON cannot
hold, lone surrogates, fields that this version does not know, and damage.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import msgspec

from hpo.ledger.events import KINDS, SCHEMA, AnyEvent, EpochEvent, Event

UNREADABLE = (ValueError, TypeError, RecursionError, OverflowError)
_NUMBERS = {text: float(text) for text in ("nan", "inf", "-inf")}
_HEAD = f'{{"schema": {SCHEMA}, '.encode()
_MARK = b'"event": "epoch"'

_any_event = msgspec.json.Decoder(AnyEvent).decode
_epoch_event = msgspec.json.Decoder(EpochEvent).decode  # a tenth faster than the union


class OtherSchema(ValueError):
    """A line of a schema that this version does not read."""


def read_event(line: bytes, number: int) -> Event:
    """Read the line of that number.

    Args:
        line: The line, with or without its newline.
        number: Its number, from 1.

    Raises:
        OtherSchema: Another version wrote it.
        ValueError, TypeError, RecursionError, OverflowError: It is damaged.
    """
    event = from_line(line)
    if event.n != number:
        raise ValueError(f"events are numbered in order; `n` is {event.n!r} here")
    return event


def from_line(line: bytes) -> Event:
    """Read what `Event.to_line` wrote, whatever its number.

    Args:
        line: The line, with or without its newline.

    Raises:
        OtherSchema: Another version wrote it.
        ValueError, TypeError, RecursionError, OverflowError: It is damaged.
    """
    if not line.startswith(_HEAD):
        return _the_long_way(line)
    try:
        return _epoch_event(line) if _MARK in line else _any_event(line)
    except (msgspec.MsgspecError, *UNREADABLE):
        return _the_long_way(line)


def _the_long_way(line: bytes) -> Event:
    try:
        record = _mended(json.loads(line.decode()))
        kind = KINDS.get(record["event"])
        if kind is None:
            raise ValueError(f"unknown event {record['event']!r}")
        known = {"event", *kind.__struct_fields__}  # an optional field may be newer
        event = msgspec.convert({k: record[k] for k in record if k in known}, kind)
    except OtherSchema:
        raise
    except KeyError as error:
        raise ValueError(
            f"a line must hold one whole event; it lacks {error}"
        ) from error
    except UNREADABLE as error:  # msgspec's and the decoder's are ValueErrors
        raise ValueError(f"a line must hold one whole event ({error})") from error
    for name, value in (("time", event.time), ("elapsed", event.elapsed)):
        if not math.isfinite(value):
            raise ValueError(f"`{name}` must be a finite number, got {value!r}")
    return event


def _mended(record: Any) -> dict[str, Any]:
    """An object of this schema, with the numbers that JSON cannot hold."""
    if not isinstance(record, dict):
        raise ValueError("it is no object")
    schema = record["schema"]
    if isinstance(schema, int) and schema > SCHEMA:
        raise OtherSchema(
            f"an event of schema {schema}, but this version reads schema {SCHEMA}"
        )
    for part in ("train", "valid"):
        if isinstance(values := record.get(part), dict):
            record[part] = {sys.intern(k): _number(v) for k, v in values.items()}
    for name in ("metrics", "records"):
        if name in record:
            record[name] = _numbers(record[name])
    for name in ("first", "second"):
        if name in record:
            record[name] = _number(record[name])
    return record


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return _number(value)


def _number(value: Any) -> Any:
    return _NUMBERS.get(value, value) if isinstance(value, str) else value
