"""The report in GitHub's Markdown: the same words and tables, figures as links."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpo.report import formats
from hpo.report.page.drawing import Drawing
from hpo.report.page.parts import Part, overview, title
from hpo.report.page.sections import Section

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~!])")
_TOP = 100  # rows of trials; the whole table is in the CSV file


def render(parts: Sequence[Part]) -> str:
    """The report as Markdown.

    Args:
        parts: What it tells: one part, or several below an overview.
    """
    lines = []
    if len(parts) > 1:
        lines.append(f"# {plain(title(parts))}\n")
        for section in overview(parts):
            lines += _section(section, (), "")
    for part in parts:
        lines += _part(part)
    return "\n".join(lines).rstrip() + "\n"


def _part(part: Part) -> list[str]:
    head, described = part.headline, part.told.summary.study.description
    lines = [
        f"# {plain(part.title)}\n",
        *(f"**{plain(text)}**\n" for text in head.first),
        *(f"- {label or 'and'}: {plain(text)}" for label, text in head.facts),
        *(f"- next: `{command}` {does}" for command, does in head.commands),
        "",
        "## Trials\n" if part.trials is not None else "## Group\n",
        *([f"{plain(described)}\n"] if described else []),
        f"{plain(part.counted)}\n",
    ]
    if part.trials is not None:
        shown = part.trials.summary.select(top=_TOP)
        more = len(part.trials.summary.rows) - len(shown.rows)
        lines.append(formats.to_markdown(shown) if shown.rows else "")
        if more:
            lines.append(
                f"{more:,} more trials are in `{part.prefix}leaderboard.csv`.\n"
            )
    for section in part.sections:
        mine = [f for f in part.drawings if f.section == section.name]
        if mine or not section.empty:
            lines += _section(section, mine, part.prefix)
    return lines


def plain(text: str) -> str:
    """A text on one line that GitHub shows as it stands."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick that is never closed
        return _MARKS.sub(r"\\\1", "`".join(parts))
    return "".join(
        f"`{part}`" if i % 2 else _MARKS.sub(r"\\\1", part)
        for i, part in enumerate(parts)
    )


def _section(section: Section, figures: Sequence[Drawing], prefix: str) -> list[str]:
    lines = [f"## {section.title}\n", *(f"{plain(t)}\n" for t in section.texts)]
    if section.table is not None:
        rows = [[plain_cell(c) for c in line] for line in section.table.rows]
        lines.append(
            formats.markdown_table(section.table.heads, rows, right=section.table.right)
        )
    for figure in figures:
        lines.append(f"![{plain(figure.title)}]({prefix}figures/{figure.name}.png)\n")
        lines.append(f"{plain(figure.caption)}\n")
    lines += [f"- {plain(text)}" for text in section.points]
    if section.points:
        lines.append("")
    if section.blocks:
        names = [f"`{prefix}{name}`" for name, _ in section.blocks]
        lines.append(f"To be copied: {', '.join(names)}.\n")
    return lines


def plain_cell(text: str) -> str:
    """A cell; `markdown_table` itself escapes the bars."""
    return plain(text).replace("\\|", "|")
