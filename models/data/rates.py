"""How fast files of records were sampled: all alike, unless each tells a model its own step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from models.data.constants import Constants
from models.data.reference import Reference
from models.data.stores import told_rate
from models.errors import DataError

_SAME = 1e-3
"""How far two rates may be apart, relative to one of them, and be the same."""


def several_rates(paths: Iterable[Path], *, constants: Constants) -> bool:
    """Whether files were sampled at different rates; those that tell none are not asked.

    Args:
        paths: The files, each of which is looked at.
        constants: Of the request. With one of the ``sampling`` among them a model is told
            the step of every record, which may then have its own.

    Raises:
        DataError: They were, and no model would know; or as `stores.told_rate`.
    """
    told = {path: told_rate(path) for path in paths}
    known = {path: rate for path, rate in told.items() if rate is not None}
    if not known:
        return False
    first, wanted = next(iter(known.items()))
    for path, rate in known.items():
        if _same(rate, wanted):
            continue
        if _tells_step(constants):
            return True
        raise DataError(
            "files of one dataset must be sampled at one rate: "
            f"{first} has {wanted:g} Hz, {path} has {rate:g} Hz",
            hint="resample the odd one or leave it out; or name a constant "
            '{"sampling": "step"} among the inputs, so that a model knows the step of each',
        )
    return False


def require_rate(path: Path, reference: Reference) -> None:
    """Refuse a file that was sampled at another rate than those of train.

    Args:
        path: The file; one that tells no rate is taken to have theirs.
        reference: The dataset.

    Raises:
        DataError: It was, and no model would know; or as `stores.told_rate`.
    """
    rate, settings = told_rate(path), reference.settings
    if rate is None or reference.sampling_rate is None:
        return
    wanted = reference.sampling_rate * settings.get("decimate", 1)
    if not _same(rate, wanted) and not _tells_step(settings.get("constants", {})):
        raise DataError(
            f"{path} was sampled at {rate:g} Hz, and what was trained on at {wanted:g} Hz",
            hint=f"resample it to {wanted:g} Hz; a model that is to know several rates is "
            'trained with a constant {"sampling": "step"} among its inputs',
        )


def require_one_rate(reference: Reference, *, what: str) -> None:
    """Refuse records at several rates, for what goes through all of them in one step.

    Args:
        reference: The dataset.
        what: That, for the message.

    Raises:
        DataError: ``train_also`` asks for further rates, or the files have several.
    """
    also, settings = reference.settings.get("train_also", ()), reference.settings
    if also:
        why = f"`train_also` {list(also)} asks for further ones beside `decimate`"
        hint = "leave `train_also` out"
    elif settings.get("several_rates"):
        why, hint = "its files have several `fs`", "give files of one rate"
    else:
        return
    raise DataError(
        f"{what} takes one step from sample to sample, but records of `{reference.name}` "
        f"come at several rates: {why}",
        hint=f"{hint}, or choose a family that reads the step of each as an input, the "
        'constant {"sampling": "step"}',
    )


def _tells_step(constants: Constants) -> bool:
    return any("sampling" in place for place in constants.values())


def _same(rate: float, other: float) -> bool:
    return abs(rate - other) <= _SAME * other
