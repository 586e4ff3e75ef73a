"""Arguments and options that several commands share, with their completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def complete_study(incomplete: str) -> list[tuple[str, str]]:
    """Studies whose name begins so, with their one-line descriptions."""
    from hpo.discovery import studies

    return [(s.name, s.description) for s in studies() if s.name.startswith(incomplete)]


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """`latest` and the names of studies and runs under the results folder."""
    from hpo.ledger.folder import RunFolder

    results = context.params.get("results") or Path("results")
    runs = RunFolder.list(results)
    names = [
        "latest",
        *dict.fromkeys(r.study_name for r in runs),
        *(r.name for r in runs),
    ]
    return [n for n in names if n.startswith(incomplete)]


StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A name in studies/, or the path of a study file.",
        autocompletion=complete_study,
        show_default=False,
    ),
]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, a study's name (its newest run), or `latest`.",
        autocompletion=complete_run,
        show_default=False,
    ),
]
LatestRun = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="A run's folder, a study's name (its newest run), or `latest`.",
        autocompletion=complete_run,
    ),
]
Results = Annotated[
    Path,
    typer.Option("--results", metavar="DIR", help="Where runs lie."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where real datasets lie, by name (else $HPO_DATA).",
        show_default=False,
    ),
]
DEFAULT_RESULTS = Path("results")
