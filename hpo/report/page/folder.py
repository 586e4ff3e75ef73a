"""The folder of a report: all of its files, there whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hpo.errors import RunError
from hpo.ledger.folder import RunFolder
from hpo.report import formats, latex, rungs
from hpo.report.page import html, methods, text
from hpo.report.page.content import Content, load
from hpo.report.page.drawings import drawings

_OURS = (
    "index.html",
    "report.md",
    "paper.tex",
    "references.bib",
    "rungs.json",
    "figures",
)
_LEADERBOARD = tuple(f"leaderboard.{kind}" for kind in ("csv", "json", "parquet"))


def write(folder: Path, *, out: Path | None = None) -> Path:
    """Write the report of a run, and say where its page is.

    Whatever else lies in the run's ``report/``, such as an export, stays there.

    Args:
        folder: The run's folder.
        out: A folder that is not there yet; None means the run's ``report/``, where a
            report of before is replaced.

    Returns:
        The page's path.

    Raises:
        RunError: `out` is there already or cannot be written, or the run is damaged.
    """
    place = RunFolder(folder).report if out is None else out
    if out is not None and (out.exists() or out.is_symlink()):
        raise RunError(
            f"{out} is there already", hint="remove it or choose another with `--out`"
        )
    made = files(load(folder))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _put(place, made)
    except OSError as error:
        raise RunError(
            f"cannot write {place}: {error.strerror or error}",
            hint="free some space or check the permissions; or choose another place with "
            "`--out DIR`",
        ) from error
    return place / "index.html"


def files(content: Content) -> dict[str, bytes]:
    """Every file of the report by its path in the folder.

    Args:
        content: What the report tells.
    """
    summary = content.summary
    figures, found = {}, {}
    for drawing in drawings(content):
        kinds = drawing.files()
        figures[drawing.name] = drawing, kinds["svg"]
        for kind, told in kinds.items():
            found[f"figures/{drawing.name}.{kind}"] = told
    page = html.render(content, figures)
    markdown = text.render(content, [drawing for drawing, _ in figures.values()])
    return {
        **found,
        "leaderboard.json": formats.to_json(summary).encode(),
        "leaderboard.csv": formats.to_csv(summary).encode(),
        "leaderboard.parquet": _parquet(content),
        "rungs.json": formats.json_text(rungs.json_rows(summary.fidelity)).encode(),
        "paper.tex": paper(content).encode(),
        "references.bib": methods.bibtex(content).encode(),
        "report.md": markdown.encode(errors="replace"),
        "index.html": page.encode(errors="replace"),
    }


def paper(content: Content) -> str:
    """The methods and the families' table, for LaTeX.

    Args:
        content: What the report tells.
    """
    told = latex.escape(methods.paragraph(content))
    return f"{told}\n\n{methods.table(content)}"


def _parquet(content: Content) -> bytes:
    """The columns of ``leaderboard.csv``, each with the type of its values."""
    import pyarrow
    from pyarrow import csv, parquet

    table = csv.read_csv(
        io.BytesIO(formats.to_csv(content.summary).encode()),
        convert_options=csv.ConvertOptions(strings_can_be_null=True),
    )
    out = io.BytesIO()
    parquet.write_table(table, pyarrow.PythonFile(out))
    return out.getvalue()


def _put(place: Path, made: Mapping[str, bytes]) -> None:
    """Fill a folder aside, then exchange it for the one that is there."""
    aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
    old = aside / "old"
    new = aside / "new"
    try:
        for name, content in made.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        new.chmod(0o755)
        if place.is_dir():
            _keep(place, new)
            place.rename(old)
        try:
            new.rename(place)
        except OSError:
            with contextlib.suppress(OSError):
                old.rename(place)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _keep(place: Path, new: Path) -> None:
    """Take over what is none of ours: exports, and what a person put there."""
    for found in place.iterdir():
        if found.name in (*_OURS, *_LEADERBOARD):
            continue
        if found.is_dir() and not found.is_symlink():
            shutil.copytree(found, new / found.name, symlinks=True)
        else:
            shutil.copy2(found, new / found.name, follow_symlinks=False)
