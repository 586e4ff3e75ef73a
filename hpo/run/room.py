"""What trials take of the nodes of a cluster: kinds of slots, and how many of each have room.

Families may take different things. A slot has room for one trial of one kind, and serves every
family that takes no more than that. So a study whose families all take the same has one kind.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpo.run.survey import places

_ALMOST = 1e-9  # amounts are sums of decimals


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of slot; two are the same where they take the same.

    Attributes:
        takes: What a slot takes of a node, as Ray names it, in order.
        serves: The families whose trials it can train.
    """

    takes: tuple[tuple[str, float], ...]
    serves: frozenset[str] = field(compare=False)

    @property
    def request(self) -> dict[str, float]:
        """What a slot takes of a node, as Ray names it."""
        return dict(self.takes)


def kinds(requests: Mapping[str, Mapping[str, float]]) -> tuple[Kind, ...]:
    """The kinds of slots that families need.

    Args:
        requests: What a trial of each family takes.
    """
    found = dict.fromkeys(tuple(sorted(r.items())) for r in requests.values())
    return tuple(
        Kind(
            takes=takes,
            serves=frozenset(f for f, r in requests.items() if _within(r, dict(takes))),
        )
        for takes in found
    )


def _within(request: Mapping[str, float], slot: Mapping[str, float]) -> bool:
    """Whether a slot has what a trial takes; and no GPU more: a process is made for one device."""
    if request.get("GPU", 0.0) != slot.get("GPU", 0.0):
        return False
    return all(amount <= slot.get(name, 0.0) for name, amount in request.items())


def wanted(
    nodes: Mapping[str, Mapping[str, float]],
    among: Iterable[Kind],
    *,
    workers: int | None = None,
    useful: int | None = None,
) -> dict[str, Counter[Kind]]:
    """Which slots each node should have.

    First each family gets one that serves it, those first that fewest places could; then every
    node in turn, the largest first, gets one of the kind of which there are fewest.

    Args:
        nodes: All that each node has, by its name.
        among: The kinds of slots.
        workers: Slots in all; None for as many as have room.
        useful: Trials that are left: more slots would stand empty. None for any number.
    """
    several = [*among]
    has_room = {
        k: {n: places(has, k.request) for n, has in nodes.items()} for k in several
    }
    several.sort(key=lambda kind: sum(has_room[kind].values()))
    most = workers
    if useful is not None:
        useful = max(useful, len(several))  # whichever families they are of
        most = useful if most is None else min(most, useful)
    largest = {n: max((r[n] for r in has_room.values()), default=0) for n in nodes}
    order = sorted(nodes, key=lambda n: (-largest[n], n))
    rooms = {n: _Room(nodes[n]) for n in order}
    given: dict[str, Counter[Kind]] = {n: Counter() for n in order}
    total: Counter[Kind] = Counter()

    def give(node: str, kind: Kind) -> bool:
        if (most is not None and total.total() >= most) or not rooms[node].take(kind):
            return False
        given[node][kind] += 1
        total[kind] += 1
        return True

    for kind in several:
        if not kind.serves <= served(given):
            any(give(node, kind) for node in order)
    left = order
    for each in itertools.count(1):
        if not left:
            return given
        left = [
            node
            for node in left
            if given[node].total() >= each
            or any(give(node, k) for k in sorted(several, key=total.__getitem__))
        ]
    raise AssertionError("it counts for ever")


def served(slots: Mapping[str, Counter[Kind]]) -> frozenset[str]:
    """The families that some slot serves.

    Args:
        slots: Those of each node.
    """
    return frozenset(
        f for kinds in slots.values() for kind in kinds for f in kind.serves
    )


class _Room:
    """What is left of a node. No fraction of a GPU lies on two, and no two kinds share one."""

    def __init__(self, has: Mapping[str, float]) -> None:
        self._left = dict(has)
        self._open: Counter[Kind] = Counter()  # fractions of a GPU that was begun

    def take(self, kind: Kind) -> bool:
        """Take a slot's share, if there is room for it."""
        needs = {name: amount for name, amount in kind.takes if amount > 0}
        share = needs.get("GPU", 0.0)
        fraction = 0 < share < 1
        if fraction:
            needs["GPU"] = 0.0 if self._open[kind] else 1.0
        fits = all(self._left.get(n, 0.0) >= a - _ALMOST for n, a in needs.items())
        if not needs or not fits:
            return False
        for name, amount in needs.items():
            self._left[name] = self._left.get(name, 0.0) - amount
        if fraction:
            begun = needs["GPU"] > 0
            self._open[kind] += int(1 / share + _ALMOST) - 1 if begun else -1
        return True
