"""The verdict of a confirmation as the report tells it: words, table, and who stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpo.confirmation.reach import missing
from hpo.confirmation.record import DECIDED, Confirmation, Contender, Verdict
from hpo.confirmation.sentences import about, broader, optimism, verdict_sentence
from hpo.confirmation.sentences import headline as first_line
from hpo.pasted import pasted
from hpo.report import numbers
from hpo.report.families import Standing, mean_and_spread
from hpo.report.page import words
from hpo.report.page.content import Content
from hpo.report.page.headline import Headline
from hpo.report.summary import Summary
from hpo.statistics.means import Interval

_MOST = 3  # verdicts on the first screen; the others stand below


def headline(content: Content, found: Confirmation) -> Headline:
    """The first screen of a report with a verdict.

    Args:
        content: What the report tells.
        found: Its confirmation.
    """
    leader = found.contenders[0].family if found.contenders else ""
    mine = [p for p in found.pairs if leader in (p.a, p.b)]
    told = [
        ("" if i else "Verdict", verdict_sentence(found, pair))
        for i, pair in enumerate(mine[:_MOST])
    ]
    counts = sorted({c.count for c in found.contenders})
    each = (
        " to ".join(map(str, [counts[0], counts[-1]][: len(counts)]))
        if counts
        else "no"
    )
    unit = "searches" if found.unit_of == "search" else "new seeds"
    _, *caveats = about(found)
    more = missing(found)
    return Headline(
        first=(first_line(found),),
        settled=any(p.verdict in DECIDED for p in found.pairs),
        facts=(
            ("Compared", words.compared(content)),
            ("On", words.on(content)),
            *told,
            (
                "How sure",
                f"{each} {unit} each over the {found.part} part. {' '.join(caveats)}",
            ),
        ),
        commands=(
            (
                (
                    pasted("confirm", content.run, "--extend", more),
                    "adds the seeds that are missing",
                ),
            )
            if more
            else (
                (
                    broader(found),
                    "compares several searches: only that tells whether families differ",
                ),
            )
        ),
    )


def points(found: Confirmation) -> tuple[str, ...]:
    """Every verdict, what the search promised, and what all that is about."""
    return (
        *(verdict_sentence(found, pair) for pair in found.pairs),
        *(text for c in found.contenders if (text := optimism(found, c))),
        *about(found),
    )


def explained(found: Confirmation) -> str:
    """How the table of `cells` is read.

    Args:
        found: The confirmation.
    """
    unit = scale_of(found).unit
    part = f" and over the {found.part} part" if found.part != "valid" else ""
    return (
        f"{found.study.objectives[0].metric}{f' [{unit}]' if unit else ''} of new seeds over "
        f"the validation part{part}: mean ± standard deviation (number of seeds), with the "
        f"95 % interval of the mean over the {found.part} part; optimism likewise, positive "
        "where the search promised too much."
    )


def cells(found: Confirmation) -> list[dict[str, str]]:
    """A line a family, as people read it.

    Args:
        found: The confirmation.
    """
    objective = found.study.objectives[0]
    scale = scale_of(found)
    unit = f" [{scale.unit}]" if scale.unit else ""
    return [
        {
            "family": c.family,
            "trial": str(c.winner.trial),
            f"search, {objective.metric}{unit}": scale.format(c.winner.search),
            "validation": mean_and_spread(_valid(c), scale),
            found.part: mean_and_spread(_values(c), scale),
            "95 % interval": _interval(c.mean, scale),
            "optimism": _difference(c.winner.optimism, scale),
            "parameters": numbers.count(c.winner.parameters),
        }
        for c in found.contenders
    ]


def scale_of(found: Confirmation) -> numbers.Scale:
    """How the objective of a confirmation is printed."""
    told = [v for c in found.contenders for v in (*c.values, c.winner.search)]
    return numbers.scale_for(told, found.study.objectives[0].unit)


def _values(c: Contender) -> list[float | None]:
    return [*c.values, *([None] * c.failed)]


def _valid(c: Contender) -> list[float | None]:
    return [None if s.error else s.objective for s in c.winner.seeds]


def _interval(found: Interval | None, scale: numbers.Scale) -> str:
    if found is None or found.low is None or found.high is None:
        return "–"
    return f"{scale.format(found.low)} … {scale.format(found.high)}"


def _difference(found: Interval | None, scale: numbers.Scale) -> str:
    if found is None or found.low is None or found.high is None:
        return "–"
    return f"{scale.signed(found.low)} … {scale.signed(found.high)}"


def winners(found: Confirmation | None) -> frozenset[str]:
    """The family that the verdicts call better than every other one, if there is one."""
    if found is None or len(found.contenders) < 2:
        return frozenset()
    better = (Verdict.BETTER, Verdict.BETTER_OPEN)
    names = {c.family for c in found.contenders}
    beaten = {
        name: {p.b for p in found.pairs if p.a == name and p.verdict in better}
        for name in names
    }
    return frozenset(n for n in names if beaten[n] == names - {n})


def standings(
    summary: Summary, families: Sequence[Standing], found: Confirmation | None
) -> tuple[Standing, ...]:
    """The families for a paper: those of the verdict with their new seeds, else the search's.

    Args:
        summary: The run.
        families: Its families, as the search left them.
        found: Its confirmation; before a look of it is whole it says nothing.
    """
    if found is None or not found.look:
        return tuple(families)
    metric = summary.objective.metric
    known = {s.family: s for s in families}
    told = [
        replace(
            known[c.family],
            best=summary.row(c.winner.trial),
            fresh=tuple(_valid(c)),
            tested=tuple(
                None if s.error or not s.test else s.test.get(metric)
                for s in c.winner.seeds
            )
            if found.part == "test"
            else (),
        )
        for c in found.contenders
    ]
    named = {s.family for s in told}
    return (*told, *(s for s in families if s.family not in named))
