"""Where seats are to be: how many on which node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpo.run.ray.view import Seen
from hpo.run.survey import places


def wanted(
    nodes: Iterable[Seen],
    request: Mapping[str, float],
    *,
    workers: int | None,
    useful: int,
) -> dict[str, int]:
    """How many seats each node should have, by Ray's name of it.

    Args:
        nodes: Those that can be used.
        request: What a trial takes.
        workers: Seats in all; None for as many as have room.
        useful: Trials that are left: more seats would stand empty.
    """
    room = {n.id: places(n.resources, request) for n in nodes if not n.draining}
    most = min(sum(room.values()), useful)
    if workers is not None:
        most = min(most, workers)
    given = dict.fromkeys(sorted(room, key=lambda n: (-room[n], n)), 0)
    while sum(given.values()) < most:
        for node in given:
            if given[node] < room[node] and sum(given.values()) < most:
                given[node] += 1
    return given
