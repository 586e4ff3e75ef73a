"""Errors caused by what a person gave, as one tree.

UserError
├── ConfigError    a configuration key or value breaks a rule
├── DataError      a dataset is missing, damaged or does not fit the request
└── TokenError     arrays do not fit together as tokens; a ValueError, too

Every message names the rule, the value got and the remedy. Impossible states are
`assert`ed instead; they never reach a person as a `UserError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake a person can mend: shown as a message, never as a traceback.

    Args:
        message: The rule that was broken and the value that broke it.
        hint: What to do about it; shown on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the hint when the error crosses a process boundary."""
        return _rebuild, (type(self), self.message, self.hint)

    def __str__(self) -> str:
        """The message, followed by the hint where there is one."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


def _rebuild(kind: type[UserError], message: str, hint: str | None) -> UserError:
    return kind(message, hint=hint)


class ConfigError(UserError):
    """A configuration key is unknown or its value breaks a rule."""


class DataError(UserError):
    """A dataset is missing, damaged, or does not fit what was asked of it."""


class TokenError(UserError, ValueError):
    """Arrays, keys and rules of independence do not fit together as tokens."""


def near_matches(name: str, known: Iterable[str]) -> str:
    """Say which known names look like `name`, or list them all when none does.

    Args:
        name: The name that was not found.
        known: Every name that would have been accepted.

    Returns:
        A hint such as ``did you mean `rnn`?``; empty when nothing is known.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if not close:  # a dotted key is often right but for its prefix
        tail = name.rpartition(".")[2]
        close = [n for n in names if n.rpartition(".")[2] == tail][:3]
    if close:
        return "did you mean " + " or ".join(f"`{c}`" for c in close) + "?"
    return "known: " + ", ".join(names) if names else ""
