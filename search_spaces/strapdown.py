"""The search space of the family `strapdown`: nothing is searched."""

from __future__ import annotations

from search_spaces.space import Space

SPACE = Space({"model.sensor": "gyroscope", "model.offset": True})
