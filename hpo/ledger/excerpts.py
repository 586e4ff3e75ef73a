"""The file of an evaluated trial's excerpts: a few kB of float32 beside its configuration.

It is written whole before the ledger says that the trial was evaluated, and equal excerpts
give equal bytes, so whoever is killed between the two writes the very same file again.
"""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import RunError
from hpo.ledger.folder import write_atomically
from models.training.protocol import Excerpt

_ARRAYS = {"measured": "f4", "predicted": "f4", "known": "?", "scored": "?"}
_TOLD = [f.name for f in dataclasses.fields(Excerpt) if f.name not in _ARRAYS]
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Excerpts:
    """What a file of excerpts holds.

    Attributes:
        part: The part of the data that they are of.
        pieces: The excerpts, best first.
    """

    part: str
    pieces: tuple[Excerpt, ...]


def write(path: Path, found: Excerpts) -> None:
    """Write a file of excerpts in one go.

    Args:
        path: The file.
        found: What it is to hold.

    Raises:
        OSError: The disk is full or the folder is read-only.
        ValueError: Arrays differ in shape, or have other axes than time and channels.
    """
    import numpy as np

    arrays: dict[str, Any] = {}
    for place, piece in enumerate(found.pieces):
        shape = np.shape(piece.measured)
        for name, kind in _ARRAYS.items():
            array = np.asarray(getattr(piece, name), kind)
            if array.shape != shape or array.shape[1:] != (len(piece.names),):
                raise ValueError(
                    f"`{name}` of an excerpt is [T, {len(piece.names)}], got {array.shape}"
                )
            arrays[f"{place}.{name}"] = array
    about = {
        "schema": SCHEMA,
        "part": found.part,
        "pieces": [{n: getattr(p, n) for n in _TOLD} for p in found.pieces],
    }
    text = json.dumps(about).encode()
    out = io.BytesIO()
    np.savez_compressed(out, about=np.frombuffer(text, np.uint8), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, out.getvalue())


def read(path: Path) -> Excerpts | None:
    """Read a file of excerpts; None where there is none.

    Args:
        path: The file.

    Raises:
        RunError: It is damaged, or of another version.
    """
    import numpy as np

    try:
        content = path.read_bytes()  # numpy leaves a damaged file open
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            about = json.loads(bytes(file["about"]))
            if about["schema"] != SCHEMA:
                raise ValueError(
                    f"schema {about['schema']}, this version reads {SCHEMA}"
                )
            pieces = tuple(
                Excerpt(
                    **{n: told[n] for n in _TOLD if n not in ("names", "units")},
                    names=tuple(told["names"]),
                    units=tuple(told["units"]),
                    **{n: file[f"{place}.{n}"] for n in _ARRAYS},
                )
                for place, told in enumerate(about["pieces"])
            )
    except FileNotFoundError:
        return None
    except Exception as error:  # a foreign file: numpy, zip, JSON and keys all raise
        raise RunError(
            f"{path} holds no excerpts: {error}",
            hint="remove it; only a picture is missing then",
        ) from error
    return Excerpts(part=about["part"], pieces=pieces)
