"""`hpo discover-categories`: groups of features, by their names or by how they vary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from models.protocols import FoundCategories


@shell.command
def discover_categories(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A dataset of independent rows, by name or path.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A new JSON file, for `groups` of a study's data.",
            show_default=False,
        ),
    ],
    feature_path: Annotated[
        str | None,
        typer.Option(
            "--feature-path",
            metavar="P",
            help="The array of features in the file; else the only one.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="WAY",
            help="`name` or `correlation`; else names where there are some.",
        ),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(
            "--registry",
            metavar="FILE",
            help="Categories of names as JSON; else the file's own.",
        ),
    ] = None,
    linkage: Annotated[
        str,
        typer.Option(
            "--linkage",
            metavar="NAME",
            help="`average`, `complete` or `ward`; else the best of them.",
        ),
    ] = "",
    least: Annotated[
        int,
        typer.Option("--least", metavar="K", help="Fewest clusters that are tried."),
    ] = 2,
    most: Annotated[
        int, typer.Option("--most", metavar="K", help="Most clusters that are tried.")
    ] = 25,
    smallest: Annotated[
        int,
        typer.Option(
            "--smallest",
            metavar="N",
            help="Columns a cluster needs; others are given away.",
        ),
    ] = 3,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="JSON",
            help="The study's `split`: only train rows are looked at.",
        ),
    ] = None,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Put constant columns into a group of their own."),
    ] = False,
    root: options.Data = None,
) -> None:
    """Group the features of a dataset, for models that code groups.

    By name where the file says which category a feature is of (a registry, or an array
    of group names); else by clustering 1 - |correlation| over the train rows. Clusters
    that are too small are given to the nearest before the best number is chosen.
    """
    from hpo import packages

    shell.refuse_existing(out)
    found = packages.categories_of(
        data,
        features=feature_path,
        by=by,
        registry=registry,
        split=None if split is None else _parsed(split),
        clean=clean,
        options={
            "linkage": linkage,
            "least": least,
            "most": most,
            "smallest": smallest,
        },
        root=root,
    )
    found.write(out)
    rows = [
        {"group": name, "columns": str(len(own))} for name, own in found.groups.items()
    ]
    shell.out(shell.columns(rows, ("group", "columns")))
    terminal.say(f"{out}: {_told(found)}")


def _parsed(split: str) -> Any:
    import json

    from hpo.errors import RunError

    try:
        return json.loads(split)
    except ValueError as error:
        raise RunError(
            f"`--split` must be JSON: {error}, got {split!r}",
            hint="""for example --split '{"seed": 0, "shares": [0.7, 0.1, 0.2]}'""",
        ) from error


def _told(found: FoundCategories) -> str:
    groups = f"{len(found.groups)} groups of {found.columns} features"
    if found.discovery is None:
        return f"{groups}, by name"
    how = found.discovery
    return (
        f"{groups}, by {how.linkage} linkage over {found.rows:,} train rows: silhouette "
        f"{how.silhouette:.3f}, {how.orphans} orphans, closest centroids |r| "
        f"{how.closest:.2f}"
    )
