"""Datasets by name or path, checked and hashed before anything is trained on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data import kinds
from models.data.cache import simulated
from models.data.decimation import factor_of, first_kept
from models.data.options import (
    OPTION_NAMES,
    SIMULATED,
    AnyOptions,
    Draws,
    Options,
    Simulated,
    Steps,
    Turns,
)
from models.data.real import REAL, Protocol
from models.data.reference import Reference
from models.data.requests import names_of
from models.errors import DataError, near_matches

Known = Simulated | Protocol
_ANY = ("name", "path", "kind")


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
        data: A known name, a path, a name under `root`, or a mapping with ``name`` or
            ``path``, perhaps ``kind`` (else told by the layout), and keys of the kind: see
            the modules of `models.data.kinds`. For simulated data also ``samples``,
            ``seed``, ``noise``, ``excitation`` (``truth`` names hidden states of theirs), or
            ``samples``, ``seed``, ``observations`` or others: see `models.data.options`.
        root: The folder that holds real datasets by name; by default ``$HPO_DATA``.

    Raises:
        DataError: The dataset is unknown, missing, damaged, or does not fit the request.
    """
    found = _found(data, root)
    kind = kinds.kind(found.kind)
    path, protocol = found.path, _protocol(found)
    if path is None:
        options = _options(found, root)
        path = simulated(found.name, options)
        if isinstance(options, Steps):
            place = kind.find(path)
            assert place is not None, "its simulator writes a single table"
            path, protocol = place, protocol | {"borders": options.borders}
    if "shares" in found.request:
        protocol.pop("borders", None)
    return kind.prepare(protocol | found.request, name=found.name, path=path)


def recorded(values: Mapping[str, Any]) -> Reference:
    """A reference from its JSON form, also one of an earlier version.

    Raises:
        DataError: A field is unknown, or one that is needed is missing.
    """
    return Reference.from_json(values)


def kind_of(data: str | Mapping[str, Any], *, root: Path | None = None) -> str:
    """The kind of a dataset; nothing is made, read or hashed.

    Args:
        data: As for `prepare`, or the JSON form of a reference.
        root: As for `prepare`.

    Raises:
        DataError: The dataset is unknown or missing, or its layout is that of no kind.
    """
    if isinstance(data, Mapping) and ("roles" in data or "hashes" in data):
        return Reference.from_json(data).kind
    return _found(data, root).kind


def located(data: str | Mapping[str, Any], *, root: Path | None = None) -> Path:
    """The folder or file of a dataset that lies on disk; nothing of it is read.

    Args:
        data: As for `prepare`.
        root: As for `prepare`.

    Raises:
        DataError: The dataset is unknown, missing, of no kind, or made by a simulator.
    """
    found = _found(data, root)
    if found.path is None:
        raise DataError(
            f"`{found.name}` is simulated and has no file of features",
            hint="name a file or folder",
        )
    return found.path


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Where a dataset lies (None: still to be simulated), and what was asked of it."""

    request: dict[str, Any]
    name: str
    kind: str
    path: Path | None


def _found(data: str | Mapping[str, Any], root: Path | None) -> _Found:
    request = _request(data)
    wanted = str(request.get("name", request.get("path")))
    if "name" in request and wanted in SIMULATED:
        known = SIMULATED[wanted]
        found = _Found(request=request, name=wanted, kind=known.kind, path=None)
        _check_keys(found, known.option_names)
        return found
    path = _locate(request, root)
    kind = request.get("kind") or kinds.kind_at(path)
    place = kinds.kind(kind).find(path)
    if place is None:
        raise DataError(
            f"{path} holds no {kind}",
            hint=f"{kind} are {kinds.kind(kind).LAYOUT}",
        )
    name = path.name if path.is_dir() else path.name.partition(".")[0]
    if "name" in request and wanted in REAL:
        name = wanted
    found = _Found(request=request, name=name, kind=kind, path=place)
    _check_keys(found, ())
    return found


def _request(data: str | Mapping[str, Any]) -> dict[str, Any]:
    """The request as a mapping with either a name or a path."""
    if not isinstance(data, (str, Mapping)):
        raise DataError(
            f"data is asked for by a name, a path or a mapping, got {data!r}",
            hint=f"known names: {', '.join(names())}",
        )
    request = {"name": data} if isinstance(data, str) else dict(data)
    if ("name" in request) == ("path" in request):
        raise DataError(
            f"data is asked for by either `name` or `path`, got {sorted(request)}",
            hint=f"known names: {', '.join(names())}; " + kinds.layouts(),
        )
    wanted = request.get("name", request.get("path"))
    if not isinstance(wanted, (str, os.PathLike)) or not str(wanted):
        raise DataError(
            f"a dataset's name or path must be text, got {wanted!r}",
            hint=f"known names: {', '.join(names())}",
        )
    return request


def _check_keys(found: _Found, options: tuple[str, ...]) -> None:
    """Refuse keys that the dataset's kind does not know."""
    known = (*_ANY, *kinds.kind(found.kind).KEYS, *options)
    for key in found.request:
        if key in OPTION_NAMES and key not in known:
            having = [n for n, s in SIMULATED.items() if key in s.option_names]
            whose = "other" if options else "only"
            is_none = "" if options else f", `{found.name}` is none"
            raise DataError(
                f"{whose} simulated data has the option `{key}`{is_none}",
                hint=f"simulated with it: {', '.join(having)}",
            )
        if key not in known:
            raise DataError(
                f"unknown key `{key}` in a request for data, which is {found.kind}",
                hint=near_matches(str(key), known),
            )


