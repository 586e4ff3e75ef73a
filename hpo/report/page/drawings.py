"""Every figure of a report, in the order of the page."""

from __future__ import annotations

from hpo.report.page import (
    draw_results,
    draw_search,
    draw_space,
    draw_verdict,
    draw_windows,
    style,
)
from hpo.report.page.content import Content
from hpo.report.page.drawing import Drawing


def drawings(content: Content) -> tuple[Drawing, ...]:
    """The figures that there is data for.

    Args:
        content: What the report tells.
    """
    looks = style.looks([f.name for f in content.summary.study.families])
    makers = (
        draw_verdict.confirmed,
        draw_verdict.pairs,
        draw_verdict.best_of,
        draw_windows.windows,
        draw_results.families,
        draw_search.curves,
        draw_search.progress,
        draw_results.fronts,
        draw_space.importance,
        draw_space.slices,
        draw_search.rungs,
        draw_search.timeline,
    )
    return tuple(found for make in makers for found in make(content, looks))
