"""How far more seeds can carry: what it would take to settle a pair, beside what there is."""

from __future__ import annotations

from hpo.confirmation.record import LEAST, Confirmation, Pair, Verdict

MOST = 50
"""Times as many values as there are that anybody is told to go on for."""


def within_reach(found: Confirmation, pair: Pair) -> bool:
    """Whether a pair would be settled by at most `MOST` times as many values as there are.

    Beyond that the estimate says little, but that values vary too much.

    Args:
        found: The confirmation.
        pair: One of its pairs.
    """
    if pair.needed is None:
        return False
    both = (c.count for c in found.contenders if c.family in (pair.a, pair.b))
    return pair.needed <= MOST * min(both)


def missing(found: Confirmation) -> int:
    """How many more seeds each would settle what can be settled; 0 where nothing is to do.

    Args:
        found: The confirmation of one search.
    """
    have = min((c.count for c in found.contenders), default=0)
    wanted = [
        p.needed - have
        for p in found.pairs
        if p.verdict is Verdict.UNDECIDED
        and p.needed is not None
        and within_reach(found, p)
    ]
    if any(p.verdict is Verdict.NONE for p in found.pairs):
        wanted.append(LEAST - have)
    more = max(wanted, default=0)
    return max(more, 2) if more > 0 else 0


def more_searches_tell(found: Confirmation) -> bool:
    """Whether a larger group would settle what is open.

    Args:
        found: The confirmation of a group.
    """
    return any(
        p.verdict is Verdict.NONE
        or (p.verdict is Verdict.UNDECIDED and within_reach(found, p))
        for p in found.pairs
    )
