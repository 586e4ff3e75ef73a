"""From ledgers to a `Confirmation`, of a run or of a group of searches; nobody's code is run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from hpo.confirmation.record import Confirmation, Contender
from hpo.confirmation.winners import contender, of_run, settled
from hpo.ledger.group import RunGroup
from hpo.objective import Matters
from hpo.report.summary import Summary


def load_confirmation(
    folder: Path, *, matters: Matters | None = None, summary: Summary | None = None
) -> Confirmation | None:
    """A confirmation as its ledgers tell it now; None where none was begun.

    Args:
        folder: The folder of a run or of a group.
        matters: The smallest difference that matters; None for what the latest look said.
        summary: The run, where it is known already.

    Raises:
        RunError: The folder is no run, or one of its ledgers is damaged.
    """
    if RunGroup.at(folder):
        return of_group(RunGroup(folder), matters=matters)
    return of_run(folder, matters=matters, summary=summary)


def of_group(group: RunGroup, *, matters: Matters | None) -> Confirmation | None:
    """The confirmation of several searches of a study; each search is one value a family.

    Args:
        group: The searches.
        matters: As in `load_confirmation`.

    Raises:
        RunError: A ledger is damaged.
    """
    found = [of_run(run.path, matters=matters) for run in group.runs]
    begun = [c for c in found if c is not None]
    if not begun:
        return None
    whole = len(begun) == len(group.seeds) and all(c.look for c in begun)
    families = [f.name for f in begun[0].study.families]
    units: dict[str, list[float | None]] = {}
    contenders, missing = [], {}
    for family in families:
        each = [
            next((x for x in c.contenders if x.family == family), None) for c in begun
        ]
        winners = [x.winner for x in each if x is not None]
        if not winners:
            missing[family] = begun[0].missing.get(family, "it has no winner")
            continue
        units[family] = [_mean(x) for x in each]
        contenders.append(contender(family, winners, units[family]))
    plain = replace(
        begun[0],
        folder=group.path,
        runs=tuple(c.folder for c in begun),
        part="test" if all(c.part == "test" for c in begun) else "valid",
        unit_of="search",
        contenders=(),
        missing=missing,
        pairs=(),
        changed="; ".join(dict.fromkeys(c.changed for c in begun if c.changed)),
        grown=sum(c.grown for c in begun),
        group="",
        look=1 if whole else 0,
        reads=sum(c.reads for c in begun),
        finished=whole,
        stage="" if whole else "confirm",
    )
    return settled(plain, contenders, units, {f: [1] * len(begun) for f in units})


def _mean(found: Contender | None) -> float | None:
    """What a search's winner came to; None where it has none, or any of its seeds failed."""
    if found is None or found.failed or not found.values:
        return None
    mean = fmean(found.values)
    return mean if math.isfinite(mean) else None
