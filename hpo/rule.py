"""A sampler or a stopping rule, as a study names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hpo.errors import StudyError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A sampler or a stopping rule by name, with its options.

    Attributes:
        name: As in `hpo.search` or `hpo.stopping`.
        options: Keyword options of that sampler or rule (JSON-able).
    """

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a name that is no text, and options that have no names."""
        if not isinstance(self.name, str) or not self.name:
            raise StudyError(
                f"a sampler or a rule has a name, got {self.name!r}",
                hint="`hpo list samplers` and `hpo list rules` show them",
            )
        named = isinstance(self.options, Mapping) and all(
            isinstance(key, str) for key in self.options
        )
        if not named:
            raise StudyError(
                f"`{self.name}`: options are a mapping by name, got {self.options!r}",
                hint='for example {"eta": 3}; leave them out for the defaults',
            )
