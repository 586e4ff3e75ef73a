"""Epoch records: what foreign learners yield, and the file that keeps them.

The file is written before each checkpoint, so it never knows less than the checkpoint does; it
knows more where the save behind it was cut off. Which epoch the checkpoint holds is in the mark
that is written last.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import ForeignFailure
from models.training.protocol import Epoch

FILE = "epochs.json"
SAVED = "saved"  # the mark, present once an attempt holds a whole checkpoint
_SAVING = "saving"  # in the mark while a newer checkpoint replaces an older one


def as_epoch(thing: Any, number: int) -> Epoch:
    """Read what a learner yielded.

    Args:
        thing: An `Epoch`, a mapping of floats, or an object with `epoch`, `train_loss`,
            `valid_loss` and `metrics`. In a mapping, keys that begin with ``train_`` are
            training terms; `epoch` and `seconds` are what they say; the rest are validation
            metrics, with and without a leading ``valid_``.
        number: The number to give where the thing names none.

    Raises:
        ForeignFailure: It is none of these, or holds something that is no number.
    """
    if isinstance(thing, Epoch):
        return Epoch(
            number=_whole(thing.number),
            train=_floats(thing.train),
            valid=_floats(thing.valid),
            seconds=float(thing.seconds),
            compile_seconds=float(thing.compile_seconds),
        )
    if isinstance(thing, Mapping):
        return _from_mapping(thing, number)
    try:
        train, valid = thing.train_loss, thing.valid_loss
        epoch, metrics = thing.epoch, thing.metrics
    except AttributeError as error:
        raise ForeignFailure(
            f"fit_iter yielded a {type(thing).__name__}, which is no epoch: {error}",
            hint="yield a mapping of floats such as {'rmse': 0.1}, or an Epoch",
        ) from error
    return Epoch(
        number=_whole(epoch),
        train=_floats({"loss": train}),
        valid=_floats({"loss": valid, **(metrics or {})}),
    )


def _from_mapping(thing: Mapping[Any, Any], number: int) -> Epoch:
    train: dict[str, Any] = {}
    valid: dict[str, Any] = {}
    for key, value in thing.items():
        name = str(key)
        if name in ("epoch", "seconds"):
            continue
        if name.startswith("train_"):
            train[name.removeprefix("train_")] = value
        else:
            valid[name] = value
            if name.startswith("valid_"):
                valid.setdefault(name.removeprefix("valid_"), value)
    return Epoch(
        number=_whole(thing.get("epoch", number)),
        train=_floats(train),
        valid=_floats(valid),
        seconds=_floats({"seconds": thing.get("seconds", 0.0)})["seconds"],
    )


def _whole(number: Any) -> int:
    if isinstance(number, bool) or int(number) != number:
        raise ForeignFailure(
            f"an epoch's number must be an integer, got {number!r}",
            hint="count epochs from 1",
        )
    return int(number)


def _floats(values: Mapping[Any, Any]) -> dict[str, float]:
    out = {}
    for name, value in values.items():
        if value is None:
            continue
        try:
            out[str(name)] = float(value)
        except (TypeError, ValueError) as error:
            raise ForeignFailure(
                f"fit_iter yielded `{name}` = {value!r}, which is no number",
                hint="yield floats; put anything else into files below context.directory",
            ) from error
    return out


def write(directory: Path, epochs: Mapping[int, Epoch]) -> None:
    """Keep these records in `directory`, atomically."""
    rows = [
        [e.number, _plain(e.train), _plain(e.valid), e.seconds, e.compile_seconds]
        for e in epochs.values()
    ]
    replace(directory / FILE, json.dumps(rows))


def read(directory: Path) -> dict[int, Epoch]:
    """Read the records back; floats are equal to the last bit.

    Raises:
        OSError, ValueError: The file is missing or damaged.
    """
    rows = json.loads((directory / FILE).read_text())
    return {
        number: Epoch(number, _back(train), _back(valid), seconds, compiling)
        for number, train, valid, seconds, compiling in rows
    }


def begin_save(directory: Path) -> None:
    """Note that the checkpoint is about to be replaced; nothing where there is none."""
    if (directory / SAVED).exists():
        replace(directory / SAVED, _SAVING, sync=False)


def end_save(directory: Path, epoch: int) -> None:
    """Mark the checkpoint as whole.

    Args:
        directory: Where it lies.
        epoch: The last epoch that it holds.
    """
    replace(directory / SAVED, f"{epoch}\n", sync=False)


def reached(directory: Path) -> int | None:
    """The last epoch that a checkpoint holds; None where its last save was cut off.

    It then holds that epoch or an earlier one: its learner may know, nobody else does.

    Raises:
        OSError, ValueError: The mark or the records are missing or damaged.
    """
    mark = (directory / SAVED).read_text().strip()
    if mark == _SAVING:
        return None
    return (
        int(mark) if mark else max(read(directory))
    )  # a mark of an older version is empty


def replace(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a file so that a reader sees the old one or the new one, whole.

    Args:
        path: The file.
        text: Its content.
        sync: Whether it is on the disk when this returns.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def same(a: Epoch, b: Epoch | None) -> bool:
    """Whether both are one and the same record, its measured seconds included."""
    return b is not None and _key(a) == _key(b)


def _key(epoch: Epoch) -> str:
    return repr(
        (
            epoch.number,
            sorted(epoch.train.items()),
            sorted(epoch.valid.items()),
            epoch.seconds,
            epoch.compile_seconds,
        )
    )


def _plain(values: Mapping[str, float]) -> dict[str, float | str]:
    return {k: v if math.isfinite(v) else str(v) for k, v in values.items()}


def _back(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in values.items()}
