"""A reference to prepared data: where it lies and what it is, never arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from models.errors import DataError, near_matches

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A prepared dataset: enough for a worker to open it and for a run to recognise it again.

    Attributes:
        name: The dataset's name, or its folder's name.
        path: Absolute path of the folder that holds ``train``, ``valid`` and ``test``.
        inputs: Names of the input signals, in channel order.
        outputs: Names of the output signals, in channel order.
        hashes: Part name to a SHA-256 over its sorted file names and bytes.
        sampling_rate: In Hz; None where the files do not tell.
        units: Unit of every output channel; empty text where it is not known.
        score_from: Samples at the start of every sequence that are not scored.
        also_score_from: Further starts to score from, each under names of its own.
    """

    name: str
    path: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    hashes: Mapping[str, str] = field(default_factory=dict)
    sampling_rate: float | None = None
    units: tuple[str, ...] = ()
    score_from: int = 0
    also_score_from: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        values = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Reference:
        """Read what `to_json` gave.

        Raises:
            DataError: A field is unknown or one that is needed is missing.
        """
        known = cls.__dataclass_fields__
        for key in values:
            if key not in known:
                raise DataError(
                    f"unknown field `{key}` in a data reference",
                    hint=near_matches(key, known),
                )
        missing = [k for k in ("name", "path", "inputs", "outputs") if k not in values]
        if missing:
            raise DataError(
                f"a data reference needs `{missing[0]}`, got {sorted(values)}",
                hint="make references with `models.data.catalog.prepare`",
            )
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})
