"""Figures of a confirmation: new seeds with intervals, pairs against ± matters, best of n."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.confirmation.record import Confirmation
from hpo.report.page import style
from hpo.report.page.draw_results import axis_of, legend, plain_ticks, whole_ticks
from hpo.report.page.drawing import Drawing
from hpo.report.page.panels import spread
from hpo.report.page.style import Look
from hpo.report.page.told import Told

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confirmed(content: Told, looks: Mapping[str, Look]) -> list[Drawing]:
    """The values of the new seeds of each winner, their mean and its interval."""
    found = content.verdict
    if found is None or not any(c.values for c in found.contenders):
        return []
    told = [v for c in found.contenders for v in c.values]
    told += [c.winner.search for c in found.contenders if c.winner.search is not None]

    def draw() -> Figure:
        made = style.figure(height=0.9 + 0.42 * len(found.contenders))
        axes = style.axes(made)
        scale, label = axis_of(content, told)
        for place, c in enumerate(found.contenders):
            look = looks[c.family]
            values = [v * scale.factor for v in c.values]
            axes.plot(
                values, [place + 0.16] * len(values), look.marker, color=look.colour,
                ms=3.5, alpha=0.55,
            )  # fmt: skip
            if c.mean is not None:
                low = c.mean.low if c.mean.low is not None else c.mean.mean
                high = c.mean.high if c.mean.high is not None else c.mean.mean
                ends = [low * scale.factor, high * scale.factor]
                axes.plot(ends, [place - 0.12] * 2, "-", color=look.colour, lw=1.8)
                mean = [c.mean.mean * scale.factor]
                axes.plot(mean, [place - 0.12], look.marker, color=look.colour, ms=6.5)
            if c.winner.search is not None and len(c.winners) == 1:
                was = [c.winner.search * scale.factor]
                axes.plot(was, [place - 0.12], "|", color=style.INK, ms=9, mew=1.3)
        names = [style.clipped(c.family, 18) for c in found.contenders]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(f"{label}, {found.part} part")
        if spread(told):
            axes.set_xscale("log")
            plain_ticks(axes.xaxis)
        return made

    return [
        Drawing(
            name="confirmed",
            section="verdict",
            title="Winners with new seeds",
            caption=f"Small marks: one {found.unit_of} each over the {found.part} part; "
            "large mark and line: mean with its 95 % interval"
            + (
                "."
                if found.unit_of == "search"
                else "; | is what the search found over the validation part."
            ),
            heads=("family", "trial", "search", "value"),
            rows=[
                {
                    "family": c.family,
                    "trial": c.winner.trial,
                    "search": c.winner.search,
                    "value": value,
                }
                for c in found.contenders
                for value in (*c.values, *([None] * c.failed))
            ],
            draw=draw,
        )
    ]


def pairs(content: Told, looks: Mapping[str, Look]) -> list[Drawing]:
    """The interval of each pair of families against what matters."""
    found = content.verdict
    shown = [p for p in found.pairs if p.low is not None] if found else []
    if found is None or not shown:
        return []
    heads = [
        *("a", "b", "verdict", "scale", "effect", "low", "high", "least", "most"),
        *("wins", "compared", "needed", "look"),
    ]
    rows: list[dict[str, Any]] = [
        {h: getattr(p, h) for h in heads} for p in found.pairs
    ]
    ratio = shown[0].scale == "ratio"
    said = "ratio of the first to the second" if ratio else "first less second"
    return [
        Drawing(
            name="pairs",
            section="verdict",
            title="Pairs of families",
            caption=f"The {said} with its simultaneous interval. Inside the shaded band a "
            f"difference does not matter (±{found.matters}).",
            heads=heads,
            rows=rows,
            draw=_pairs(found, content, looks),
        )
    ]


def _pairs(found: Confirmation, content: Told, looks: Mapping[str, Look]) -> Any:
    def draw() -> Figure:
        shown = [p for p in found.pairs if p.low is not None and p.high is not None]
        made = style.figure(height=0.8 + 0.3 * len(shown))
        axes = style.axes(made)
        ratio = shown[0].scale == "ratio"
        none, label = (1.0, "ratio") if ratio else (0.0, "difference")
        factor = 1.0
        if not ratio:
            scale, _ = axis_of(
                content, [p.effect for p in shown if p.effect is not None]
            )
            factor = scale.factor
            label = f"difference [{scale.unit}]" if scale.unit else label
        for place, p in enumerate(shown):
            look = looks[p.a]
            band = [p.least * factor, p.most * factor]
            sides = [place - 0.5, place + 0.5]
            axes.fill_betweenx(
                sides, [band[0]] * 2, [band[1]] * 2, color=style.QUIET, alpha=0.16, lw=0
            )
            assert p.low is not None and p.high is not None and p.effect is not None
            ends = [p.low * factor, p.high * factor]
            axes.plot(ends, [place] * 2, "-", color=look.colour, lw=1.8)
            axes.plot(
                [p.effect * factor], [place], look.marker, color=look.colour, ms=6
            )
        axes.axvline(none, color=style.INK, lw=1, linestyle=(0, (3, 2)))
        joint = " / " if ratio else " − "
        names = [style.clipped(f"{p.a}{joint}{p.b}", 28) for p in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(label)
        if ratio:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis)
        return made

    return draw


def best_of(content: Told, looks: Mapping[str, Look]) -> list[Drawing]:
    """The expected best value of n trials of random search."""
    found = content.verdict
    told = [c for c in found.contenders if len(c.winner.best_of) > 1] if found else []
    if not told:
        return []

    def draw() -> Figure:
        made = style.figure()
        axes = style.axes(made)
        values = [v for c in told for _, v in c.winner.best_of]
        scale, label = axis_of(content, values)
        for c in told:
            look = looks[c.family]
            axes.plot(
                [n for n, _ in c.winner.best_of],
                [v * scale.factor for _, v in c.winner.best_of],
                color=look.colour,
                linestyle=look.dash,
                label=style.clipped(c.family, 18),
            )
        axes.set_xlabel("trials")
        axes.set_ylabel(label)
        whole_ticks(axes)
        if spread(values):
            axes.set_yscale("log")
            plain_ticks(axes.yaxis)
        legend(made, axes)
        return made

    return [
        Drawing(
            name="best-of",
            section="verdict",
            title="Expected best of n trials"
            + (f" of {told[0].family}" if len(told) == 1 else ""),
            caption="What random search would find with fewer trials, from the values of its "
            "draws that completed or converged (Dodge et al. 2019).",
            heads=("family", "trials", "value"),
            rows=[
                {"family": c.family, "trials": n, "value": value}
                for c in told
                for n, value in c.winner.best_of
            ],
            draw=draw,
        )
    ]
