"""Figures of the searched space: a family's trials along each hyperparameter, and what mattered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.report import numbers
from hpo.report.importance import Importance
from hpo.report.page import style
from hpo.report.page.content import Content
from hpo.report.page.draw_results import axis_of, plain_ticks, whole_ticks
from hpo.report.page.drawing import Drawing
from hpo.report.page.panels import Slice, spread
from hpo.report.page.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 12  # panels of a family
_JITTER = (0.0, 0.12, -0.12, 0.06, -0.06, 0.18, -0.18)


def slices(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """A figure a family, with a panel a hyperparameter."""
    short = numbers.short_names(s.name for s in content.slices)
    found = []
    for standing in content.families:
        mine = [s for s in content.slices if s.family == standing.family]
        if not mine:
            continue
        left = mine[0].left_out
        out = f" {left:,} of them are left out of the figure." if left else ""
        more = len(mine) - _MOST
        out += f" {more} more hyperparameters are in the CSV file." if more > 0 else ""
        rows = (r for r in content.summary.rows if r.family == standing.family)
        if any(r.schedule for r in rows):
            out += " Values that changed in training stand where they began."
        found.append(
            Drawing(
                name=f"slices-{standing.family}",
                section="space",
                title=f"Hyperparameters of {standing.family}",
                caption="Full marks are ranked trials, hollow ones were cut, did not end "
                f"well or are not done; each at its best epoch.{out}",
                heads=("hyperparameter", "trial", "place", "choice", "value", "ranked"),
                rows=[
                    {
                        "hyperparameter": s.name,
                        "trial": trial,
                        "place": place,
                        "choice": s.choices[int(place)] if s.choices else None,
                        "value": value,
                        "ranked": int(ranked),
                    }
                    for s in mine
                    for trial, place, value, ranked in s.points
                ],
                draw=_slices(content, mine[:_MOST], looks[standing.family], short),
            )
        )
    return found


def _slices(
    content: Content, mine: Sequence[Slice], look: Look, short: Mapping[str, str]
) -> Callable[[], Figure]:
    def draw() -> Figure:
        columns = min(2, len(mine))
        lines = -(-len(mine) // columns)
        made = style.figure(height=0.35 + 1.75 * lines)
        told = [v for s in mine for _, _, v, _ in s.points]
        scale, label = axis_of(content, told)
        found = made.subplots(lines, columns, squeeze=False, sharey=True)
        for place, axes in enumerate(found.flat):
            if place >= len(mine):
                axes.remove()
                continue
            style.dressed(axes)
            _slice(axes, mine[place], look, scale)
            axes.set_xlabel(style.clipped(short[mine[place].name], 25))
            if spread(told):
                axes.set_yscale("log")
                plain_ticks(axes.yaxis)
        made.supylabel(label, fontsize="medium")
        return made

    return draw


def _slice(axes: Axes, found: Slice, look: Look, scale: numbers.Scale) -> None:
    for whole in (False, True):
        points = [p for p in found.points if p[3] is whole]
        x = [p[1] for p in points]
        if found.choices:
            x = [v + _JITTER[i % len(_JITTER)] for i, v in enumerate(x)]
        axes.plot(
            x,
            [p[2] * scale.factor for p in points],
            look.marker,
            color=look.colour,
            markerfacecolor=look.colour if whole else "none",
            ms=3.5,
            alpha=0.9 if whole else 0.55,
            mew=0.8,
        )
    if found.choices:
        names = [style.clipped(c, 10) for c in found.choices]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        if len(names) > 4:
            axes.tick_params(axis="x", labelrotation=45)
    elif found.log:
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    elif all(float(place).is_integer() for _, place, _, _ in found.points):
        whole_ticks(axes)


def importance(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """A figure a family with trials enough: importance against what permuted values give."""
    found = [i for i in content.importances if i.values and i.bar is not None]
    return [
        Drawing(
            name=f"importance-{i.family}",
            section="space",
            title=f"What mattered in {i.family}",
            caption=f"PED-ANOVA importance for being among the best {i.best} of {i.trials} "
            "trials with the whole budget. Left of the line chance does as well: it is what "
            "the largest importance of permuted values stays below in 95 % of cases.",
            heads=("hyperparameter", "importance", "bar"),
            rows=[
                {"hyperparameter": name, "importance": value, "bar": i.bar}
                for name, value in i.values.items()
            ],
            draw=_importance(i, looks[i.family]),
        )
        for i in found
    ]


def _importance(found: Importance, look: Look) -> Callable[[], Figure]:
    def draw() -> Figure:
        shown = [*found.values.items()][:_MOST]
        bar = found.bar or 0.0
        made = style.figure(height=0.8 + 0.27 * len(shown))
        axes = style.axes(made)
        for place, (_, value) in enumerate(shown):
            axes.barh(
                place,
                value,
                height=0.6,
                facecolor=look.colour if value > bar else "none",
                edgecolor=look.colour,
            )
        axes.axvline(bar, color=style.INK, lw=1, linestyle=(0, (3, 2)))
        short = numbers.short_names(found.values)
        names = [style.clipped(short[name], 24) for name, _ in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, None)
        axes.set_xlabel("importance")
        return made

    return draw
