"""How far the rungs of a run could be trusted, in words, as a table and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from hpo.report.fidelity import THRESHOLD, Fidelity
from hpo.statistics.means import CONFIDENCE

EXPLAINED = (
    "Rank correlation (Spearman) of the best values by a rung with those that rank the "
    "trials, over the trials that have an end. Those that were cut have none, which lowers "
    "it; `needed` is what a rung with 0.5 over all trials may fall to thereby."
)
HEADS = (
    *("family", "epoch", "budget", "ended", "trials", "cut"),
    *("correlation", "low", "high", "bar", "untrustworthy"),
)


def json_rows(found: Iterable[Fidelity]) -> list[dict[str, Any]]:
    """One JSON-able object a rung, in the order of families and epochs."""
    return [{**dataclasses.asdict(f), "untrustworthy": f.untrustworthy} for f in found]


def warnings(found: Iterable[Fidelity], families: Iterable[str]) -> list[str]:
    """A sentence for each rung whose order was too far from that of the end.

    Args:
        found: The run's rungs.
        families: Of these only.
    """
    wanted = {*families}
    return [
        f"the rung at epoch {f.epoch} of `{f.family}` was too far from the end to be "
        f"trusted: {told(f)}, where {_number(f.bar)} is needed"
        for f in found
        if f.untrustworthy and f.family in wanted
    ]


def told(found: Fidelity) -> str:
    """The correlation of a rung with its interval, and whom it is over."""
    if found.correlation is None:
        return f"too little to say ({_trials(found.trials)} with an end)"
    text = (
        f"rank correlation {_number(found.correlation)} "
        f"({CONFIDENCE:.0%} interval {_number(found.low)} … {_number(found.high)}) "
        f"of epoch {found.epoch} with the end over {_trials(found.trials)}"
        + (f" of {found.ended}" if found.trials < found.ended else "")
    ).replace("%", " %")
    if found.cut:
        text += f"; {found.cut} more were cut and have no end"
    return text


def cells(found: Sequence[Fidelity]) -> list[dict[str, str]]:
    """The rungs as people read them, a line each."""
    return [
        {
            "family": f.family,
            "rung": f"{f.epoch}/{f.budget}",
            "with an end": str(f.ended),
            "cut": str(f.cut),
            "correlation": _number(f.correlation),
            "95 % interval": "–"
            if f.low is None
            else f"{_number(f.low)} … {_number(f.high)}",
            "needed": _number(f.bar),
            "verdict": _verdict(f),
        }
        for f in found
    ]


def _verdict(found: Fidelity) -> str:
    if found.low is None:
        return "too few"
    if found.untrustworthy:
        return "too low"
    # Over all trials it is no smaller than over the survivors: no bar is to be lowered here.
    return "may be trusted" if found.low >= THRESHOLD else "undecided"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "\u2212")


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
