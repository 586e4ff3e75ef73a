"""The sections and figures of a group's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpo.confirmation.record import Confirmation
from hpo.confirmation.sentences import about, verdict_sentence
from hpo.report import numbers
from hpo.report.page import draw_verdict, draw_windows, group, methods, sections, style
from hpo.report.page.draw_results import axis_of, plain_ticks
from hpo.report.page.drawing import Drawing
from hpo.report.page.group import GroupContent
from hpo.report.page.panels import spread
from hpo.report.page.sections import Section, Table
from hpo.report.page.style import Look
from hpo.report.page.words import many, tuned_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def group_sections(content: GroupContent) -> tuple[Section, ...]:
    """Every section, in the order of the page.

    Args:
        content: What the page tells.
    """
    return (
        _verdict(content),
        sections.windows(content),
        Section(
            name="families",
            title="Families over the searches",
            table=sections.table(group.family_cells(content), left=("family",)),
        ),
        Section(
            name="searches",
            title="Searches",
            table=sections.table(
                group.search_cells(content), left=("state", "command")
            ),
        ),
        Section(
            name="paper",
            title="For a paper",
            texts=(paragraph(content),),
            blocks=(("references.bib", methods.bibtex(content)),),
        ),
        Section(
            name="provenance",
            title="Provenance",
            table=Table(
                heads=("what", "value"), rows=_provenance(content), kind="wide"
            ),
        ),
    )


def _verdict(content: GroupContent) -> Section:
    found = content.verdict
    if found is None or not found.contenders:
        return Section(name="verdict", title="Verdict")
    cells = group.verdict_cells(found, content)
    return Section(
        name="verdict",
        title="Verdict",
        points=(*(verdict_sentence(found, p) for p in found.pairs), *about(found)),
        table=sections.table(cells, left=("family",)),
    )


def _provenance(content: GroupContent) -> list[tuple[str, str]]:
    seeds = ", ".join(str(s.summary.study.seed) for s in content.searches)
    own = {"run": ("group", content.run), "seed": ("seeds", seeds)}
    return [
        own.get(name, (name, text))
        for name, text in sections.provenance(content)
        if text
    ]


def paragraph(content: GroupContent) -> str:
    """Searches, seeds, test part and verdict, in the sentences of a paper.

    Args:
        content: What the page tells.
    """
    study = content.summary.study
    families = ", ".join(
        f"{s.family} ({many(s.trials, 'trial')}, {many(s.epochs, 'epoch')} and "
        f"{numbers.seconds(s.seconds)} s in all)"
        for s in content.families
    )
    rules = ", ".join(r.name for r in study.stopping) or "no rule"
    return " ".join(
        [
            f"We searched {len(content.searches)} times, each time with a seed of its own, "
            f"and tuned {families} by {tuned_by(study)} over the validation part, at the "
            "best epoch of each trial.",
            f"Configurations were proposed by `{study.sampler.name}` and trials ended early "
            f"by {rules}.",
            *_confirmed(content.verdict),
            *methods.data(content),
            *methods.machine(content.provenance),
        ]
    )


def _confirmed(found: Confirmation | None) -> list[str]:
    if found is None:
        return ["Every configuration was trained once."]
    seeds = sorted({len(w.seeds) for c in found.contenders for w in c.winners})
    each = " to ".join(map(str, [seeds[0], seeds[-1]][: len(seeds)])) if seeds else "no"
    return [
        f"The winner of each family in each search was trained with {each} new seeds, "
        f"disjoint from those of the searches; their mean over the {found.part} part is one "
        "value a search, and the search is the unit: Welch's t intervals, simultaneous over "
        "all pairs, on logarithms where errors are compared; differences below "
        f"{found.matters} do not matter.",
        *(verdict_sentence(found, pair) for pair in found.pairs),
        *about(found),
    ]


def group_drawings(content: GroupContent) -> tuple[Drawing, ...]:
    """The figures that there is data for.

    Args:
        content: What the page tells.
    """
    looks = style.looks([f.name for f in content.summary.study.families])
    makers = (
        draw_verdict.confirmed,
        draw_verdict.pairs,
        draw_windows.windows,
    )
    shared = [drawing for make in makers for drawing in make(content, looks)]
    return (*shared, *_searches(content, looks))


def _searches(content: GroupContent, looks: Mapping[str, Look]) -> list[Drawing]:
    """The value of each family's winner, search by search."""
    rows: list[dict[str, Any]] = [
        {
            "search": s.place,
            "seed": s.summary.study.seed,
            "family": f.family,
            "value": value,
        }
        for f in content.families
        for s in content.searches
        if (value := s.value(f.family)) is not None
    ]
    if not rows:
        return []
    return [
        Drawing(
            name="searches",
            section="families",
            title="Winners, search by search",
            caption="Each mark is the best trial of a family in one search, over the "
            "validation part: one seed each. A line joins the families of a search.",
            heads=("search", "seed", "family", "value"),
            rows=rows,
            draw=lambda: _draw(content, rows, looks),
        )
    ]


def _draw(
    content: GroupContent, rows: Sequence[Mapping[str, Any]], looks: Mapping[str, Look]
) -> Figure:
    names = [s.family for s in content.families]
    made = style.figure(height=0.9 + 0.42 * len(names))
    axes = style.axes(made)
    values = [r["value"] for r in rows]
    scale, label = axis_of(content, values)
    for search in {r["search"]: None for r in rows}:
        mine = [r for r in rows if r["search"] == search]
        axes.plot(
            [r["value"] * scale.factor for r in mine],
            [names.index(r["family"]) for r in mine],
            "-", color=style.GRID, lw=1, zorder=1,
        )  # fmt: skip
    for place, name in enumerate(names):
        look = looks[name]
        told = [r["value"] * scale.factor for r in rows if r["family"] == name]
        axes.plot(
            told, [place] * len(told), look.marker, color=look.colour, ms=5, alpha=0.75
        )
    axes.set_yticks(range(len(names)), [style.clipped(n, 18) for n in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(label)
    if spread(values):
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    return made
