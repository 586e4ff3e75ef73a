"""Tables for a paper: LaTeX with `booktabs`, whatever the names are."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from hpo.report import families as standing
from hpo.report import hyperparameters, numbers
from hpo.report.families import Standing
from hpo.report.summary import Summary

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "±": r"$\pm$",
    "µ": r"\textmu{}",
    "Ω": r"$\Omega$",
    "²": r"$^2$",
    "×": r"$\times$",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\to$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}
_TO_ESCAPE = re.compile("[" + re.escape("".join(_SPECIAL)) + "]")


def escape(text: str) -> str:
    """A text that LaTeX prints as it stands; line breaks become blanks."""
    plain = " ".join(text.split())
    return _TO_ESCAPE.sub(lambda found: _SPECIAL[found[0]], plain)


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    label: str,
    right: Set[int] = frozenset(),
    bold: Set[tuple[int, int]] = frozenset(),
) -> str:
    """A `booktabs` table; everything in it is escaped.

    Args:
        heads: The columns' names.
        rows: Cells, as many as heads.
        caption: What it shows.
        label: Its name for references, of letters, digits and ``:_-``.
        right: Positions of the columns aligned to the right.
        bold: Row and column of the cells that stand out.
    """
    spec = "".join("r" if i in right else "l" for i in range(len(heads)))
    body = [
        " & ".join(
            rf"\textbf{{{escape(cell)}}}" if (y, x) in bold else escape(cell)
            for x, cell in enumerate(row)
        )
        + r" \\"
        for y, row in enumerate(rows)
    ]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9:_-]', '-', label)}}}",
            rf"  \begin{{tabular}}{{{spec}}}",
            r"    \toprule",
            "    " + " & ".join(map(escape, heads)) + r" \\",
            r"    \midrule",
            *(f"    {line}" for line in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def families(
    summary: Summary,
    found: Sequence[Standing],
    *,
    winners: Set[str] = frozenset(),
    about: str = "",
) -> str:
    """The families of a run as a table.

    Args:
        summary: The run.
        found: Its families.
        winners: Those that a verdict calls better than every other one; nobody else is bold.
        about: What the values of fresh seeds are, for the caption.
    """
    lines = standing.cells(summary, found)
    heads = list(lines[0])
    spread = {"fresh seeds", "test"} & {*heads}
    caption = (
        f"{summary.study.name}: the best trial of each family by "
        f"{summary.objective.metric} over the validation part"
        + ("; mean ± standard deviation (number of seeds)" if spread else "")
        + (f", {about}" if about else "")
        + ". "
        + (
            "Bold: better than every other family by the confirmation."
            if winners
            else "One training each: nothing is settled, so nothing is bold."
            if not spread
            else "No verdict names a winner, so nothing is bold."
        )
    )
    value = heads.index("test") if "test" in heads else 1
    return table(
        heads,
        [list(line.values()) for line in lines],
        caption=caption,
        label=f"{summary.study.name}-families",
        right={*range(1, len(heads))},
        bold={(y, value) for y, s in enumerate(found) if s.family in winners},
    )


def trials(summary: Summary) -> str:
    """The trials of a summary, as `hpo results` ranks them.

    Args:
        summary: The rows to print.
    """
    objective = summary.objective
    scale = numbers.scale_for([r.objective for r in summary.rows], objective.unit)
    short = numbers.short_names(k for r in summary.rows for k in r.params)
    unit = f" [{scale.unit}]" if scale.unit else ""
    value = f"{objective.metric}{unit}"
    heads = [
        *("rank", "trial", "family", value),
        *("epochs", "parameters", "state", "hyperparameters"),
    ]
    rows = [
        [
            str(row.rank or "–"),
            str(row.trial),
            row.family,
            scale.format(row.objective),
            f"{row.epochs}/{row.epoch_budget}",
            numbers.count(row.parameters),
            row.why or str(row.state),
            ", ".join(hyperparameters.told(row, short)),
        ]
        for row in summary.rows
    ]
    return table(
        heads,
        rows,
        caption=f"{summary.study.name}: trials by {objective.metric} over the validation "
        "part, one training each.",
        label=f"{summary.study.name}-trials",
        right={0, 1, 3, 4, 5},
    )
