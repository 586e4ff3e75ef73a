"""In which order a run's decisions are taken: as reports arrive, or by a virtual clock.

In arrival order a decision is taken when a worker's report comes in, so with several workers it
depends on how fast each of them is. In virtual order every epoch takes one tick of a virtual clock
on one of a number of seats, and reports are taken in the order of that clock: the decisions are the
same with any number of workers. `docs/virtual-order.md` says what that costs.
"""

from __future__ import annotations

import re

from hpo.errors import StudyError

ARRIVAL, VIRTUAL = "arrival", "virtual"
MOST_SEATS = 999_999
SEATS_PER_WORKER = 4  # unless a person says how many seats there are


def seats_in(order: str) -> int | None:
    """How many seats an order names; None where it names none.

    Args:
        order: ``arrival``, ``virtual`` or ``virtual:SEATS``.

    Raises:
        StudyError: It is none of these, or there would be no seat.
    """
    if order in (ARRIVAL, VIRTUAL):
        return None
    found = re.fullmatch(rf"{VIRTUAL}:([0-9]{{1,6}})", order)
    if found is None or int(found[1]) == 0:
        raise StudyError(
            "the order of decisions is `arrival`, `virtual` or `virtual:SEATS` with 1 to "
            f"{MOST_SEATS:,} seats, got {order!r}",
            hint="for example `--order virtual:16`: 16 trials at a time, whatever the "
            "number of workers",
        )
    return int(found[1])


def is_virtual(order: str) -> bool:
    """Whether decisions follow the virtual clock.

    Args:
        order: A valid one, see `seats_in`.
    """
    return order != ARRIVAL


def resolved(order: str, *, workers: int) -> str:
    """The order with its seats counted: four for each worker unless it names them.

    Args:
        order: A valid one, see `seats_in`.
        workers: Trials at work at a time.
    """
    return f"{VIRTUAL}:{SEATS_PER_WORKER * workers}" if order == VIRTUAL else order


def refuse_seconds(order: str, seconds: float | None) -> None:
    """Refuse a virtual order whose decisions would depend on how fast workers are.

    Args:
        order: A valid one, see `seats_in`.
        seconds: The run's limit of active seconds, if it has one.

    Raises:
        StudyError: There is such a limit.
    """
    if is_virtual(order) and seconds is not None:
        raise StudyError(
            f"virtual order makes a run independent of its workers' speed, and a time budget "
            f"({seconds:g} s) does not",
            hint="limit the run by `--set budget.total_epochs=N`, or use `--order arrival`",
        )
