"""The `Space`: named distributions, constants and conditions; printable and JSON-able.

Distributions are Optuna's own, so nothing has to be translated. A condition says that a
dimension exists only for some values of another one:

>>> space = Space({
...     "model.layers": IntDistribution(1, 3),
...     "model.dropout": FloatDistribution(0.0, 0.5),
...     "loss.n_skip": 50,
... }).when("model.dropout", "model.layers", at_least=2)
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

Scalar = str | int | float | bool | None
Suggest = Callable[[str, BaseDistribution], Any]


class SpaceError(ValueError):
    """A space, or a point in it, breaks a rule; says which, the value and the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """`name` exists only where the parent's value is one of `values` or at least `at_least`.

    Attributes:
        name: The conditional dimension.
        parent: The dimension or constant that decides.
        values: Parent values for which `name` exists, or None.
        at_least: Smallest parent value for which `name` exists, or None.
    """

    name: str
    parent: str
    values: tuple[Scalar, ...] | None = None
    at_least: float | None = None

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether `name` exists at `point` (a parent that does not exist switches it off)."""
        if self.parent not in point:
            return False
        value = point[self.parent]
        if self.values is not None:
            return value in self.values
        return bool(value >= self.at_least)

    def __str__(self) -> str:
        """The condition in words, as the table prints it."""
        if self.values is not None:
            return f"{self.parent} in {', '.join(map(str, self.values))}"
        return f"{self.parent} >= {self.at_least:g}"


class Space:
    """The search space of one family.

    Args:
        entries: Dotted configuration keys with an Optuna distribution each, or a constant
            (string, number, bool, None, or a list of them) that every trial gets.
        conditions: When a dimension exists; usually built with `when`.

    Raises:
        SpaceError: A distribution is not Optuna's, or a condition names something unknown.
    """

    def __init__(
        self, entries: Mapping[str, Any], *, conditions: tuple[Condition, ...] = ()
    ) -> None:
        self.distributions: dict[str, BaseDistribution] = {}
        self.constants: dict[str, Any] = {}
        for name, entry in entries.items():
            if not isinstance(name, str) or not name:
                raise SpaceError(
                    f"a dimension's name must be a non-empty string, got {name!r}"
                )
            if isinstance(entry, BaseDistribution):
                self.distributions[name] = entry
            else:
                self.constants[name] = _constant(name, entry)
        self._order = tuple(entries)
        self._hash: int | None = None  # follows from what never changes
        self.conditions = conditions
        self._check_conditions()

    def when(
        self,
        name: str,
        parent: str,
        values: Scalar | tuple[Scalar, ...] | None = None,
        *,
        at_least: float | None = None,
    ) -> Space:
        """A copy in which `name` exists only for some values of `parent`.

        Args:
            name: A dimension of this space.
            parent: A dimension or constant declared before `name`.
            values: The parent value, or values, for which `name` exists.
            at_least: Alternatively, the smallest parent value for which it exists.

        Raises:
            SpaceError: Both or neither of `values` and `at_least` were given, or a name
                is unknown.
        """
        if (values is None) == (at_least is None):
            raise SpaceError(
                f"`when({name!r}, {parent!r})` takes either values or at_least"
            )
        options = values if isinstance(values, tuple) or values is None else (values,)
        condition = Condition(
            name=name, parent=parent, values=options, at_least=at_least
        )
        return Space(self.entries(), conditions=(*self.conditions, condition))

    def replace(self, entries: Mapping[str, Any]) -> Space:
        """A copy with these dimensions or constants set, others kept.

        A dimension replaced by a constant loses its own conditions.
        """
        merged = {**self.entries(), **entries}
        fixed = {n for n, e in merged.items() if not isinstance(e, BaseDistribution)}
        kept = tuple(c for c in self.conditions if c.name not in fixed)
        return Space(merged, conditions=kept)

    def entries(self) -> dict[str, Any]:
        """Distributions and constants by name, in declaration order."""
        return {
            n: self.distributions.get(n, self.constants.get(n)) for n in self._order
        }

    def suggest(self, suggest: Suggest) -> dict[str, Any]:
        """Walk the dimensions in order and ask for a value of each that exists.

        Args:
            suggest: Gives a value for a name and its distribution (a sampler's trial).

        Returns:
            The searched values only; see `complete` for the constants.
        """
        point: dict[str, Any] = dict(self.constants)
        chosen: dict[str, Any] = {}
        for name in self._order:
            if name in self.distributions and self._exists(name, point):
                chosen[name] = point[name] = suggest(name, self.distributions[name])
        return chosen

    def complete(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The whole configuration: constants and searched values, in declaration order."""
        return {
            n: chosen[n] if n in chosen else self.constants[n]
            for n in self._order
            if n in chosen or n in self.constants
        }

    def active(self, chosen: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distributions of the dimensions that exist at this point."""
        point = {**self.constants, **chosen}
        return {n: d for n, d in self.distributions.items() if self._exists(n, point)}

    def validate(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Check a point given by a person and return its searched values, in order.

        Raises:
            SpaceError: A name is unknown or missing, or a value lies outside its range.
        """
        for name in chosen:
            if name in self.constants and chosen[name] == self.constants[name]:
                continue
            if name not in self.distributions:
                raise SpaceError(
                    f"`{name}` is no dimension of this space{_near(name, self)}"
                )
        active = self.active(chosen)
        for name, distribution in active.items():
            if name not in chosen:
                raise SpaceError(
                    f"the point gives no value for `{name}`: {dict(chosen)}"
                )
            if not contains(distribution, chosen[name]):
                raise SpaceError(
                    f"`{name}` = {chosen[name]!r} lies outside {describe(distribution)}"
                )
        for name in chosen:
            if name in self.distributions and name not in active:
                raise SpaceError(
                    f"`{name}` does not exist at this point: {dict(chosen)}"
                )
        return {n: chosen[n] for n in self._order if n in active}

    def holds(self, chosen: Mapping[str, Any]) -> bool:
        """Whether these searched values are a point of this space."""
        try:
            self.validate(chosen)
        except (SpaceError, TypeError):  # a parent may have been of another type
            return False
        return True

    def rows(self) -> list[tuple[str, str, str]]:
        """One (name, what it may be, condition) row per entry, for tables."""
        conditions = {
            n: " and ".join(str(c) for c in self.conditions if c.name == n)
            for n in self._order
        }
        return [
            (
                n,
                describe(self.distributions[n])
                if n in self.distributions
                else f"= {json.dumps(self.constants[n])}",
                conditions[n],
            )
            for n in self._order
        ]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able description; `from_json` gives back an equal space."""
        return {
            "entries": [
                {
                    "name": n,
                    "distribution": json.loads(
                        distribution_to_json(self.distributions[n])
                    ),
                }
                if n in self.distributions
                else {"name": n, "constant": self.constants[n]}
                for n in self._order
            ],
            "conditions": [dataclasses.asdict(c) for c in self.conditions],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what `to_json` described.

        Raises:
            SpaceError: The description is not one of a space.
        """
        try:
            entries = {
                item["name"]: json_to_distribution(json.dumps(item["distribution"]))
                if "distribution" in item
                else item["constant"]
                for item in data["entries"]
            }
            conditions = tuple(
                Condition(
                    name=c["name"],
                    parent=c["parent"],
                    values=None if c["values"] is None else tuple(c["values"]),
                    at_least=c["at_least"],
                )
                for c in data["conditions"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SpaceError(f"not the description of a space: {error}") from error
        return cls(entries, conditions=conditions)

    def __eq__(self, other: object) -> bool:
        """Equal when the descriptions are."""
        if self is other:
            return True
        return isinstance(other, Space) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Follows equality."""
        if self._hash is None:
            self._hash = hash(json.dumps(self.to_json(), sort_keys=True))
        return self._hash

    def __repr__(self) -> str:
        """The space as `Space({...})` on one line."""
        return f"Space({self.entries()!r})"

    def __str__(self) -> str:
        """The space as an aligned plain-text table."""
        rows = [("name", "values", "when"), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(
            "  ".join(
                cell.ljust(w) for cell, w in zip(row, widths, strict=True)
            ).rstrip()
            for row in rows
        )

    def _exists(self, name: str, point: Mapping[str, Any]) -> bool:
        return all(c.holds(point) for c in self.conditions if c.name == name)

    def _check_conditions(self) -> None:
        for c in self.conditions:
            if c.name not in self.distributions:
                raise SpaceError(
                    f"a condition names `{c.name}`, no dimension{_near(c.name, self)}"
                )
            if c.parent not in self._order:
                raise SpaceError(
                    f"`{c.name}` depends on unknown `{c.parent}`{_near(c.parent, self)}"
                )
            if self._order.index(c.parent) >= self._order.index(c.name):
                raise SpaceError(
                    f"`{c.parent}` must be declared before `{c.name}`, which needs it"
                )


def describe(distribution: BaseDistribution) -> str:
    """A distribution in a few words: ``8 … 64 (log)``, ``gru, lstm``.

    Args:
        distribution: One of Optuna's three distributions.
    """
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    notes = ["log"] if distribution.log else []
    if distribution.step not in (None, 1):
        notes.append(f"step {distribution.step:g}")
    return f"{distribution.low:g} … {distribution.high:g}" + (
        f" ({', '.join(notes)})" if notes else ""
    )


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is one of a distribution's; of whatever type it is.

    Args:
        distribution: One of Optuna's three distributions.
        value: A value, such as that of a trial in another space.
    """
    try:
        internal = distribution.to_internal_repr(value)
    except ValueError:
        return False
    if isinstance(distribution, CategoricalDistribution):
        return True
    return math.isfinite(internal) and distribution._contains(internal)


def _constant(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_constant(name, v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise SpaceError(
        f"`{name}` must be an Optuna distribution or a constant, got {type(value).__name__}; "
        "use FloatDistribution, IntDistribution or CategoricalDistribution"
    )


def _near(name: str, space: Space) -> str:
    close = difflib.get_close_matches(
        name, [*space.distributions, *space.constants], n=3
    )
    return f"; did you mean {' or '.join(f'`{c}`' for c in close)}?" if close else ""
