"""`hpo list`: what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.cli.shell import ListFormat
from hpo.live import terminal
from models.errors import UserError

if TYPE_CHECKING:
    from hpo.options import Described

Rows = list[dict[str, Any]]


class Kind(StrEnum):
    """The kinds of things that can be listed."""

    studies = "studies"
    families = "families"
    tasks = "tasks"
    spaces = "spaces"
    datasets = "datasets"
    samplers = "samplers"
    rules = "rules"
    runs = "runs"


@shell.command
def listing(
    what: Annotated[
        Kind,
        typer.Argument(
            metavar="WHAT",
            help="studies, families, tasks, spaces, datasets, samplers, rules, runs",
        ),
    ],
    format: Annotated[  # noqa: A002 - the option's name
        ListFormat, typer.Option("--format", help="How to print.")
    ] = ListFormat.table,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """List what there is of a kind, such as studies, samplers or runs."""
    from hpo.report import formats

    collect: Mapping[Kind, tuple[tuple[str, ...], Callable[[Path], Rows]]] = {
        Kind.studies: (("name", "path", "description"), _studies),
        Kind.families: (
            ("name", "tasks", "space", "closed_form", "description"),
            _families,
        ),
        Kind.tasks: (("name", "data", "settings", "description"), _tasks),
        Kind.spaces: (("space", "key", "values", "when"), _spaces),
        Kind.datasets: (
            ("name", "kind", "units", "score_from", "source", "needs", "summary"),
            _datasets,
        ),
        Kind.samplers: (("name", "options", "needs", "description"), _samplers),
        Kind.rules: (("name", "options", "needs", "description"), _rules),
        Kind.runs: (
            ("study", "run", "trials", "state", "best", "metric", "unit"),
            _runs,
        ),
    }
    heads, rows_of = collect[what]
    rows = rows_of(results)
    if format is ListFormat.json:
        shell.data(formats.json_text(rows))
    elif format is ListFormat.csv:
        shell.data(formats.csv_text([_flat(r) for r in rows], heads))
    elif rows:
        hidden = {"source", "score_from"}
        if what is Kind.datasets or not any(row.get("needs") for row in rows):
            hidden.add("needs")
        if what is Kind.families and all(row["space"] for row in rows):
            hidden.add("space")  # it would say yes throughout
        shown = [h for h in heads if h not in hidden]
        shell.out(shell.columns([_printable(r) for r in rows], shown))
    else:
        terminal.say(f"no {what}")
    for row in rows:
        if why := row.get("error"):
            terminal.say(f"{row['study']}/{row['run']}: {why}")


def _printable(row: Mapping[str, Any]) -> dict[str, Any]:
    """As a table shows it."""
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: Any) -> Any:
    """Yes and no, short floats, options, the ends of paths."""
    from hpo.report import numbers

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return numbers.short(value)
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return _options(value)
    return _end(value) if isinstance(value, Path) else value


def _end(path: Path) -> str:
    """A file and its folder; with dots where that is not in the current folder."""
    end = Path(*path.parts[-2:])
    here = end.exists() and end.samefile(path)
    return str(end) if here else f".../{end}"


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """As CSV holds it: options in one cell."""
    return {k: _options(v) if isinstance(v, dict) else v for k, v in row.items()}


def _options(options: Mapping[str, Any]) -> str:
    """Options as a person would write them; those without a default by name alone."""
    from hpo.report import numbers

    words = [
        name if value is None else f"{name}={numbers.short(value)}"
        for name, value in options.items()
    ]
    return ", ".join(words) or "–"


def _studies(results: Path) -> Rows:
    from hpo import discovery

    return [
        {"name": s.name, "path": s.path, "description": s.description}
        for s in discovery.studies()
    ]


def _families(results: Path) -> Rows:
    from hpo import discovery

    return [
        {
            "name": f.name,
            "tasks": list(f.tasks),
            "space": f.space,
            "closed_form": f.closed_form,
            "description": f.description,
        }
        for f in discovery.families()
    ]


def _tasks(results: Path) -> Rows:
    from hpo import discovery, packages

    rows: Rows = []
    for found in discovery.tasks():
        task = packages.task(found.name)
        settings = {k: v for k, v in task.to_json().items() if k != "name"}
        rows.append(
            {
                "name": found.name,
                "data": list(task.KINDS),
                "settings": settings,
                "description": found.description,
            }
        )
    return rows


def _spaces(results: Path) -> Rows:
    from hpo import discovery

    spaces = {}
    for name in (found.name for found in discovery.spaces()):
        spaces[name] = discovery.space(name)
        for task, space in discovery.further_spaces(name).items():
            spaces[f"{name} ({task})"] = space
    return [
        {"space": name, "key": key, "values": values, "when": when}
        for name, space in spaces.items()
        for key, values, when in space.rows()
    ]


def _datasets(results: Path) -> Rows:
    from hpo import packages

    return [
        {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}
        for found in map(packages.describe_dataset, packages.datasets())
    ]


def _samplers(results: Path) -> Rows:
    from hpo.search import registry

    return [_described(found) for found in registry.described()]


def _rules(results: Path) -> Rows:
    from hpo.stopping import registry

    return [_described(found) for found in registry.described()]


def _described(found: Described) -> dict[str, Any]:
    own = "; further options are its own" if found.rest else ""
    return {
        "name": found.name,
        "options": dict(found.options),
        "needs": f"extra {found.extra}" if found.extra else "",
        "description": found.summary + own,
    }


def _why(error: Exception) -> str:
    """A mistake's message; a bug's with its kind."""
    if isinstance(error, UserError):
        return error.message
    return f"{type(error).__name__}: {error}"


def _runs(results: Path) -> Rows:
    from hpo.ledger.folder import RunFolder
    from hpo.report.summary import load_summary

    rows: Rows = []
    for folder in RunFolder.list(results):
        row: dict[str, Any] = {"study": folder.study_name, "run": folder.name}
        try:
            summary = load_summary(folder.path)
        except Exception as error:  # whatever is wrong with one run hides no other
            rows.append({**row, "state": "unreadable", "error": _why(error)})
            continue
        best = summary.best
        rows.append(
            {
                **row,
                "trials": f"{len(summary.rows)}/{summary.planned}",
                "state": "finished" if summary.finished else "unfinished",
                "best": best.objective if best else None,
                "metric": summary.objective.metric,
                "unit": summary.objective.unit,
            }
        )
    return rows
