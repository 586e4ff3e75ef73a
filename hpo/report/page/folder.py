"""The folder of a report: all of its files, there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpo.errors import RunError
from hpo.ledger.folder import RunFolder
from hpo.ledger.group import RunGroup
from hpo.report import formats, latex, rungs
from hpo.report.page import content, group, html, methods, text
from hpo.report.page.content import Content
from hpo.report.page.parts import Part, of_group, of_run, several

_OURS = (
    "index.html",
    "report.md",
    "paper.tex",
    "references.bib",
    "rungs.json",
    "figures",
    "runs",
)
_LEADERBOARD = tuple(f"leaderboard.{kind}" for kind in ("csv", "json", "parquet"))


def write(
    places: Sequence[RunFolder | RunGroup], *, results: Path, out: Path | None = None
) -> Path:
    """Write the report of runs and groups, and say where its page is.

    Whatever else lies in a run's ``report/``, such as an export, stays there.

    Args:
        places: One run or group, or several for one page.
        results: The folder of all results, where a page of several goes.
        out: A folder that is not there yet; None means the ``report/`` of the run or group,
            or ``reports/NAME`` below the results, where a report of before is replaced.

    Returns:
        The page's path.

    Raises:
        RunError: `out` is there already or cannot be written, or a run is damaged.
    """
    if out is not None and (out.exists() or out.is_symlink()):
        raise RunError(
            f"{out} is there already", hint="remove it or choose another with `--out`"
        )
    place = home(places, results) if out is None else out
    made = files(load(places))
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


def home(places: Sequence[RunFolder | RunGroup], results: Path) -> Path:
    """Where a report goes unless somebody says otherwise.

    Args:
        places: What it is of.
        results: The folder of all results.
    """
    if len(places) == 1:
        return RunFolder(places[0].path).report
    names = [f"{p.path.resolve().parent.name}/{p.name}" for p in places]
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=4).hexdigest()
    return results / "reports" / f"{len(places)}-runs-{digest}"


def load(places: Sequence[RunFolder | RunGroup]) -> tuple[Part, ...]:
    """Read runs and groups, and compute all that a report tells of them.

    Args:
        places: Their folders; only read.

    Raises:
        RunError: One is no run, or is damaged.
    """
    parts = [
        of_group(group.load(place))
        if isinstance(place, RunGroup)
        else of_run(content.load(place.path))
        for place in places
    ]
    return tuple(parts) if len(parts) == 1 else several(parts)


def files(parts: Sequence[Part]) -> dict[str, bytes]:
    """Every file of the report by its path in the folder.

    Args:
        parts: What the report tells.
    """
    figures, found = {}, {}
    for part in parts:
        for drawing in part.drawings:
            kinds = drawing.files()
            figures[f"{part.prefix}{drawing.name}"] = kinds["svg"]
            for kind, told in kinds.items():
                found[f"{part.prefix}figures/{drawing.name}.{kind}"] = told
        for name, told in _files(part).items():
            found[f"{part.prefix}{name}"] = told
    page, markdown = html.render(parts, figures), text.render(parts)
    return {
        **found,
        "report.md": markdown.encode(errors="replace"),
        "index.html": page.encode(errors="replace"),
    }


def _files(part: Part) -> dict[str, bytes]:
    """What a part has beside its figures."""
    found = {"references.bib": methods.bibtex(part.told).encode()}
    if part.trials is None:
        return found
    summary = part.trials.summary
    rows = formats.json_text(rungs.json_rows(summary.fidelity))
    return {
        **found,
        "leaderboard.json": formats.to_json(summary).encode(),
        "leaderboard.csv": formats.to_csv(summary).encode(),
        "leaderboard.parquet": _parquet(part.trials),
        "rungs.json": rows.encode(),
        "paper.tex": paper(part.trials).encode(),
    }


def paper(found: Content) -> str:
    """The methods and the families' table, for LaTeX.

    Args:
        found: What the report tells.
    """
    told = latex.escape(methods.paragraph(found))
    return f"{told}\n\n{methods.table(found)}"


def _parquet(found: Content) -> bytes:
    """The columns of ``leaderboard.csv``, each with the type of its values."""
    import pyarrow
    from pyarrow import csv, parquet

    table = csv.read_csv(
        io.BytesIO(formats.to_csv(found.summary).encode()),
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
