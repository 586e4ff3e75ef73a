"""Every value of train and valid is looked at once, before a study spends hours on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from models.data.kinds.base import Dataset, Part, spans
from models.data.reference import Reference
from models.data.statistics import Moments
from models.errors import DataError

_RESOLVED = 100 * float(np.finfo(np.float32).eps)
"""Least standard deviation, relative to the mean: rounding to single precision then is at most
0.3 % of it (steps of ``eps |mean|``, over the root of 12)."""


def checked(
    dataset: Dataset, *, allowed: Collection[str], whole: Collection[str] = ()
) -> Reference:
    """The dataset's reference with its gaps and a unit for every output channel.

    Opening a part has already shown that its files exist and hold every array, in shapes
    that go together.

    Args:
        dataset: The dataset; train and valid are read in full, test is not opened.
        allowed: Roles in which values may be missing.
        whole: Roles of whole numbers, which single precision holds as they are.

    Raises:
        DataError: A value is not finite (file, name and index are told), a channel has no
            value at all, one of train varies too little beside its mean for single
            precision, or units do not fit the channels.
    """
    train, valid = dataset.part("train"), dataset.part("valid")
    seen = {part.name: _looked_at(part, allowed) for part in (train, valid)}
    for role, moments in seen["train"].items():
        for channel in np.flatnonzero(moments.count == 0)[:1].tolist():
            raise _nothing_seen(train, role, channel)
        if not seen["valid"][role].count.any():
            raise _nothing_seen(valid, role, None)
        if role not in whole:
            _check_resolved(train, role, moments)
    gaps = tuple(
        role
        for role in train.shapes
        if any(
            _entries(p, role) > seen[p.name][role].count.sum() for p in (train, valid)
        )
    )
    units = _channel_units(dataset.reference.units, train.channels)
    return dataclasses.replace(dataset.reference, gaps=gaps, units=units)


def _looked_at(part: Part, allowed: Collection[str]) -> dict[str, Moments]:
    """Every value of a part, by role."""
    found = {role: Moments() for role in part.shapes}
    for index, start, stop in spans(part):
        for role, values in part.slice(index, start, stop).items():
            finite = np.isfinite(values)
            if not finite.all():
                bad = ~finite & ~(np.isnan(values) & (role in allowed))
                for step, *rest in np.argwhere(bad)[:1].tolist():
                    what, where = part.locate(role, index, (start + step, *rest))
                    raise _not_finite(what, where, values[(step, *rest)])
            found[role].add(values)
    return found


def _check_resolved(part: Part, role: str, moments: Moments) -> None:
    """Refuse channels that are mostly offset: on the device little of them would be left."""
    mean, std = moments.mean, moments.std
    lost = moments.varies & (std < _RESOLVED * np.abs(mean))
    for channel in np.flatnonzero(lost)[:1].tolist():
        what = _channel(part, role, channel)
        apart = float(np.spacing(np.float32(abs(mean[channel]))))
        raise DataError(
            f"{what} must vary by more than {_RESOLVED:.1e} of its mean, because models "
            f"compute in single precision: it has a standard deviation of {std[channel]:.3g} "
            f"around {mean[channel]:.6g}, where numbers are {apart:.2g} apart",
            hint="subtract a constant from the signal in every file, such as its mean",
        )


def _entries(part: Part, role: str) -> int:
    return sum(part.lengths) * int(np.prod(part.shapes[role]))


def _not_finite(what: str, where: str, value: float) -> DataError:
    return DataError(
        f"{what} is not finite: {value} at {where}",
        hint="fill or cut out missing and infinite values before training; a request for "
        'records with gaps says `"gaps": true`, other kinds take NaN as missing',
    )


def _nothing_seen(part: Part, role: str, channel: int | None) -> DataError:
    what = _channel(part, role, channel or 0)
    which = "nothing" if channel is None else f"nothing of channel {channel}"
    return DataError(
        f"{what} cannot be learned or scored: in part `{part.name}`, {which} of role "
        f"`{role}` was seen",
        hint="leave the channel out, or choose other borders",
    )


def _channel(part: Part, role: str, channel: int) -> str:
    """What holds a channel, for messages."""
    inner = (0,) * (len(part.shapes[role]) - 1)
    what, _ = part.locate(role, 0, (0, *inner, channel))
    return what


def _channel_units(
    units: Mapping[str, tuple[str, ...]], channels: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """One unit for every channel of the roles that have units; outputs always have."""
    found = dict(units)
    if "y" in channels:
        found.setdefault("y", ("",))
    for role, texts in found.items():
        if role not in channels:
            raise DataError(
                f"`units` are given for role `{role}`, and the data has {list(channels)}",
                hint="name units by the roles of the data",
            )
        width = channels[role]
        found[role] = texts * width if len(texts) == 1 else texts
        if len(found[role]) != width:
            words = "output channels" if role == "y" else f"channels of `{role}`"
            raise DataError(
                f"`units` must name one unit for each of {width} {words}, got "
                f"{list(texts)}",
                hint="name one unit per channel, or a single one for all of them",
            )
    return found
