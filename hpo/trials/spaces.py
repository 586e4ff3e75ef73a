"""The space that each trial of a run is a point of: an extension may bring another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpo.study import Study
from search_spaces.space import Space


class Spaces:
    """The spaces of a run, those of before its extensions among them.

    Args:
        study: The study as it is now.
        before: The study as it was before each extension, as the ledger has it.
    """

    def __init__(self, study: Study, before: Sequence[Mapping[str, Any]] = ()) -> None:
        self._study = study
        self._before = [
            {f["name"]: Space.from_json(f["space"]) for f in earlier["families"]}
            for earlier in before
        ]

    def of(self, number: int, family: str, extension: int) -> Space:
        """The space that a trial was proposed in.

        Args:
            number: The trial's number.
            family: Its family.
            extension: Under which extension of the run it was proposed; 0 before the first.
        """
        if self._study.fixed:
            own = self._study.fixed[number - 1].space
            return own or self._study.family(family).space
        if extension < len(self._before):
            return self._before[extension][family]
        return self._study.family(family).space

    def every(self, family: str) -> list[Space]:
        """All spaces that a family has had, the earliest first.

        Args:
            family: The family.
        """
        earlier = [spaces[family] for spaces in self._before if family in spaces]
        return [*earlier, self._study.family(family).space]
