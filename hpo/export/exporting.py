"""Where an export goes, and that it is there whole or not at all."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hpo.errors import RunError
from hpo.export.source import Source, load_source
from hpo.ledger.folder import RunFolder
from hpo.report import formats
from hpo.report.summary import Summary, load_summary

Kind = Literal["optuna", "csv", "parquet", "tensorboard"]
# kind: the usual name, the package it needs, the module that writes it
KINDS: Mapping[Kind, tuple[str, str, str]] = {
    "optuna": ("optuna.db", "optuna", "hpo.export.optuna_storage"),
    "csv": ("trials.csv", "", ""),
    "parquet": ("trials.parquet", "pyarrow", "hpo.export.parquet"),
    "tensorboard": ("tensorboard", "tensorboardX", "hpo.export.tensorboard"),
}


def export(folder: Path, *, to: Kind, out: Path | None = None) -> Path:
    """Write a run in another program's format; the run itself is only read.

    Args:
        folder: The run's folder.
        to: The format.
        out: The file (a folder for TensorBoard), which must not be there yet; None means
            the run's ``report/``, where an export of before is replaced.

    Returns:
        Where it is.

    Raises:
        RunError: `out` is there already or cannot be written, a package is missing, or the
            run is damaged.
    """
    name, package, module = KINDS[to]
    if package and importlib.util.find_spec(package) is None:
        raise RunError(
            f"`--to {to}` needs the package `{package}`, which is not installed",
            hint=f"`pip install {package}`",
        )
    place = out or RunFolder(folder).report / name
    if out is not None and (out.exists() or out.is_symlink()):
        raise RunError(f"{out} is there already", hint="remove it or choose another")
    # A table needs no epochs, and a long run has very many.
    source = load_source(folder) if module else load_summary(folder)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=place.parent, prefix=".export-", ignore_cleanup_errors=True
        ) as aside:
            made = Path(aside) / place.name
            _write(source, to, made)
            if out is None and place.is_dir():
                shutil.rmtree(place)
            os.replace(made, place)
    except OSError as error:
        raise RunError(
            f"cannot write {place}: {error.strerror or error}",
            hint="choose another place with `--out PATH`",
        ) from error
    return place


def _write(source: Source | Summary, to: Kind, path: Path) -> None:
    if isinstance(source, Summary):
        path.write_text(formats.to_csv(source), encoding="utf-8")
        return
    if to == "tensorboard":
        path.mkdir()  # a run without trials is an empty folder, not none
    importlib.import_module(KINDS[to][2]).write(source, path)
