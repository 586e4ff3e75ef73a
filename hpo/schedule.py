"""Schedules of traced values: a training whose values change between two epochs.

Population-based training finds no configuration but such a schedule. Beside a configuration it
is written ``[{"after": 10, "traced": {"optimizer.learning_rate": 0.002}}]``: the first ten epochs
are trained with the configuration as it is, all others with that rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hpo.errors import StudyError

if TYPE_CHECKING:
    from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Change:
    """New values of traced keys from one epoch on.

    Attributes:
        after: The last epoch with the values before.
        traced: The values from the next epoch on, by dotted key; all others stay.
    """

    after: int
    traced: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse what is no epoch, and what changes nothing."""
        whole = isinstance(self.after, int) and not isinstance(self.after, bool)
        if not whole or self.after < 1:
            raise StudyError(
                f"values of a schedule change after epoch 1 or later, got {self.after!r}"
            )
        if not isinstance(self.traced, Mapping) or not self.traced:
            raise StudyError(
                f"after epoch {self.after} a schedule changes no value, got {self.traced!r}",
                hint='write `{"after": 10, "traced": {"optimizer.learning_rate": 0.002}}`',
            )

    def to_json(self) -> dict[str, Any]:
        """The change as JSON-able data."""
        return {"after": self.after, "traced": dict(self.traced)}


Schedule: TypeAlias = tuple[Change, ...]


def schedule_of(value: Any) -> Schedule:
    """A schedule from its changes, or from what `written` made of them.

    Raises:
        StudyError: It is none, or the epochs do not ascend.
    """
    try:
        found = tuple(v if isinstance(v, Change) else Change(**v) for v in value)
    except TypeError as error:
        raise StudyError(f"a schedule is a list of changes, got {value!r}") from error
    epochs = [change.after for change in found]
    if epochs != sorted(set(epochs)):
        raise StudyError(f"the epochs of a schedule must ascend, got {epochs}")
    return found


def written(schedule: Iterable[Change]) -> list[dict[str, Any]]:
    """A schedule as JSON-able data."""
    return [change.to_json() for change in schedule]


def values_in(
    values: Mapping[str, Any], schedule: Iterable[Change], epoch: int | None = None
) -> dict[str, Any]:
    """The values with which an epoch is trained.

    Args:
        values: Those before the first change.
        schedule: The changes, in order.
        epoch: The epoch; None for any behind the last change.
    """
    found = dict(values)
    for change in schedule:
        if epoch is None or change.after < epoch:
            found |= change.traced
    return found


def until(schedule: Iterable[Change], last: int | None) -> Schedule:
    """The changes that a training has reached, or all.

    Args:
        schedule: The changes.
        last: Its last epoch; None for all of them.
    """
    return tuple(c for c in schedule if last is None or c.after < last)


def check(
    schedule: Schedule, space: Space, params: Mapping[str, Any], *, epochs: int | None
) -> None:
    """Refuse a schedule that a family's trials cannot have.

    Args:
        schedule: The schedule.
        space: Of the family.
        params: Searched values before the first change.
        epochs: The last epoch that is trained; None where that is not known yet.

    Raises:
        StudyError: It changes a key that the configuration does not have, a searched one to
            a value outside its range, or nothing at all because training is over by then.
    """
    from search_spaces.space import SpaceError  # loads Optuna, which workers do without

    whole = space.complete(params)
    for change in schedule:
        for name in change.traced:
            if name not in whole:
                raise StudyError(
                    f"a schedule changes `{name}`, which is no key of the configuration",
                    hint=f"it has {', '.join(whole) or 'none'}",
                )
        searched = {n: v for n, v in change.traced.items() if n in params}
        try:
            space.validate({**params, **searched})
        except SpaceError as error:
            raise StudyError(
                f"after epoch {change.after} a schedule leaves the space: {error}"
            ) from error
        if epochs is not None and change.after >= epochs:
            raise StudyError(
                f"a schedule changes values after epoch {change.after}, but training ends "
                f"with epoch {epochs}",
                hint="leave that change out, or raise the epochs",
            )
