"""Figures of how a search went: curves, best value against epochs, rungs, and its timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpo.report.fidelity import Fidelity
from hpo.report.page import style
from hpo.report.page.content import Content
from hpo.report.page.draw_results import axis_of, legend, plain_ticks, whole_ticks
from hpo.report.page.drawing import Drawing
from hpo.report.page.history import Stretch
from hpo.report.page.panels import BEST, Curves, spread
from hpo.report.page.style import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BARS = 600  # of a timeline; more would be narrower than a line
_RUNGS = 24  # of a figure; of more, every n-th
_ENDS = {"stopped": "cut by a rule", "failed": "failed", "diverged": "diverged"}


def curves(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """The curves of each family: the best one by one, the others as a band."""
    told = [v for c in content.curves for line in c.lines for _, v in line.points] + [
        v for c in content.curves for b in c.band for v in b[1:4]
    ]
    return [_curves(content, c, looks[c.family], told) for c in content.curves if told]


def _curves(content: Content, found: Curves, look: Look, told: list[float]) -> Drawing:
    rows: list[dict[str, Any]] = [
        {"what": f"trial {line.trial}", "epoch": epoch, "value": value}
        for line in found.lines
        for epoch, value in line.points
    ]
    for epoch, *quantiles, count in found.band:
        names = ("low", "median", "high")
        rows.append({"what": "others", "epoch": epoch, "count": count,
                     **dict(zip(names, quantiles, strict=True))})  # fmt: skip

    def draw() -> Figure:
        made = style.figure()
        axes = style.axes(made)
        scale, label = axis_of(content, told)
        if found.band:
            epochs, low, middle, high, _ = zip(*found.band, strict=True)
            lower, upper = ([v * scale.factor for v in side] for side in (low, high))
            axes.fill_between(epochs, lower, upper, color=look.colour, alpha=0.15, lw=0)
            axes.plot(
                epochs, [v * scale.factor for v in middle], ":", color=look.colour, lw=1
            )
        for line in reversed(found.lines):
            epochs_, values = zip(*line.points, strict=True)
            shown = [v * scale.factor for v in values]
            first = line is found.lines[0]
            (drawn,) = axes.plot(
                epochs_,
                shown,
                linestyle="-" if len(shown) > 1 else "none",
                marker=None if len(shown) > 1 else look.marker,
                color=look.colour,
                lw=1.9 if first else 1.0,
                alpha=1.0 if first else 0.6,
            )
            drawn.set_gid(f"curve-{line.trial}")
            if line.stopped:
                axes.plot(
                    epochs_[-1:], shown[-1:], "x", color=look.colour, ms=5, mew=1.3
                )
        if found.stops:
            ends = found.stops[:: -(-len(found.stops) // 100)]
            axes.plot(
                [e for e, _ in ends],
                [v * scale.factor for _, v in ends],
                "x",
                color=look.colour,
                ms=3,
                mew=0.8,
                alpha=0.6,
            )
        axes.set_xlabel("epoch")
        whole_ticks(axes)
        axes.set_ylabel(label)
        low_, high_ = min(told) * scale.factor, max(told) * scale.factor
        if spread(told):
            axes.set_yscale("log")
            axes.set_ylim(low_ * 0.9, high_ * 1.1)
            plain_ticks(axes.yaxis)
        elif high_ > low_:
            room = 0.05 * (high_ - low_)
            axes.set_ylim(low_ - room, high_ + room)
        return made

    others = (
        f" The band holds 80 % of the other {found.others}, its dotted line is their median."
        if found.band
        else ""
    )
    count = min(BEST, len(found.lines))
    which = f"The best {count} of its trials, the first one bold"
    if count == 1:
        which = "Its only trial with a value"
    return Drawing(
        name=f"curves-{found.family}",
        section="curves",
        title=f"Curves of {found.family}",
        caption=f"{which}; × marks those that a rule cut.{others}",
        heads=("what", "epoch", "value", "low", "median", "high", "count"),
        rows=rows,
        draw=draw,
    )


def progress(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """The best value of each family against the epochs of the whole run."""
    steps = content.history.progress
    rows = [
        {"family": family, "epochs": s.epochs, "value": s.value, "trial": s.trial}
        for family, found in steps.items()
        for s in found
    ]
    if not rows:
        return []

    def draw() -> Figure:
        made = style.figure()
        axes = style.axes(made)
        told = [s.value for found in steps.values() for s in found]
        scale, label = axis_of(content, told)
        for family, look in looks.items():
            if found := steps.get(family):
                epochs = [*(s.epochs for s in found), content.history.epochs]
                values = [s.value * scale.factor for s in (*found, found[-1])]
                axes.step(
                    epochs,
                    values,
                    where="post",
                    color=look.colour,
                    linestyle=look.dash,
                    label=style.clipped(family, 18),
                )
        axes.set_xlabel("epochs of the run")
        whole_ticks(axes)
        axes.set_ylabel(label)
        if spread(told):
            axes.set_yscale("log")
            plain_ticks(axes.yaxis)
        legend(made, axes)
        return made

    return [
        Drawing(
            name="progress",
            section="curves",
            title="Best value so far",
            caption="The best value of any epoch of a family's trials, cut ones included, "
            "against the epochs that the whole run had trained.",
            heads=("family", "epochs", "value", "trial"),
            rows=rows,
            draw=draw,
        )
    ]


def rungs(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """How well each rung foretold the end."""
    found = [f for f in content.summary.fidelity if f.correlation is not None]
    if not found:
        return []
    return [
        Drawing(
            name="rungs",
            section="rungs",
            title="Rungs against the end",
            caption="Rank correlation of the best values by a rung with the final ones over the "
            "trials that have an end, with its 95 % interval; | is what is needed.",
            heads=(
                "family",
                "epoch",
                "correlation",
                "low",
                "high",
                "bar",
                "trials",
                "cut",
            ),
            rows=[
                {
                    "family": f.family,
                    "epoch": f.epoch,
                    "correlation": f.correlation,
                    "low": f.low,
                    "high": f.high,
                    "bar": f.bar,
                    "trials": f.trials,
                    "cut": f.cut,
                }
                for f in found
            ],
            draw=_rungs(found[:: -(-len(found) // _RUNGS)], looks),
        )
    ]


def _rungs(
    found: Sequence[Fidelity], looks: Mapping[str, Look]
) -> Callable[[], Figure]:
    def draw() -> Figure:
        made = style.figure(height=0.8 + 0.27 * len(found))
        axes = style.axes(made)
        for place, f in enumerate(found):
            look = looks[f.family]
            assert (
                f.correlation is not None and f.low is not None and f.high is not None
            )
            axes.plot([f.low, f.high], [place] * 2, "-", color=look.colour)
            axes.plot([f.correlation], [place], look.marker, color=look.colour, ms=5)
            if f.bar is not None:
                axes.plot([f.bar], [place], "|", color=style.INK, ms=9, mew=1.4)
        names = [f"{style.clipped(f.family, 14)}, {f.epoch}" for f in found]
        axes.set_yticks(range(len(found)), names)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlim(-1.03, 1.03)
        axes.set_xlabel("rank correlation")
        return made

    return draw


def timeline(content: Content, looks: Mapping[str, Look]) -> list[Drawing]:
    """What was at work when."""
    stretches = content.history.stretches
    if not stretches:
        return []
    unit, divisor = ("s", 1) if content.summary.elapsed < 600 else ("min", 60)

    def draw() -> Figure:
        lanes = 1 + max(s.lane for s in stretches)
        made = style.figure(height=0.9 + 0.3 * min(lanes, 16))
        axes = style.axes(made)
        axes.grid(False, axis="y")
        bars = _merged(stretches)
        for family, look in looks.items():
            label = style.clipped(family, 18)
            for lane in range(lanes):
                mine = [
                    (s.start / divisor, (s.end - s.start) / divisor)
                    for s in bars
                    if (s.family, s.lane) == (family, lane)
                ]
                if mine:
                    axes.broken_barh(
                        mine,
                        (lane - 0.36, 0.72),
                        facecolors=look.colour,
                        edgecolors=style.PAPER,
                        linewidth=0.4,
                        label=label,
                    )
                    label = "_"
        bad = [s for s in stretches if s.outcome in _ENDS and s.outcome != "stopped"][
            :200
        ]
        if bad:
            axes.plot(
                [s.end / divisor for s in bad],
                [s.lane for s in bad],
                "x",
                color=style.INK,
                ms=5,
                label="failed or diverged",
            )
        axes.set_ylim(lanes - 0.5, -0.5)
        axes.set_yticks(range(lanes), [str(i + 1) for i in range(lanes)])
        if lanes > 16:
            axes.set_yticks([0, lanes - 1], ["1", str(lanes)])
        axes.set_ylabel("at work")
        axes.set_xlabel(f"active time of the run [{unit}]")
        legend(made, axes)
        return made

    return [
        Drawing(
            name="timeline",
            section="course",
            title="Timeline",
            caption="Each bar is an attempt at a trial, compiling included; a row is one of "
            "the trials at work at a time.",
            heads=("trial", "family", "lane", "start", "end", "outcome"),
            rows=[
                {
                    "trial": s.trial,
                    "family": s.family,
                    "lane": s.lane + 1,
                    "start": s.start,
                    "end": s.end,
                    "outcome": s.outcome,
                }
                for s in stretches
            ],
            draw=draw,
        )
    ]


def _merged(stretches: Sequence[Stretch]) -> Sequence[Stretch]:
    """Neighbours of one family joined, where there are more bars than can be told apart."""
    if len(stretches) <= _BARS:
        return stretches
    from dataclasses import replace

    least = max(s.end for s in stretches) / 400
    out: list[Stretch] = []
    latest: dict[tuple[int, str], int] = {}
    for s in stretches:
        key = s.lane, s.family
        place = latest.get(key)
        if place is not None and s.start - out[place].end < least:
            out[place] = replace(out[place], end=max(out[place].end, s.end))
        else:
            latest[key] = len(out)
            out.append(s)
    return out
