"""Warm starts as a study declares them: earlier runs to begin with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from hpo.errors import StudyError
from models.errors import near_matches

TAKES = ("configurations", "results")
BEST = 5  # configurations of each family, unless told otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart:
    """An earlier run to begin with.

    Attributes:
        run: A run's folder, its name, a study's name for its newest run, or ``latest``.
        take: ``configurations``: the best ones of each family are trained again, as points
            to try first. ``results``: trials that ended are taken over as they are and count
            as trials of the new run, which needs the same data, space, settings, epoch
            budget and objective.
        top: How many configurations of each family; None for 5. Results are taken over
            whole.
    """

    run: str
    take: Literal["configurations", "results"] = "configurations"
    top: int | None = None

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not isinstance(self.run, str) or not self.run:
            raise StudyError(
                f"a warm start names a run, got {self.run!r}",
                hint='such as `WarmStart(run="latest")`; `hpo list runs` shows them',
            )
        if self.take not in TAKES:
            raise StudyError(
                f"warm start: `take` is `configurations` or `results`, got {self.take!r}",
                hint=near_matches(str(self.take), TAKES),
            )
        if self.top is None:
            return
        if self.take == "results":
            raise StudyError(
                "warm start: `top` chooses configurations; results are taken over whole",
                hint="leave `top` out",
            )
        if isinstance(self.top, bool) or not isinstance(self.top, int) or self.top < 1:
            raise StudyError(
                f"warm start: top must be an integer from 1 up, got {self.top!r}"
            )

    @classmethod
    def of(cls, value: Any) -> Self:
        """A run's name alone, a mapping of the fields, or the thing itself.

        Raises:
            StudyError: It is none of these.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value:
            return cls(run=value)
        names = [f.name for f in dataclasses.fields(cls)]
        if isinstance(value, Mapping) and "run" in value and set(value) <= set(names):
            return cls(**value)
        raise StudyError(
            f"a warm start names a run, got {value!r}",
            hint='such as `WarmStart(run="latest")`, with ' + ", ".join(names[1:]),
        )


def warm_starts(value: Any) -> tuple[WarmStart, ...]:
    """The warm starts of a study: one of what `WarmStart.of` takes, or several.

    Raises:
        StudyError: One of them is none.
    """
    alone = isinstance(value, (str, Mapping)) or not isinstance(value, Iterable)
    return tuple(WarmStart.of(v) for v in ((value,) if alone else value))
