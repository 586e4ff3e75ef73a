"""The page: one HTML file that asks nothing of anybody, readable without its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from hpo.report import hyperparameters, numbers, table
from hpo.report.page import sentences, style
from hpo.report.page.content import Content
from hpo.report.page.parts import Part, overview, title
from hpo.report.page.sections import Section
from hpo.report.page.svg import inlined
from hpo.report.summary import Row

_OPEN = 200
"""Rows of the table of trials that are laid out with the page; of 2,000, each a dozen cells, the
layout took most of the time to open. The others lie folded, until they are asked for."""

_PRINTED = 40
"""Rows of it on paper, as `page.css` has them; the whole table is in the CSV file."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as the page shows it.

    Attributes:
        name: That of its files.
        title: A few words.
        caption: What it shows.
        svg: The inlined picture, ready made.
    """

    name: str
    title: str
    caption: str
    svg: Any


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the table of trials.

    Attributes:
        text: What is read.
        value: What it is sorted by: a number, empty for a missing one; None for the text.
        kind: Its class.
        key: The colour of the mark before it.
        code: Whether it is a command.
    """

    text: str
    value: str | None = None
    kind: str = ""
    key: str = ""
    code: bool = False


def render(parts: Sequence[Part], figures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        parts: What it tells: one part, or several below an overview.
        figures: The SVG of each drawing, by part's prefix and name.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ticked"] = _ticked
    css, script = _asset("page.css"), _asset("page.js")
    return environment.from_string(_asset("page.html")).render(
        policy=policy(css, script),
        style=Markup(css),
        script=Markup(script),
        title=title(parts),
        overview=_with_figures(overview(parts), {}) if len(parts) > 1 else (),
        parts=[_part(part, figures) for part in parts],
    )


def _part(part: Part, figures: Mapping[str, bytes]) -> dict[str, Any]:
    """What the template needs of a part."""
    from markupsafe import Markup

    pictures: dict[str, list[Picture]] = {}
    for drawing in part.drawings:
        label = f"{drawing.title}. {drawing.caption}"
        svg = figures[f"{part.prefix}{drawing.name}"]
        made = Markup(inlined(svg, name=f"{part.key}{drawing.name}", label=label))
        pictures.setdefault(drawing.section, []).append(
            Picture(
                name=drawing.name,
                title=drawing.title,
                caption=drawing.caption,
                svg=made,
            )
        )
    heads, rows = ([], []) if part.trials is None else _leaderboard(part.trials)
    return {
        "title": part.title,
        "key": part.key,
        "prefix": part.prefix,
        "headline": part.headline,
        "description": part.told.summary.study.description,
        "counted": part.counted,
        "heads": heads,
        "rows": rows[:_OPEN],
        "rest": rows[_OPEN:],
        "cut": f"On paper at most {_PRINTED} rows stand here; all {len(rows):,} trials are in "
        f"{part.prefix}leaderboard.csv."
        if len(rows) > _PRINTED
        else "",
        "listed": "Trials" if part.trials is not None else "Group",
        "sections": _with_figures(part.sections, pictures),
    }


def _ticked(text: str) -> Any:
    """A text with commands and names in backticks set as code; everything is escaped."""
    from markupsafe import Markup, escape

    parts = text.split("`")
    if len(parts) % 2 == 0:  # one that is never closed
        return escape(text)
    pieces = [
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    ]
    return Markup("").join(pieces)


def policy(css: str, script: str) -> str:
    """The content security policy: nothing but this very style sheet and script."""

    def sum_of(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {sum_of(css)}; script-src {sum_of(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return resources.files("hpo.report.page").joinpath(name).read_text(encoding="utf-8")


def _with_figures(
    found: Sequence[Section], pictures: Mapping[str, Sequence[Picture]]
) -> list[dict[str, Any]]:
    """The sections that have anything to show."""
    told = []
    for section in found:
        figures = pictures.get(section.name, ())
        if figures or not section.empty:
            told.append({**vars(section), "figures": figures})
    return told


def _leaderboard(content: Content) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Heads and rows of the table of trials."""
    summary = content.summary
    objective = summary.objective
    scale = numbers.scale_for([r.objective for r in summary.rows], objective.unit)
    unit = f" [{scale.unit}]" if scale.unit else ""
    further = table.further_columns(summary)
    size = any(head == "parameters" for head, _ in further)
    heads = [
        *("rank", *(["front"] if further else []), "trial", "family"),
        f"{objective.metric}{unit}",
        *(head for head, _ in further),
        *("epochs", "seconds", *(() if size else ("parameters",)), "state"),
        *("hyperparameters", "command"),
    ]
    text = {"family", "state", "hyperparameters", "command"}
    looks = style.looks([f.name for f in summary.study.families])
    short = numbers.short_names(k for row in summary.rows for k in row.params)
    rows = []
    for i, row in enumerate(summary.rows):
        cells = [
            _number(str(row.rank or "–"), row.rank),
            *([_number(str(row.front or "–"), row.front)] if further else []),
            _number(str(row.trial), row.trial),
            Cell(text=row.family, key=style.ROLES[looks[row.family].colour]),
            _number(scale.format(row.objective), row.objective),
            *(
                _number(column[i], row.values[place] if row.values else None)
                for place, (_, column) in enumerate(further, 1)
            ),
            _number(f"{row.epochs}/{row.epoch_budget}", row.epochs),
            _number(numbers.seconds(row.seconds), row.seconds),
            *([] if size else [_number(numbers.count(row.parameters), row.parameters)]),
            Cell(text=_state(content, row), kind="told"),
            Cell(text=_hyperparameters(row, short), kind="wide"),
            Cell(text=sentences.row_command(content, row.trial), code=True),
        ]
        rows.append(
            {"trial": row.trial, "ranked": row.rank is not None, "cells": cells}
        )
    return [{"text": h, "number": h not in text} for h in heads], rows


def _number(text: str, value: float | None) -> Cell:
    return Cell(text=text, value="" if value is None else f"{value!r}", kind="n")


def _state(content: Content, row: Row) -> str:
    over = table.over_limits(row, content.summary.study.objectives)
    adopted = [hyperparameters.adopted(row)] if row.exploits else []
    return "; ".join([row.why or row.state, *over, *adopted, *row.notes])


def _hyperparameters(row: Row, short: Mapping[str, str]) -> str:
    return ", ".join(hyperparameters.told(row, short))
