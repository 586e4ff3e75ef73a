"""How far more seeds can carry: what it would take to settle a pair, beside what was spent."""

from __future__ import annotations

from statistics import fmean

from hpo.confirmation.record import LEAST, Confirmation, Contender, Pair, Verdict

MOST = 10
"""Times the pair's whole search that its seeds may train before nobody is told to go on."""


def within_reach(found: Confirmation, pair: Pair) -> bool:
    """Whether the values that a pair still needs can be had at a price in proportion.

    Seeds may train for at most `MOST` times as long as the search of the two families did, and
    searches be at most `MOST` times as many as there are.

    Args:
        found: The confirmation.
        pair: One of its pairs.
    """
    if pair.needed is None:
        return False
    both = [c for c in found.contenders if c.family in (pair.a, pair.b)]
    if found.unit_of == "search":
        return pair.needed <= MOST * min(c.count for c in both)
    price = sum(max(pair.needed - c.count, 0) * _seconds(c) for c in both)
    return price <= MOST * sum(c.seconds for c in both)


def _seconds(contender: Contender) -> float:
    """Of one more seed, as those there are took."""
    took = [s.seconds for w in contender.winners for s in w.seeds]
    return fmean(took) if took else 0.0


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
