"""A confirmation as the terminal shows it: the verdict first, then a line a family."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.text import Text

from hpo.confirmation.record import Confirmation, Contender
from hpo.confirmation.sentences import about, headline, optimism, verdict_sentence
from hpo.report import numbers
from hpo.statistics.means import Interval

_LEFT = ("family",)
# What goes first where the terminal is narrow.
_SPARED = ("parameters", "rank", "95 %", "validation", "search")


def render(found: Confirmation, *, width: int = 80) -> Text:
    """Verdict, families, pairs, and what all that is about.

    Args:
        found: The confirmation.
        width: Columns of the terminal.
    """
    lines = [Text(line, style="bold") for line in _wrapped(headline(found), width)]
    if found.look:
        lines += [Text(), *_table(found, width)]
    blocks = [
        [verdict_sentence(found, pair) for pair in found.pairs],
        [text for c in found.contenders if (text := optimism(found, c))],
        about(found),
    ]
    for block in blocks:
        if block:
            lines.append(Text())
            lines += [Text(line) for text in block for line in _wrapped(text, width)]
    return Text("\n").join(lines)


def _table(found: Confirmation, width: int) -> list[Text]:
    objective = found.study.objectives[0]
    values = [v for c in found.contenders for v in c.values]
    seen = [w.search for c in found.contenders for w in c.winners]
    scale = numbers.scale_for([*values, *seen], objective.unit)
    rows = [_cells(found, c, scale) for c in found.contenders]
    if not rows:
        return []
    heads = [h for h in rows[0] if any(row[h] for row in rows)]
    for spared in _SPARED:
        if _width(rows, heads) > width and spared in heads:
            heads.remove(spared)
    unit = f" [{scale.unit}]" if scale.unit else ""
    each = "search" if found.unit_of == "search" else "new seed"
    title = f"{objective.metric}{unit}, mean ± standard deviation, one value a {each}"
    widths = {h: max(len(h), *(len(row[h]) for row in rows)) for h in heads}

    def line(cells: dict[str, str]) -> str:
        fitted = (
            cells[h].ljust(widths[h]) if h in _LEFT else cells[h].rjust(widths[h])
            for h in heads
        )
        return "  ".join(fitted).rstrip()

    head = line({h: h for h in heads})
    body = [Text(line(row)) for row in rows]
    titles = [Text(text) for text in _wrapped(title, width)]
    return [*titles, Text(head, style="bold"), Text("─" * _width(rows, heads)), *body]


def _cells(found: Confirmation, c: Contender, scale: numbers.Scale) -> dict[str, str]:
    single = len(c.winners) == 1
    winner = c.winner
    test = found.part == "test"
    mean = c.mean
    failed = f"{c.failed} of {c.count} failed" if c.failed else ""
    interval = ""
    if mean is not None and mean.low is not None and mean.high is not None:
        interval = f"{scale.format(mean.low)} … {scale.format(mean.high)}"
    return {
        "family": c.family,
        "trial": str(winner.trial) if single else "",
        "rank": str(winner.rank or "–") if single else "",
        "search": scale.format(winner.search) if single else "",
        "validation": _mean(winner.valid, scale) if single and test else "",
        "test" if test else "confirmed": failed or _mean(mean, scale),
        "95 %": interval,
        "n": str(c.count),
        "parameters": numbers.count(winner.parameters) if single else "",
    }


def _mean(interval: Interval | None, scale: numbers.Scale) -> str:
    if interval is None:
        return "–"
    mean = scale.format(interval.mean)
    if interval.deviation is None:
        return mean
    return f"{mean} ± {scale.format(interval.deviation)}"


def _width(rows: Sequence[dict[str, str]], heads: Sequence[str]) -> int:
    widths = (max(len(h), *(len(row[h]) for row in rows)) for h in heads)
    return sum(widths) + 2 * (len(heads) - 1)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, break_long_words=False, break_on_hyphens=False
    ) or [""]
