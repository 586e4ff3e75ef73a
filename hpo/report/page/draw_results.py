"""Figures of what came out: the families' values with intervals, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpo.report import numbers
from hpo.report.page import style
from hpo.report.page.content import Content
from hpo.report.page.drawing import Drawing
from hpo.report.page.panels import POINTS, Spot, spread, thinned
from hpo.report.page.style import Look
from hpo.report.page.told import Told
from hpo.statistics.means import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL = 30  # characters along the height of a figure


def axis_of(content: Told, values: Sequence[float]) -> tuple[numbers.Scale, str]:
    """The scale of an axis of the objective, and its label: a long one keeps its unit."""
    objective = content.summary.objective
    scale = numbers.scale_for(values, objective.unit)
    unit = style.clipped(f" [{scale.unit}]", 16) if scale.unit else ""
    return scale, style.clipped(objective.metric, _LABEL - len(unit)) + unit


def families(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """Every family's ranked trials, its best one, and fresh seeds with their interval."""
    ranked = [r for r in content.summary.rows if r.rank and r.objective is not None]
    if not ranked:
        return []
    rows: list[dict[str, Any]] = [
        {"family": r.family, "what": "trial", "trial": r.trial, "value": r.objective}
        for r in ranked
    ]
    for s in content.families:
        for part, values in (("fresh seed", s.fresh), ("test", s.tested)):
            trial = s.best.trial if s.best else None
            rows += [
                {"family": s.family, "what": part, "trial": trial, "value": v}
                for v in values
            ]

    def draw() -> Figure:
        height = 0.9 + 0.42 * len(content.families)
        made = style.figure(height=height)
        _families(style.axes(made), content, rows, looks)
        return made

    fresh = any(s.fresh for s in content.families)
    return [
        Drawing(
            name="families",
            section="families",
            title="Values by family",
            caption="Each small mark is a ranked trial, the large one the family's best: "
            "one seed each, over the validation part."
            + _left_out(len(ranked))
            + (
                " The line below is the mean of fresh seeds of the best trial with its 95 % "
                "interval (Student's t)."
                if fresh
                else ""
            ),
            heads=("family", "what", "trial", "value"),
            rows=rows,
            draw=draw,
        )
    ]


def _left_out(count: int) -> str:
    """A word on trials that the picture leaves out; the CSV file has them all."""
    if count <= POINTS:
        return ""
    return (
        f" Of a family with more than {POINTS} the best and every n-th other are drawn."
    )


def _families(
    axes: Axes,
    content: Content,
    rows: Sequence[Mapping[str, Any]],
    looks: Mapping[str, Look],
) -> None:
    values = [r["value"] for r in rows if r["value"] is not None]
    scale, label = axis_of(content, values)
    names = [s.family for s in content.families]
    for place, standing in enumerate(content.families):
        look = looks[standing.family]
        mine = [
            r["value"] * scale.factor
            for r in rows
            if r["family"] == standing.family and r["what"] == "trial"
        ]
        mine = list(thinned(mine))
        axes.plot(
            mine,
            [place] * len(mine),
            look.marker,
            color=look.colour,
            ms=3.5,
            alpha=0.55,
        )
        if standing.best and standing.best.objective is not None:
            best = standing.best.objective * scale.factor
            axes.plot([best], [place], look.marker, color=look.colour, ms=7.5)
        found = mean_interval([v for v in standing.fresh if v is not None])
        if found is not None:
            low = found.mean if found.low is None else found.low
            high = found.mean if found.high is None else found.high
            ends = [low * scale.factor, high * scale.factor]
            axes.plot(ends, [place + 0.28] * 2, "-", color=style.INK, lw=1.4)
            mean = [found.mean * scale.factor]
            axes.plot(mean, [place + 0.28], "|", color=style.INK, ms=8, mew=1.6)
    axes.set_yticks(range(len(names)), [style.clipped(n, 18) for n in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(label)
    if spread(values):
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)


def plain_ticks(axis: Any) -> None:
    """Numbers such as 20 and 0.5 at a logarithmic axis, where powers of ten are too few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axis.get_view_interval()
    ratio = high / low if low > 0 else 1e9
    subs = (1.0,) if ratio > 300 else (1.0, 3.0) if ratio > 30 else (1.0, 2.0, 5.0)
    axis.set_major_locator(
        LogLocator(subs=subs, numticks=6)
        if ratio > 6  # else it may fall on none of those, and takes too many others
        else MaxNLocator(nbins=3)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(float(value))))
    axis.set_minor_locator(NullLocator())  # half the time of drawing a small panel


def _tick(value: float) -> str:
    """A tick's number: 0.02, 20, 20,000, 1e-5."""
    if 1000 <= value < 1e6:
        return f"{value:,.0f}"
    return numbers.short(value)


def whole_ticks(axes: Axes) -> None:
    """Whole numbers along x, such as epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def fronts(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """Accuracy against size, and against the time of training."""
    found = []
    for name, what, label, spots in (
        ("size", "parameters", "trained parameters", content.size),
        ("cost", "seconds", "training and validation [s]", content.cost),
    ):
        if len(spots) < 2:
            continue
        found.append(
            Drawing(
                name=name,
                section="costs",
                title=f"Accuracy against {what}",
                caption="Ranked trials; the line joins those that no other one beats in "
                f"both.{_left_out(len(spots))}",
                heads=("trial", "family", what, "value", "front"),
                rows=[
                    {
                        "trial": s.trial,
                        "family": s.family,
                        what: s.cost,
                        "value": s.value,
                        "front": int(s.front),
                    }
                    for s in spots
                ],
                draw=_front(content, spots, label, looks),
            )
        )
    return found


def _front(
    content: Content, spots: Sequence[Spot], label: str, looks: Mapping[str, Look]
) -> Any:
    def draw() -> Figure:
        made = style.figure()
        axes = style.axes(made)
        scale, value_label = axis_of(content, [s.value for s in spots])
        joined = sorted((s.cost, s.value * scale.factor) for s in spots if s.front)
        axes.plot(*zip(*joined, strict=True), "-", color=style.QUIET, lw=1, zorder=1)
        for family, look in looks.items():
            mine = [s for s in spots if s.family == family]
            kept = set(thinned(mine))
            mine = [s for s in mine if s in kept or s.front]
            if mine:
                axes.plot(
                    [s.cost for s in mine],
                    [s.value * scale.factor for s in mine],
                    look.marker,
                    color=look.colour,
                    ms=4.5,
                    label=style.clipped(family, 18),
                )
        axes.set_xlabel(label)
        axes.set_ylabel(value_label)
        for axis, told in (
            ("x", [s.cost for s in spots]),
            ("y", [s.value for s in spots]),
        ):
            if spread(told):
                getattr(axes, f"set_{axis}scale")("log")
                plain_ticks(getattr(axes, f"{axis}axis"))
        legend(made, axes)
        return made

    return draw


def legend(made: Figure, axes: Axes) -> None:
    """The families below the figure, where there are several."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        made.legend(
            handles, labels, loc="outside lower center", ncols=min(4, len(handles))
        )
