"""The calendar of days since 1970 and seconds of the day, in arithmetic that compiles.

Source of the calendar: Hinnant 2013, "chrono-compatible low-level date algorithms"; of the
marks: Zhou et al. 2021, "Informer", every one scaled to -0.5 … 0.5.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MARKS = ("hour", "weekday", "month_day", "year_day")
FINE_MARKS = ("minute", *MARKS)
"""Of rows that follow one another within an hour."""
DAY, WEEK = 86400, 7 * 86400
_ERA = 146097  # days of 400 years


class Moment(NamedTuple):
    """When rows are, counted from 0 each.

    Attributes:
        second: Of the day.
        weekday: Monday is 0.
        month_day: Day of the month.
        year_day: Day of the year.
    """

    second: Int[Array, "*shape"]
    weekday: Int[Array, "*shape"]
    month_day: Int[Array, "*shape"]
    year_day: Int[Array, "*shape"]


def moment(times: Float[Array, "*shape 2"]) -> Moment:
    """The calendar of ``[…, 2]`` days since 1970 and seconds of the day."""
    whole = jnp.floor(times).astype(jnp.int32)
    days, second = whole[..., 0], whole[..., 1]
    shifted = days + 719468  # days since 1 March of the year 0
    of_era = shifted % _ERA
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    from_march = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * from_march + 2) // 153
    month_day = from_march - (153 * month + 2) // 5
    leap = ((year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))).astype(jnp.int32)
    year_day = jnp.where(from_march >= 306, from_march - 306, from_march + 59 + leap)
    return Moment(second, (days + 3) % 7, month_day, year_day)


def marks(
    times: Float[Array, "batch time 2"], names: tuple[str, ...]
) -> Float[Array, "batch time mark"]:
    """The marks of these names, ``[B, T, K]``, each from -0.5 to 0.5.

    Args:
        times: Days since 1970, and seconds of the day.
        names: Some of `FINE_MARKS`.
    """
    found = moment(times)
    counted = {
        "minute": (found.second // 60 % 60, 59),
        "hour": (found.second // 3600, 23),
        "weekday": (found.weekday, 6),
        "month_day": (found.month_day, 30),
        "year_day": (found.year_day, 365),
    }
    values = [counted[n][0].astype(times.dtype) / counted[n][1] - 0.5 for n in names]
    return jnp.stack(values, axis=-1)


def place(
    times: Float[Array, "batch time 2"], *, step: int, length: int
) -> Int[Array, "batch time"]:
    """Where rows are in a cycle that begins on Mondays at midnight.

    Args:
        times: Days since 1970, and seconds of the day.
        step: Seconds between two rows.
        length: Rows of the cycle.
    """
    found = moment(times)
    return (found.weekday * (DAY // step) + found.second // step) % length