def _options(found: _Found, root: Path | None) -> AnyOptions:
    """How a simulator is to be run.

    Raises:
        DataError: An option breaks a rule, or there is no such hidden state or folder.
    """
    known = SIMULATED[found.name]
    values = {k: found.request[k] for k in known.option_names if k in found.request}
    if isinstance(known.options, Options):
        return known.options.updated(values | {"truth": _asks_for_truth(found)})
    options = known.options.updated(values)
    if not isinstance(options, Draws) or not options.observations:
        return options
    given = Path(options.observations).expanduser()
    under = root or os.environ.get("HPO_DATA")
    places = [Path(under).expanduser() / given] if under else []
    folder = next((p for p in (*places, given) if p.is_dir()), None)
    if folder is None:
        raise DataError(
            f"there is no folder of observations {given}",
            hint="name one that holds a folder with `observation.csv` for each, by its "
            "path, or below `--data DIR` or HPO_DATA",
        )
    return options.updated({"observations": str(folder.absolute())})


def _asks_for_truth(found: _Found) -> bool:
    """Whether hidden states of a simulator are wanted.

    Raises:
        DataError: It has none of this name.
    """
    wanted, there = names_of(found.request, "truth"), SIMULATED[found.name].truth
    for name in wanted:
        if name not in there:
            others = [
                f"`{n}` ({', '.join(s.truth)})" for n, s in SIMULATED.items() if s.truth
            ]
            raise DataError(
                f"`{found.name}` has no hidden state `{name}` to be stored as the truth",
                hint=f"simulated data that has some: {', '.join(others)}",
            )
    return bool(wanted)


def _locate(request: Mapping[str, Any], root: Path | None) -> Path:
    """The folder or file that a request names."""
    wanted = str(request.get("name", request.get("path")))
    path = Path(wanted).expanduser().absolute()
    named = "path" not in request and not wanted.startswith(("~", ".", os.sep))
    if named and not (os.sep in wanted and path.exists()):
        return _named(wanted, root)
    if not path.exists():
        raise DataError(f"there is no folder or file {path}", hint=kinds.layouts())
    return path


def _named(name: str, root: Path | None) -> Path:
    """A real dataset under the data folder."""
    given = root or os.environ.get("HPO_DATA")
    folder = Path(given).expanduser().absolute() if given else None
    if folder is None and name in REAL:
        raise DataError(
            f"`{name}` is real data, and no data folder is given",
            hint="pass `--data DIR` or set HPO_DATA to the folder that holds "
            + (" or ".join(REAL[name].files) or f"{name}/"),
        )
    files = REAL[name].files if name in REAL else ()
    for place in (*files, name):
        if folder is not None and (folder / place).exists():
            return folder / place
    there = [p.name for p in folder.iterdir()] if folder and folder.is_dir() else []
    where = f" under {folder}" if folder else ""
    if name in REAL:
        raise DataError(
            f"there is no `{name}`{where}",
            hint="point `--data DIR` or HPO_DATA at the folder that holds "
            + (" or ".join(files) or "it"),
        )
    near = near_matches(name, (*names(), *there))
    unset = "pass `--data DIR` or set HPO_DATA to the folder that holds it; "
    raise DataError(
        f"unknown dataset `{name}`: no known name and no folder or file{where}",
        hint=near if folder else unset + near,
    )


def _protocol(found: _Found) -> dict[str, Any]:
    """How a known dataset is scored, in the keys of a request.

    Where its scores begin is published in samples of its files.
    """
    known: Known | None = (
        REAL.get(found.name) if found.path else SIMULATED.get(found.name)
    )
    if isinstance(known, Simulated) and known.bounds:
        return {"bounds": known.bounds}
    if isinstance(known, Simulated) and found.kind == "series":
        return {"units": known.units, "calendar": True}
    if isinstance(known, Simulated) and isinstance(known.options, Turns):
        return {"movement": "movement", "gaps": True, "units": known.units}
    if isinstance(known, Protocol) and known.request:
        return dict(known.request)
    if known is None or found.kind != "records":
        return {}
    factor = factor_of(found.request)
    return {
        "units": known.units,
        "score_from": first_kept(known.score_from, factor),
        "also_score_from": tuple(
            first_kept(start, factor) for start in known.also_score_from
        ),
    }
