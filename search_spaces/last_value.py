"""The search space of the family `last_value`: nothing is searched."""

from __future__ import annotations

from search_spaces.space import Space

SPACE = Space({"data.window": 192})
