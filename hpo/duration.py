"""Lengths of time as people write them."""

from __future__ import annotations

import re

from hpo.errors import StudyError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str, *, option: str) -> float:
    """Seconds of ``90``, ``30m``, ``1h30m``, ``45s``.

    Args:
        text: What a person wrote.
        option: What it was written for, for messages.

    Raises:
        StudyError: The text is no positive duration.
    """
    pieces = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    whole = "".join(number + unit for number, unit in pieces)
    known = all(unit in _UNITS for _, unit in pieces)
    if not pieces or not known or whole != re.sub(r"\s+", "", text.strip().lower()):
        raise StudyError(
            f"`{option}` takes a duration, got {text!r}",
            hint="write `90s`, `30m`, `2h` or `1h30m`",
        )
    total = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    if total <= 0:
        raise StudyError(f"`{option}` must be longer than nothing, got {text!r}")
    return total
