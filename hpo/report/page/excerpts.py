"""What the predictions of each winner look like, from the files that `hpo confirm` left.

Of a winner's seeds the median one is shown, so that the picture is neither lucky nor unlucky.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hpo.confirmation.record import Confirmation, Contender, Winner
from hpo.confirmation.winners import value_of
from hpo.errors import RunError
from hpo.ledger import excerpts
from hpo.ledger.folder import RunFolder
from models.training.protocol import Excerpt


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The excerpts of one family's winner.

    Attributes:
        family: The family.
        trial: Its candidate's number in the search.
        seed: The seed of the training that is shown.
        seeds: Of how many seeds it is the median one.
        part: The part of the data that the pieces lie in.
        pieces: The best, the median and the worst piece; fewer where there are fewer.
        remark: Why there are none, where a file could not be read; else empty.
    """

    family: str
    trial: int
    seed: int
    seeds: int
    part: str
    pieces: tuple[Excerpt, ...]
    remark: str = ""


def shown(found: Confirmation | None) -> tuple[Shown, ...]:
    """The excerpts of every winner that left some, in the order of the verdict.

    Args:
        found: The confirmation; None, or one without a whole look, shows nothing.
    """
    if found is None or not found.look:
        return ()
    told = (_of(found, contender) for contender in found.contenders)
    return tuple(s for s in told if s is not None)


def _of(found: Confirmation, contender: Contender) -> Shown | None:
    objective = found.study.objectives[0]
    known = [
        (value, winner, place)
        for winner in contender.winners
        for place, seed in enumerate(winner.seeds[: len(winner.numbers)])
        if (value := value_of(seed, found.part, objective)) is not None
        and math.isfinite(value)
    ]
    if not known:
        return None
    known.sort(key=lambda one: one[0])
    _, winner, place = known[(len(known) - 1) // 2]
    plain = Shown(
        family=contender.family,
        trial=winner.trial,
        seed=winner.seeds[place].seed,
        seeds=len(known),
        part=found.part,
        pieces=(),
    )
    return _read(plain, winner, place)


def _read(plain: Shown, winner: Winner, place: int) -> Shown | None:
    folder = RunFolder(winner.folders[winner.looks[place] - 1])
    try:
        file = excerpts.read(folder.excerpts_file(winner.numbers[place]))
    except RunError as error:
        return replace(plain, remark=f"{plain.family}: {error}")
    if file is None or not file.pieces:
        return None
    return replace(plain, part=file.part, pieces=file.pieces)
