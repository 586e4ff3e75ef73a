"""How much error each look at growing data may spend, so that all of them together stay honest."""

from __future__ import annotations

FIRST = 0.04
_KEPT = 5  # each look leaves a fifth of its error to all that follow it


def error(look: int) -> float:
    """The error that a look may spend: 0.04, 0.008, 0.0016 …, in sum 0.05.

    Args:
        look: Counted from 1.
    """
    return FIRST * float(_KEPT) ** (1 - look)


def error_of_each(look: int, intervals: int) -> float:
    """The error of one of several simultaneous intervals at a look (Bonferroni).

    Args:
        look: Counted from 1.
        intervals: How many there are, at least 1.
    """
    return error(look) / intervals
