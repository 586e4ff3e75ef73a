"""Whether the settings of a study are of the kind that it reads them as."""

from __future__ import annotations

from typing import Any

from hpo.errors import StudyError


def refuse_other(what: str, value: Any, kind: type, *, example: str) -> None:
    """Refuse a setting of another kind.

    Args:
        what: The setting's name.
        value: What it was set to.
        kind: Its class.
        example: How it is written.

    Raises:
        StudyError: It is of another kind.
    """
    if not isinstance(value, kind):
        raise StudyError(
            f"a study's {what} is a {kind.__name__}, got {value!r}",
            hint=f"for example `{what}={example}`",
        )


def refuse_others(what: str, values: Any, kind: type, *, example: str) -> None:
    """Refuse a setting that is no sequence of one kind.

    Args:
        what: The setting's name.
        values: What it was set to.
        kind: The class of each of them.
        example: How one of them is written.

    Raises:
        StudyError: It is something else, or one of them is.
    """
    sequence = isinstance(values, (tuple, list))
    if not sequence or not all(isinstance(value, kind) for value in values):
        raise StudyError(
            f"a study's {what} are a tuple of {kind.__name__}, got {values!r}",
            hint=f"for example `{what}=({example},)`, with the comma where it is one",
        )
