"""Files of a dataset: found in natural order, hashed, written all or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import DataError

SUFFIXES = (".hdf5", ".h5")
_BLOCK = 1 << 20


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts ``u2`` before ``u10``."""
    pieces = re.split(r"(\d+)", name)
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in pieces if p)


def part_files(
    folder: Path, part: str, *, suffixes: tuple[str, ...] = SUFFIXES
) -> tuple[Path, ...]:
    """The data files of one part, in natural order of their names.

    Args:
        folder: The dataset.
        part: Its part, a folder.
        suffixes: How data files end.

    Raises:
        DataError: There is no such folder, or no data file in it.
    """
    path = folder / part
    if not path.is_dir():
        raise DataError(
            f"the dataset {folder} has no part `{part}`: there is no folder {path}",
            hint="a dataset is a folder with train/, valid/ and test/ of data files",
        )
    found = [
        p
        for p in path.iterdir()
        if p.name.lower().endswith(suffixes) and not p.name.startswith(".")
    ]
    if not found:
        raise DataError(
            f"part `{part}` is empty: no file in {path} ends in {' or '.join(suffixes)}",
            hint=f"put at least one data file into {path}",
        )
    return tuple(sorted(found, key=lambda p: natural_key(p.name)))


def hash_files(files: Iterable[Path]) -> str:
    """SHA-256 over names and bytes of files, in the order of their names.

    Raises:
        DataError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda p: p.name):
        try:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all, power cuts included.

    Args:
        path: The file to write; an older one is replaced. Its folder is made.
        content: What to write.

    Raises:
        OSError: The disk is full or the folder cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def new_file(path: Path, *, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Write predictions so that their file is there in full or not at all.

    Args:
        path: A file that is not there yet; its folder is made.
        suffixes: How files of what is to be written end: a reader goes by that.

    Yields:
        Where to write; moved to `path` at the end.

    Raises:
        DataError: The file is there already, ends otherwise, or cannot be written.
    """
    if not path.name.lower().endswith(suffixes):
        raise DataError(
            f"such a file must end in {' or '.join(suffixes)}, got {path}",
            hint="what reads it goes by that; choose another name with `--out FILE`",
        )
    if path.exists() or path.is_symlink():
        raise DataError(f"{path} is there already", hint="remove it or choose another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=".predict-", ignore_cleanup_errors=True
        ) as aside:
            made = Path(aside) / path.name
            yield made
            os.replace(made, path)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}",
            hint="choose another place with `--out FILE`",
        ) from error


def sync_folder(path: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
