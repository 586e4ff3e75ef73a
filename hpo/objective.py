"""The objective of a study, and the smallest difference in it that matters."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from hpo.errors import StudyError

MATTERS = "5%"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matters:
    """The smallest difference between two families that a person would act on.

    Attributes:
        amount: A share of the value where `relative` (0.05 for 5 %), else in the unit.
        relative: Whether it is a share.
    """

    amount: float
    relative: bool

    @classmethod
    def parse(cls, text: str | float) -> Matters:
        """Read ``5%``, or a number in the objective's unit.

        Raises:
            StudyError: It is none, not positive, or 100 % or more.
        """
        plain = str(text).strip()
        relative = plain.endswith("%")
        try:
            amount = float(plain.rstrip("%")) / (100 if relative else 1)
        except ValueError:
            amount = math.nan
        if not (0 < amount < (1 if relative else math.inf)):
            raise StudyError(
                "a difference that matters is a positive share below 100 %, or a positive "
                f"number in the objective's unit; got {plain!r}",
                hint="write `5%`, or `0.002` for 0.002 V where the unit is V",
            )
        return cls(amount=amount, relative=relative)

    def __str__(self) -> str:
        """As it is written: ``5%``, or a number."""
        return f"{self.amount * 100:g}%" if self.relative else f"{self.amount:g}"


def _finite(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """The score of a trial: ``valid[metric]`` of its best epoch within budget.

    Attributes:
        metric: Name of a validation metric; or, for further objectives, ``parameters``: how
            many numbers the model trains.
        direction: Whether small or large is good.
        unit: Physical unit, as tables print it; empty for none.
        limit: The worst value that is still feasible, or None.
        matters: The smallest difference between families that matters: a share such as
            ``"5%"``, or a number in the unit. No search knows it, only `hpo confirm` does.
    """

    metric: str = "rmse"
    direction: Literal["minimize", "maximize"] = "minimize"
    unit: str = ""
    limit: float | None = None
    matters: str | float = MATTERS

    def __post_init__(self) -> None:
        """Refuse what would only fail when a trial is ranked, or its value printed."""
        if not isinstance(self.metric, str) or not self.metric:
            raise StudyError(
                f"an objective's metric is a name, got {self.metric!r}",
                hint='for example `metric="rmse"`',
            )
        if not isinstance(self.unit, str):
            raise StudyError(
                f"an objective's unit is text, got {self.unit!r}",
                hint='for example `unit="V"`; leave it out where there is none',
            )
        if self.direction not in ("minimize", "maximize"):
            raise StudyError(
                f"an objective's direction is `minimize` or `maximize`, got {self.direction!r}"
            )
        if self.limit is not None and not _finite(self.limit):
            raise StudyError(
                f"an objective's limit is a finite number, got {self.limit!r}",
                hint="for example `limit=20_000`; leave it out where every value is feasible",
            )
        Matters.parse(self.matters)

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`; NaN is worse than everything."""
        return self.rank_key(a) < self.rank_key(b)

    def rank_key(self, value: float | None) -> float:
        """A number that sorts best first and puts NaN and None last."""
        if value is None or value != value:
            return float("inf")
        return value if self.direction == "minimize" else -value

    def to_json(self) -> dict[str, Any]:
        """Its fields; `matters` only where it was said, as no run of before has it."""
        record = dataclasses.asdict(self)
        if self.matters == MATTERS:
            del record["matters"]
        return record
