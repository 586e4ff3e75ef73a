"""A reference to prepared data: where it lies and what it is, never arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from models.errors import DataError, near_matches

PARTS = ("train", "valid", "test")
_BEFORE_KINDS = ("inputs", "outputs", "score_from", "also_score_from")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A prepared dataset: enough for a worker to open it and for a run to recognise it again.

    Attributes:
        name: The dataset's name, or that of its folder or file.
        path: Absolute path of the folder or file it lies in.
        kind: How it lies there; a module of `models.data.kinds`.
        roles: Role to the names of its signals, columns or arrays, in channel order. ``u``
            are inputs, ``y`` outputs, ``x`` a recorded truth that no model is given;
            samples name their own.
        hashes: Part to a SHA-256 over that part's own bytes, also where several parts lie
            in one file.
        sampling_rate: In Hz; None where the files do not tell.
        units: Role to the unit of every channel; empty text where it is not known. Outputs
            ``y`` always have one each.
        gaps: Roles with missing values in train or valid, in sorted order.
        settings: Further values of the kind or the data, such as ``score_from`` or
            ``borders``. Lists are kept as tuples.
    """

    name: str
    path: str
    kind: str = "records"
    roles: Mapping[str, tuple[str, ...]]
    hashes: Mapping[str, str] = field(default_factory=dict)
    sampling_rate: float | None = None
    units: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make equal what differs only by list and tuple."""
        for name in ("roles", "hashes", "units", "settings"):
            values = {str(k): _frozen(v) for k, v in getattr(self, name).items()}
            object.__setattr__(self, name, values)
        object.__setattr__(self, "gaps", tuple(sorted(self.gaps)))

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Reference:
        """Read what `to_json` gave, now or before there were kinds of data.

        Raises:
            DataError: A field is unknown, or one that is needed is missing.
        """
        before = "roles" not in values and "inputs" in values
        known = (*cls.__dataclass_fields__, *(_BEFORE_KINDS if before else ()))
        for key in values:
            if key not in known:
                raise DataError(
                    f"unknown field `{key}` in a data reference",
                    hint=near_matches(str(key), known),
                )
        if before:
            values = _with_roles(values)
        missing = [k for k in ("name", "path", "roles") if k not in values]
        if missing:
            raise DataError(
                f"a data reference needs `{missing[0]}`, got {sorted(values)}",
                hint="make references with `models.data.catalog.prepare`",
            )
        return cls(**values)


def _with_roles(values: Mapping[str, Any]) -> dict[str, Any]:
    """A reference of the time when all data was records of inputs and outputs."""
    new = {k: v for k, v in values.items() if k not in _BEFORE_KINDS}
    units = values.get("units", ())
    return new | {
        "roles": {"u": values["inputs"], "y": values.get("outputs", ())},
        "units": {"y": units} if units else {},
        "settings": {
            "score_from": values.get("score_from", 0),
            "also_score_from": values.get("also_score_from", ()),
        },
    }


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _frozen(v) for k, v in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
