"""Dividing a number of trials by declared shares."""

from __future__ import annotations

from collections.abc import Mapping


def divided(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in the proportion of the shares: largest remainders, at least 1 each.

    Args:
        total: What is divided; where it is too small, everybody still gets 1.
        shares: By name; of equal remainders the one named first is served first.
    """
    left = max(total, len(shares))
    counts = dict.fromkeys(shares, 1)
    spare = left - len(shares)
    whole = sum(shares.values())
    ideal = {name: max(0.0, left * s / whole - 1) for name, s in shares.items()}
    scale = spare / sum(ideal.values()) if sum(ideal.values()) > 0 else 0.0
    exact = {name: value * scale for name, value in ideal.items()}
    for name, value in exact.items():
        counts[name] += int(value + 1e-9)
    order = sorted(exact, key=lambda name: -(exact[name] - int(exact[name] + 1e-9)))
    for name in order[: left - sum(counts.values())]:
        counts[name] += 1
    return counts
