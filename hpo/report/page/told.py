"""What a page of one run and that of a group of searches have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hpo.confirmation.record import Confirmation
from hpo.report.families import Standing
from hpo.report.page.excerpts import Shown
from hpo.report.summary import Summary


class Told(Protocol):
    """A run's `Content`, or a `GroupContent`."""

    @property
    def summary(self) -> Summary:
        """The run; of a group the first search, for the study that they share."""
        ...

    @property
    def run(self) -> str:
        """Its name as commands take it."""
        ...

    @property
    def families(self) -> Sequence[Standing]:
        """Its families; of a group with what all searches spent."""
        ...

    @property
    def verdict(self) -> Confirmation | None:
        """The confirmation, once a look of it is whole."""
        ...

    @property
    def windows(self) -> Sequence[Shown]:
        """What each confirmed winner predicts."""
        ...

    @property
    def data(self) -> Mapping[str, Any]:
        """The reference of the data."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Versions, machine and command line of the (first) launch."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What both read in the same way from what lies on the disk.

    Attributes:
        confirmation: What new seeds of the winners say; None where that was not asked for.
        record: ``study.json`` of the (first) run.
    """

    confirmation: Confirmation | None
    record: Mapping[str, Any]

    @property
    def verdict(self) -> Confirmation | None:
        """The confirmation, once a look of it is whole; before that nothing is settled."""
        found = self.confirmation
        return found if found is not None and found.look else None

    @property
    def data(self) -> Mapping[str, Any]:
        """The reference of the data, with its hashes; empty where the study has none."""
        return self._recorded("data")

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Versions, machine and command line of the launch; empty where not recorded."""
        return self._recorded("provenance")

    def _recorded(self, name: str) -> Mapping[str, Any]:
        found = self.record.get(name)
        return found if isinstance(found, dict) else {}
