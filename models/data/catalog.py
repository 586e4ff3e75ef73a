"""Datasets by name or folder, checked and hashed before anything is trained on them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data.cache import simulated
from models.data.check import check_part
from models.data.dataset import Dataset, Part, open_dataset
from models.data.files import hash_files, part_files
from models.data.options import OPTION_NAMES, SIMULATED, Simulated
from models.data.real import REAL, Protocol
from models.data.records import attributes, signal_names
from models.data.reference import PARTS, Reference
from models.errors import DataError, near_matches

__all__ = ["Dataset", "DatasetInfo", "describe", "names", "open_dataset", "prepare"]

Known = Simulated | Protocol
_ANY = ("name", "path", "inputs", "outputs", "units", "score_from", "also_score_from")


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A known dataset as `hpo list datasets` shows it.

    Attributes:
        name: What a study calls it.
        kind: ``simulated`` or ``real``.
        summary: What it is, in one line.
        units: Unit of every output channel.
        score_from: Samples at the start of every sequence that are not scored.
        source: Where it was published.
        needs: What a person must provide; empty for simulated data.
    """

    name: str
    kind: str
    summary: str
    units: tuple[str, ...]
    score_from: int
    source: str
    needs: str


def names() -> tuple[str, ...]:
    """Every dataset known by name: simulated ones first."""
    return (*SIMULATED, *REAL)


def describe(name: str) -> DatasetInfo:
    """The description of a named dataset, known without opening it.

    Raises:
        DataError: There is none of this name.
    """
    if name not in names():
        raise DataError(f"unknown dataset `{name}`", hint=near_matches(name, names()))
    known: Known = SIMULATED[name] if name in SIMULATED else REAL[name]
    return DatasetInfo(
        name=name,
        kind="simulated" if name in SIMULATED else "real",
        summary=known.summary,
        units=known.units,
        score_from=known.score_from,
        source=known.source,
        needs="" if name in SIMULATED else "--data DIR or HPO_DATA",
    )


def prepare(data: str | Mapping[str, Any], *, root: Path | None = None) -> Reference:
    """Find a dataset (simulated ones are made on first use), check it and hash it.

    Train and valid are read in full; of the test part only the bytes are hashed.

    Args:
        data: A known name, a folder's path, a folder's name under `root`, or a mapping with
            ``name`` or ``path`` and any of ``inputs``, ``outputs`` (signal names), ``units``,
            ``score_from``, ``also_score_from``; for simulated data also ``samples``,
            ``seed``, ``noise``, ``excitation``.
        root: The folder that holds real datasets by name; by default ``$HPO_DATA``.

    Raises:
        DataError: The dataset is unknown, missing, damaged, or does not fit the request.
    """
    request = _request(data)
    name, folder, known = _locate(request, root)
    found = {part: part_files(folder, part) for part in PARTS if _needed(folder, part)}
    first = found["train"][0]
    notes = attributes(first)
    inputs, outputs = _signals(request, first)
    reference = Reference(
        name=name,
        path=str(folder),
        inputs=inputs,
        outputs=outputs,
        hashes={part: hash_files(files) for part, files in found.items()},
        sampling_rate=float(notes["fs"]) if "fs" in notes else None,
        **_protocol(request, known, notes),
    )
    dataset = open_dataset(reference)
    for part in ("train", "valid"):
        check_part(dataset.part(part))
    _check_scored(dataset.part("valid"))
    return _with_channel_units(reference, dataset.part("train").channels["y"])


def _needed(folder: Path, part: str) -> bool:
    """Train and valid must be there; a study can be run without a test part."""
    return part != "test" or (folder / part).is_dir()


def _request(data: str | Mapping[str, Any]) -> dict[str, Any]:
    """The request as a mapping with known keys and either a name or a path."""
    request = {"name": data} if isinstance(data, str) else dict(data)
    known = (*_ANY, *OPTION_NAMES)
    for key in request:
        if key not in known:
            raise DataError(
                f"unknown key `{key}` in a request for data",
                hint=near_matches(str(key), known),
            )
    if ("name" in request) == ("path" in request):
        raise DataError(
            f"data is asked for by either `name` or `path`, got {sorted(request)}",
            hint=f"known names: {', '.join(names())}",
        )
    wanted = request.get("name", request.get("path"))
    if not isinstance(wanted, (str, os.PathLike)) or not str(wanted):
        raise DataError(f"a dataset's name or path must be text, got {wanted!r}")
    return request


