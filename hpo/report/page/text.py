"""The report in GitHub's Markdown: the same words and tables, figures as links."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpo.report import formats
from hpo.report.page import sentences
from hpo.report.page.content import Content
from hpo.report.page.drawing import Drawing
from hpo.report.page.sections import Section, sections

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~!])")
_TOP = 100  # rows of trials; the whole table is in the CSV file


def render(content: Content, figures: Sequence[Drawing]) -> str:
    """The report as Markdown.

    Args:
        content: What it tells.
        figures: Its figures.
    """
    head = sentences.headline(content)
    shown = content.summary.select(top=_TOP)
    more = len(content.summary.rows) - len(shown.rows)
    lines = [
        f"# {plain(sentences.title(content))}\n",
        *(f"**{plain(text)}**\n" for text in head.first),
        *(f"- {label or 'and'}: {plain(text)}" for label, text in head.facts),
        *(f"- next: `{command}` {does}" for command, does in head.commands),
        "",
        "## Trials\n",
        *(
            [f"{plain(content.summary.study.description)}\n"]
            if content.summary.study.description
            else []
        ),
        f"{plain(sentences.counted(content))}\n",
        formats.to_markdown(shown) if shown.rows else "",
        *([f"{more:,} more trials are in `leaderboard.csv`.\n"] if more else []),
    ]
    for section in sections(content):
        mine = [f for f in figures if f.section == section.name]
        if mine or not section.empty:
            lines += _section(section, mine)
    return "\n".join(lines).rstrip() + "\n"


def plain(text: str) -> str:
    """A text on one line that GitHub shows as it stands."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick that is never closed
        return _MARKS.sub(r"\\\1", "`".join(parts))
    return "".join(
        f"`{part}`" if i % 2 else _MARKS.sub(r"\\\1", part)
        for i, part in enumerate(parts)
    )


def _section(section: Section, figures: Sequence[Drawing]) -> list[str]:
    lines = [f"## {section.title}\n", *(f"{plain(t)}\n" for t in section.texts)]
    lines += [f"- {plain(text)}" for text in section.points]
    if section.points:
        lines.append("")
    if section.table is not None:
        rows = [[plain_cell(c) for c in line] for line in section.table.rows]
        lines.append(
            formats.markdown_table(section.table.heads, rows, right=section.table.right)
        )
    for figure in figures:
        lines.append(f"![{plain(figure.title)}](figures/{figure.name}.png)\n")
        lines.append(f"{plain(figure.caption)}\n")
    if section.name == "paper":
        lines.append(
            "The table is in `paper.tex`, the citations in `references.bib`.\n"
        )
    return lines


def plain_cell(text: str) -> str:
    """A cell; `markdown_table` itself escapes the bars."""
    return plain(text).replace("\\|", "|")
