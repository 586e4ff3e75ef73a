"""The record of a long ledger, kept beside it so that it need not be read again.

The ledger is the one truth. The index is made from its first bytes and carries their hash; it
is only believed while the ledger still begins with exactly these, and what was appended since
is read from the ledger. A damaged, foreign or missing index, or a folder that cannot be
written to, costs time and changes nothing. It holds no code: a line of JSON, then MessagePack.
"""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from contextlib import suppress
from typing import Any

import msgspec

from hpo.ledger.events import Event
from hpo.ledger.folder import RunFolder, write_atomically
from hpo.ledger.lines import read_event
from hpo.ledger.log import Reader
from hpo.study import Study
from hpo.trials.curve import Curve
from hpo.trials.record import RunRecord
from hpo.trials.reducer import Reducer

SCHEMA = 4  # another number where `RunRecord` or its meaning changes
WORTH = 4 << 20  # bytes of a ledger that take longer to read than an index to write
_BLOCK = 1 << 20


def read_run(run: RunFolder, study: Study) -> tuple[RunRecord, str | None]:
    """All that a run's ledger tells now.

    Args:
        run: The run.
        study: Its resolved study.

    Returns:
        The record, and a sentence about a torn last line (None when there is none).

    Raises:
        RunError: The ledger is missing, unreadable, or a line is damaged.
    """
    name = _name(study)
    digest, start, lines, known = _taken_up(run, name)
    reducer = Reducer.of(study, record=known)
    size = start
    reader = Reader(
        run.events_file, read_event, start=start, lines=lines, digest=digest
    )
    last: list[Event] = []
    for batch in reader.batches():
        if reader.ended:
            size, lines = reader.size, reader.lines
            for event in batch:
                reducer.apply(event)
        else:
            last = batch
    if size - start >= WORTH:
        _keep(run, reducer.record, name=name, size=size, lines=lines, digest=digest)
    for event in last:  # a line without its end may still grow, so no index has it
        reducer.apply(event)
    return reducer.record, reader.torn


def _taken_up(run: RunFolder, name: str) -> tuple[Any, int, int, RunRecord | None]:
    """Hash of the ledger's first bytes, how many, how many lines, and what they tell."""
    fresh = hashlib.sha256()
    try:
        head, body = run.index_file.read_bytes().split(b"\n", 1)
        about = json.loads(head)
        if about["name"] != name or about["body"] != hashlib.sha256(body).hexdigest():
            return fresh, 0, 0, None
        found, size, lines = hashlib.sha256(), about["size"], about["lines"]
        with run.events_file.open("rb") as file:
            left = size
            while left and (block := file.read(min(left, _BLOCK))):
                found.update(block)
                left -= len(block)
        if left or about["ledger"] != found.hexdigest():
            return fresh, 0, 0, None
        return found, size, lines, _decoder.decode(body)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return fresh, 0, 0, None  # msgspec's errors are ValueErrors


def _keep(run: RunFolder, record: RunRecord, *, digest: Any, **about: Any) -> None:
    """Write the index anew; where that cannot be done, there is none."""
    with suppress(OSError, OverflowError, ValueError, TypeError):
        body = _encoder.encode(record)
        about["ledger"] = digest.hexdigest()
        about["body"] = hashlib.sha256(body).hexdigest()
        write_atomically(run.index_file, json.dumps(about).encode() + b"\n" + body)


def _name(study: Study) -> str:
    """A hash of all that an index depends on beside the ledger."""
    text = json.dumps([SCHEMA, sys.byteorder, study.to_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _pack(value: Any) -> bytes:
    if isinstance(value, Curve):
        return value.points.tobytes()
    raise TypeError(f"no part of a record: {type(value)}")


def _unpack(kind: Any, value: Any) -> Curve:
    found = array("d")
    found.frombytes(value)
    if len(found) % 3:
        raise ValueError("points come in threes")
    return Curve(found)


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack)
_decoder = msgspec.msgpack.Decoder(RunRecord, dec_hook=_unpack)
