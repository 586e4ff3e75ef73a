"""Regular expressions that find a part of a record's name."""

from __future__ import annotations

import re
from typing import Any

from models.errors import DataError


def name_pattern(text: Any, *, key: str) -> re.Pattern[str]:
    """A pattern whose one group is what it finds.

    Args:
        text: The regular expression, as a request or a configuration has it.
        key: What it is called there, for messages.

    Raises:
        DataError: It is no regular expression, or has not one group.
    """
    example = r"`speed_(\d+)` finds 12 in the name `speed_12`"
    try:
        pattern = re.compile(text)
    except (re.error, TypeError) as error:
        raise DataError(
            f"{key} is no regular expression: {error}", hint=example
        ) from None
    if pattern.groups != 1:
        raise DataError(
            f"{key} must have one group, got {pattern.groups} in {text!r}", hint=example
        )
    return pattern
