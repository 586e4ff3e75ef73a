"""Records: files of signals that were sampled together.

Layout: a folder with ``train/``, ``valid/`` and (where there is one) ``test/``, each with files
of HDF5, CSV or Parquet (`models.data.stores`). A file holds one signal per array at its root,
``[time]`` or ``[time, channel]``, or per column of its table, all of one length: inputs ``u0``,
``u1``, …, outputs ``y0``, …, or other names if the request says so. Root attributes ``fs``
(sampling rate in Hz; of a table also what its time column shows), ``init_sz`` (samples not
scored) and ``y_unit`` are read from the first train file. Files may differ in length, and in
their rate only where a constant of the ``sampling`` tells it (`models.data.rates`).

Request: ``inputs``, ``outputs``, ``truth`` (names of the signals of roles u, y and x),
``units`` (of y, or by role), ``score_from``, ``also_score_from``, ``gaps``: true where values
of u and y may be missing (NaN); those of x always may; ``train_share``: the share of every
train record, from its start, that is used (1 for all): how a model does with less data;
``folders``: part to the folder that serves as it, such as ``{"train": "train_valid"}``;
``constants``: numbers of a file that are no signal, by name (`models.data.constants`), which
``inputs``, ``outputs`` and ``truth`` may name as signals that stay as they are. ``movement`` names
the signal of the role of its name, true where a body moves, which some tasks score alone.
``decimate``: N for every Nth sample of filtered inputs (`models.data.decimation`), 1 for all;
what counts samples then counts those that are left (``init_sz``, which stands in a file, counts
the file's). ``train_also``: further such factors, at each
of which every train record is there once more, as a record of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.data.arrays import ArrayFile
from models.data.check import checked
from models.data.constants import Constants, constants_in, constants_of, told
from models.data.decimation import (
    DecimatedFile,
    also_of,
    at_rate,
    factor_of,
    first_kept,
)
from models.data.files import hash_files, natural_key, new_file, part_files
from models.data.gaps import filled
from models.data.kinds.base import (
    Dataset,
    Fills,
    Part,
    Request,
    StoredPart,
    roles_there,
)
from models.data.rates import require_rate, several_rates
from models.data.reference import PARTS, Reference
from models.data.requests import flag, names_of, units_of
from models.data.stores import SUFFIXES, array_names, attributes, stem, told_rate
from models.data.stores import write as write_arrays
from models.errors import DataError

KEYS = (
    "inputs",
    "outputs",
    "truth",
    "movement",
    "units",
    "score_from",
    "also_score_from",
    "gaps",
    "train_share",
    "folders",
    "constants",
    "decimate",
    "train_also",
)
CUT: Literal["windows", "rows"] = "windows"
HIDDEN: tuple[str, ...] = ("x",)
LAYOUT = "a folder with train/, valid/ and test/ of HDF5, CSV or Parquet files"
_ROLES = {"u": "inputs", "y": "outputs", "x": "truth", "movement": "movement"}


class RecordsPart(StoredPart):
    """The records of one part, in natural order of their file names.

    Args:
        reference: The dataset.
        name: ``train``, ``valid`` or ``test``.
        fills: Gives the train mean of roles with gaps.

    Raises:
        DataError: The part is empty, one of its files is damaged or unlike the others, or
            one of test was sampled at another rate than those of train.
    """

    def __init__(self, *, reference: Reference, name: str, fills: Fills = dict) -> None:
        super().__init__(reference=reference, name=name, fills=fills)
        also = reference.settings.get("train_also", ()) if name == "train" else ()
        own = _factor(reference)
        self._factors = (own, *also)
        self.records = tuple(
            _read_at(path, reference, reference.roles, factor)
            for path in _files(reference, name)
            for factor in self._factors
        )
        if name == "test":  # the others were looked at before anything was trained
            for path in _files(reference, name):
                require_rate(path, reference)
        first = self.records[0]
        share = reference.settings.get("train_share", 1.0) if name == "train" else 1.0
        # 0.1 of 30 is 3, whatever floating point makes of the product.
        self.lengths = tuple(ceil(round(share * r.length, 6)) for r in self.records)
        self.shapes = first.shapes
        for record in self.records:
            if record.channels != first.channels:
                raise DataError(
                    f"files of one dataset must have equal channels: "
                    f"{first.path} has {first.channels}, "
                    f"{record.path} has {record.channels}",
                    hint="leave the odd one out, or name signals that all of them have",
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The files' names; with the factor of a further rate."""
        own = self._factors[0]
        behind = ["" if f == own else f" 1/{f}" for f in self._factors]
        return tuple(
            stem(record.path) + behind[i % len(behind)]
            for i, record in enumerate(self.records)
        )

    def slice(
        self,
        index: int,
        start: int,
        stop: int,
        *,
        roles: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Samples ``start`` to ``stop`` of one record, in the type they are stored in.

        Raises:
            DataError: The samples do not lie inside the record.
        """
        record, length = self.records[index], self.lengths[index]
        if not 0 <= start < stop <= length:
            raise DataError(
                f"samples {start} to {stop} do not lie in {record.path}, which has {length}"
            )
        wanted = self.shapes if roles is None else roles
        return {role: record.read(role, start, stop) for role in wanted}

    def locate(self, role: str, index: int, entry: tuple[int, ...]) -> tuple[str, str]:
        """The signal and its file, and the sample."""
        return _located(self.records[index], role, entry)


def signal_file(
    path: Path,
    roles: Mapping[str, tuple[str, ...]],
    constants: Mapping[str, np.ndarray] | None = None,
) -> ArrayFile:
    """One file of signals, opened but not read.

    Args:
        path: The file.
        roles: Role to the names of its signals.
        constants: Values of those that are the same at all times.
    """
    return ArrayFile(path, roles=roles, word="signal", most_axes=2, constants=constants)


def _factor(reference: Reference) -> int:
    """Every how many samples of a file one is read."""
    return int(reference.settings.get("decimate", 1))


def _read_at(
    path: Path,
    reference: Reference,
    roles: Mapping[str, tuple[str, ...]],
    factor: int,
) -> ArrayFile | DecimatedFile:
    """A file of a dataset at one rate, opened but not read."""
    return at_rate(_file(path, reference, roles, factor=factor), factor)


def _file(
    path: Path,
    reference: Reference,
    roles: Mapping[str, tuple[str, ...]],
    *,
    factor: int = 1,
) -> ArrayFile:
    """A file of a dataset, with the constants among the signals of some roles."""
    named = {name for names in roles.values() for name in names}
    asked = reference.settings.get("constants", {})
    wanted = {name: place for name, place in asked.items() if name in named}
    return signal_file(path, roles, constants_in(path, wanted, factor=factor))


def signal_names(path: Path, *, needed: Collection[str] = "uy") -> dict[str, Any]:
    """The signals that follow the convention: ``u``, ``u0``, … and ``y``, ``y0``, ….

    Args:
        path: The file.
        needed: Which of the two roles must be there.

    Returns:
        Role to names in natural order.

    Raises:
        DataError: The file is missing or damaged, or a role that is needed is not there.
    """
    names = sorted(array_names(path), key=natural_key)
    found = {
        role: tuple(n for n in names if re.fullmatch(rf"{role}\d*", n)) for role in "uy"
    }
    for role, word in (("u", "input"), ("y", "output")):
        if role in needed and not found[role]:
            raise DataError(
                f"{path} has no {word} signal `{role}0`; it has: {', '.join(names)}",
                hint=f'name them in the study: data={{"path": …, "{word}s": […]}}',
            )
    return found


def find(path: Path) -> Path | None:
    """A folder with a part ``train``."""
    return path if (path / "train").is_dir() else None


def prepare(request: Request, *, name: str, path: Path) -> Reference:
    """Check and hash a folder of records; see `models.data.kinds.base.Kind`."""
    # Train and valid must be there; a study can be run without a test part.
    folders = _folders(request)
    parts = [p for p in PARTS if p != "test" or (path / p).is_dir()]
    places = {part: folders.get(part, part) for part in parts}
    found = {
        part: part_files(path, folder, suffixes=SUFFIXES)
        for part, folder in places.items()
    }
    notes, factor = attributes(found["train"][0]), factor_of(request)
    also, constants = also_of(request), _constants(request, found["train"][0])
    several = several_rates([*found["train"], *found["valid"]], constants=constants)
    rate = told_rate(found["train"][0], notes)
    reference = Reference(
        name=name,
        path=str(path),
        kind="records",
        roles=_roles(request, found["train"][0]),
        hashes={part: hash_files(files) for part, files in found.items()},
        sampling_rate=None if rate is None else rate / factor,
        units=units_of(request) or {"y": (str(notes.get("y_unit", "")),)},
        settings=_scoring(request, notes, factor)
        | _share(request)
        | ({"folders": folders} if folders else {})
        | ({"constants": constants} if constants else {})
        | ({"several_rates": True} if several else {})
        | ({"decimate": factor} if factor > 1 else {})
        | ({"train_also": also} if also else {}),
    )
    allowed = reference.roles if flag(request, "gaps") else ("x",)
    dataset = open(reference)
    reference = checked(dataset, allowed=allowed)
    _check_scored(dataset.part("valid"))
    return reference


def open(reference: Reference) -> Dataset:
    """Open prepared records; their files are read when they are needed."""
    return Dataset(reference=reference, opener=RecordsPart)


def read(
    path: Path,
    *,
    reference: Reference,
    roles: Collection[str],
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The signals of one file: role to ``[T, channels]``; see `Kind.read`."""
    constants = reference.settings.get("constants", {})
    there = {*array_names(path), *told(path, constants)}
    wanted = roles_there(reference, there, roles=roles, optional=optional)
    if not wanted:
        return {}
    require_rate(path, reference)
    file = _read_at(path, reference, wanted, _factor(reference))
    train = _first_train(reference, wanted)
    for role, width in file.channels.items():
        if width != train.channels[role]:
            raise DataError(
                f"{path} has {width} channels in {', '.join(wanted[role])}, but the "
                f"model was trained on {train.channels[role]}",
                hint="give a file with the signals of the training data",
            )
    return filled(
        {role: np.array(file.read(role, 0, file.length), float) for role in wanted},
        gaps=reference.gaps,
        fills=open(reference).part("train").fills if reference.gaps else {},
        locate=lambda role, entry: _located(file, role, entry),
    )


def write(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    *,
    reference: Reference,
    like: Path,
) -> None:
    """Write predicted signals ``[T, channels]`` by the names of their roles."""
    train = _first_train(reference, reference.roles)
    with new_file(path, suffixes=SUFFIXES) as made:
        pieces = (
            p for role, values in arrays.items() for p in train.split(role, values)
        )
        write_arrays(made, pieces, like=like, every=_factor(reference))


def _first_train(
    reference: Reference, roles: Mapping[str, tuple[str, ...]]
) -> ArrayFile:
    """The first file of the train part, which says how wide each signal is."""
    return _file(_files(reference, "train")[0], reference, roles)


def _files(reference: Reference, part: str) -> tuple[Path, ...]:
    """The files of a part, from the folder that serves as it."""
    folders = reference.settings.get("folders", {})
    folder = folders.get(part, part)
    return part_files(Path(reference.path), folder, suffixes=SUFFIXES)


def _roles(request: Request, first: Path) -> dict[str, tuple[str, ...]]:
    """Signal names as asked for, or by the convention of the first train file."""
    asked = {role: names_of(request, key) for role, key in _ROLES.items()}
    missing = [role for role in "uy" if not asked[role]]
    if missing:
        asked |= {
            role: names
            for role, names in signal_names(first, needed=missing).items()
            if role in missing
        }
    return {role: names for role, names in asked.items() if names}


def _scoring(request: Request, notes: Mapping[str, Any], factor: int) -> dict[str, Any]:
    """Where scores count from: as asked for, or as the file's attributes tell."""
    # The attribute counts samples of its file, of which every `factor`-th is left.
    begin = notes.get("init_sz", 0)
    if not isinstance(begin, (int, float)) or not float(begin).is_integer():
        raise DataError(
            f"the attribute `init_sz` counts samples at the start of a file, got {begin!r}",
            hint="write a whole number there, or leave the attribute out",
        )
    first = request.get("score_from", first_kept(int(begin), factor))
    starts = [first, *request.get("also_score_from", ())]
    for value in starts:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DataError(
                "`score_from` and `also_score_from` count samples from the start of a "
                f"sequence, got {value!r}",
                hint="give whole numbers from 0",
            )
    return {"score_from": starts[0], "also_score_from": tuple(starts[1:])}


def _folders(request: Request) -> dict[str, str]:
    """The folders asked for by part; the test part has none but its own."""
    folders = request.get("folders", {})
    if not isinstance(folders, Mapping) or not all(
        part in ("train", "valid") and isinstance(name, str) and Path(name).name == name
        for part, name in folders.items()
    ):
        raise DataError(
            "`folders` says which folder serves as train and which as valid, got "
            f"{folders!r}",
            hint='{"train": "train_valid"} trains on what lies in train_valid/; the test '
            "part is always test/, so that nothing is fitted to it",
        )
    if "test" in folders.values():
        raise DataError(
            "the folder test/ cannot serve as train or valid: nothing may be fitted to it",
            hint="copy the files elsewhere if they are no test part",
        )
    return {str(part): str(name) for part, name in folders.items()}


def _share(request: Request) -> dict[str, float]:
    """The share of the train part, where not all of it is asked for."""
    share = request.get("train_share", 1)
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or not 0 < share <= 1:
        raise DataError(
            f"`train_share` must be above 0 and at most 1, got {share!r}",
            hint="0.1 trains on the first tenth of every train record",
        )
    return {} if share == 1 else {"train_share": float(share)}


def _constants(request: Request, first: Path) -> Constants:
    """The constants asked for; each must be of some role, and no signal of a file."""
    found = constants_of(request)
    signals = array_names(first) if found else []
    for name in found:
        if name in signals:
            raise DataError(
                f"the constant `{name}` has the name of a signal of {first}, of which it "
                "would take the place",
                hint="call it otherwise, and name it so among `inputs` or `outputs`",
            )
    named = [n for key in _ROLES.values() for n in names_of(request, key)]
    for name in found:
        if name not in named:
            raise DataError(
                f"the constant `{name}` is neither input nor output nor truth",
                hint=f'name it where it belongs, such as "inputs": ["u0", "{name}"]',
            )
    return found


def _check_scored(part: Part) -> None:
    """Something of every valid record must be scored."""
    settings = part.reference.settings
    for start in (settings["score_from"], *settings["also_score_from"]):
        if start >= min(part.lengths):
            raise DataError(
                f"scores count from sample {start}, but the shortest file of part "
                f"`{part.name}` of `{part.reference.name}` has {min(part.lengths)} samples",
                hint="set `score_from` lower, or leave short files out",
            )


def _located(
    file: ArrayFile | DecimatedFile, role: str, entry: tuple[int, ...]
) -> tuple[str, str]:
    name, column = file.name_of(role, entry[-1])
    first = entry[0] if isinstance(file, ArrayFile) else file.sample(entry[0])
    where = f"sample {first}" + ("" if column is None else f", column {column}")
    return f"signal `{name}` in {file.path}", where