def _locate(
    request: Mapping[str, Any], root: Path | None
) -> tuple[str, Path, Known | None]:
    """The dataset's name, its folder, and what is known of it."""
    wanted = str(request.get("name", request.get("path")))
    options = {k: request[k] for k in OPTION_NAMES if k in request}
    if "name" in request and wanted in SIMULATED:
        known = SIMULATED[wanted]
        return wanted, simulated(wanted, known.options.updated(options)), known
    if options:
        raise DataError(
            f"only simulated data has the option `{next(iter(options))}`, "
            f"`{wanted}` is none",
            hint=f"simulated: {', '.join(SIMULATED)}",
        )
    is_path = "path" in request or os.sep in wanted or wanted.startswith(("~", "."))
    folder = Path(wanted).expanduser().absolute() if is_path else _named(wanted, root)
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}",
            hint="a dataset is a folder with train/, valid/ and test/ of HDF5 files",
        )
    return folder.name, folder, REAL.get(folder.name)


def _named(name: str, root: Path | None) -> Path:
    """The folder of a real dataset under the data folder."""
    given = root or os.environ.get("HPO_DATA")
    folder = Path(given).expanduser().absolute() if given else None
    if folder is None and name in REAL:
        raise DataError(
            f"`{name}` is real data, and no data folder is given",
            hint=f"pass `--data DIR` or set HPO_DATA to the folder that holds {name}/",
        )
    if folder is not None and (folder / name).is_dir():
        return folder / name
    there = [p.name for p in folder.iterdir() if p.is_dir()] if _is(folder) else []
    where = f" under {folder}" if folder else ""
    if name in REAL:
        raise DataError(
            f"there is no `{name}`{where}",
            hint="point `--data DIR` or HPO_DATA at the folder that holds it",
        )
    raise DataError(
        f"unknown dataset `{name}`: no known name and no folder{where}",
        hint=near_matches(name, (*names(), *there)),
    )


def _is(folder: Path | None) -> bool:
    return folder is not None and folder.is_dir()


def _signals(
    request: Mapping[str, Any], first: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Signal names as asked for, or by the convention of the first train file."""
    asked = {k: _texts(request, k) for k in ("inputs", "outputs")}
    if asked["inputs"] and asked["outputs"]:
        return asked["inputs"], asked["outputs"]
    inputs, outputs = signal_names(
        first, needed=tuple(k for k, v in asked.items() if not v)
    )
    return asked["inputs"] or inputs, asked["outputs"] or outputs


def _texts(request: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = request.get(key, ())
    texts = (values,) if isinstance(values, str) else tuple(values)
    if not all(isinstance(v, str) for v in texts) or len(set(texts)) < len(texts):
        raise DataError(f"`{key}` must be a list of different names, got {values!r}")
    return texts


def _protocol(
    request: Mapping[str, Any], known: Known | None, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Units and scoring: as asked for, as known, or as the file's attributes tell."""
    start = known.score_from if known else int(notes.get("init_sz", 0))
    also = known.also_score_from if known else ()
    units = known.units if known else (str(notes.get("y_unit", "")),)
    starts = [request.get("score_from", start), *request.get("also_score_from", also)]
    for value in starts:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DataError(
                "`score_from` and `also_score_from` count samples from the start of a "
                f"sequence, got {value!r}"
            )
    return {
        "units": _texts_of_units(request, units),
        "score_from": starts[0],
        "also_score_from": tuple(starts[1:]),
    }


def _texts_of_units(
    request: Mapping[str, Any], default: tuple[str, ...]
) -> tuple[str, ...]:
    units = request.get("units", default)
    return (units,) if isinstance(units, str) else tuple(str(u) for u in units)


def _check_scored(part: Part) -> None:
    """Something of every valid record must be scored."""
    reference = part.reference
    for start in (reference.score_from, *reference.also_score_from):
        if start >= min(part.lengths):
            raise DataError(
                f"scores count from sample {start}, but the shortest file of part "
                f"`{part.name}` of `{reference.name}` has {min(part.lengths)} samples",
                hint="set `score_from` lower, or leave short files out",
            )


def _with_channel_units(reference: Reference, width: int) -> Reference:
    """One unit for every output channel."""
    units = reference.units
    if len(units) == 1:
        units *= width
    if len(units) != width:
        raise DataError(
            f"`units` must name one unit for each of {width} output channels, got "
            f"{list(units)}"
        )
    return dataclasses.replace(reference, units=units)
