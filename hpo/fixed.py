"""Trials that a study names itself: nothing is searched, nothing is compared.

Re-runs are studies of such trials, and so is everything else that trains given configurations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hpo.errors import StudyError
from hpo.schedule import Schedule, schedule_of, written
from hpo.schedule import check as check_schedule
from search_spaces.space import Space, SpaceError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedTrial:
    """One configuration that is trained as it is.

    Attributes:
        family: The name of its family.
        params: Searched values by name, a point of the space.
        seed: The trial's seed.
        epochs: The last epoch that is trained; None for the family's whole budget, which is
            the horizon of every schedule in either case.
        schedule: How traced values change between epochs; empty for a training whose values
            stay as they are.
        space: The space it is a point of, where that is not its family's: that of a trial
            from before an extension which brought another one. A mapping is read as JSON's.
    """

    family: str
    params: Mapping[str, Any]
    seed: int
    epochs: int | None = None
    schedule: Schedule = ()
    space: Space | None = None

    def __post_init__(self) -> None:
        """Refuse seeds and epochs that no trial has."""
        object.__setattr__(self, "schedule", schedule_of(self.schedule))
        if isinstance(self.space, Mapping):
            object.__setattr__(self, "space", Space.from_json(self.space))
        if not _whole(self.seed) or self.seed < 0:
            raise StudyError(
                f"a fixed trial's seed is an integer from 0 up, got {self.seed!r}"
            )
        if self.epochs is not None and not (_whole(self.epochs) and self.epochs >= 1):
            raise StudyError(
                f"a fixed trial is trained for 1 epoch or more, got {self.epochs!r}",
                hint="a whole number, or nothing for the family's whole budget",
            )

    def check(self, space: Space) -> None:
        """Refuse values that are no point of the trial's space.

        Args:
            space: That of its family, which counts where the trial has none of its own.

        Raises:
            StudyError: They are none.
        """
        space = self.space or space
        try:
            space.validate(self.params)
        except SpaceError as error:
            raise StudyError(f"fixed trial of `{self.family}`: {error}") from error
        check_schedule(self.schedule, space, self.params, epochs=self.epochs)

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON-able data; a schedule and a space only where it has one."""
        plain: dict[str, Any] = {
            "family": self.family,
            "params": dict(self.params),
            "seed": self.seed,
            "epochs": self.epochs,
        }
        if self.schedule:
            plain["schedule"] = written(self.schedule)
        if self.space is not None:
            plain["space"] = self.space.to_json()
        return plain


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
