"""The live view of a run as lines, from its running sums and its Director; no scan of trials."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hpo.live.statistics import FamilyStatistics, Left, LiveStatistics
from hpo.report import numbers
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import ENDINGS, State

if TYPE_CHECKING:
    from hpo.director import Director

_RUNNING = 8  # running trials that get a line of their own
_RUNGS = 6  # rungs of a family that are listed
_SILENT = 30.0  # seconds without an event that are worth a word
_GAP = "  "
_REACHED = "trials that reached a rung"


class Frame:
    """Draws a run at work.

    Args:
        study: The resolved study.
        statistics: Its running sums.
    """

    def __init__(self, study: Study, statistics: LiveStatistics) -> None:
        self._study = study
        self._statistics = statistics
        self._objective = study.objectives[0]
        self._scale: numbers.Scale | None = None

    def lines(self, director: Director, *, width: int, now: float) -> list[str]:
        """The view below the bar, no line wider than `width`.

        Args:
            director: The run's trials.
            width: Columns of the terminal.
            now: Unix time.
        """
        best = [(t, t.value) for t in self._bests(director)]
        running = [(t, t.curve.value_at(t.last)) for t in self._running(director)]
        lines = [
            *_wrapped(self.counts(director), ", ", width),
            *self._table(director),
            *_wrapped("; ".join(self._pace(now)), "; ", width),
            *self._curves("best", best, width=width),
            *self._curves("running", running, width=width),
        ]
        more = len(director.running) - _RUNNING
        if more > 0:
            lines.append(f"{_GAP}and {more} more")
        return [_cut(line, width) for line in lines if line]

    def status(self, director: Director) -> str:
        """The run in one line: states, the best trial, time left."""
        pieces = (self.counts(director), self._best_text(director), self.left())
        return "; ".join(p for p in pieces if p)

    def counts(self, director: Director) -> str:
        """How many trials are in each state, and how many are still to come."""
        counts = director.counts()
        order = (State.RUNNING, State.PAUSED, *ENDINGS)
        known = [f"{counts[s]} {s}" for s in order if counts.get(s)]
        waiting = director.total - sum(counts.values()) + counts.get("pending", 0)
        return ", ".join([*known, *([f"{waiting} to come"] if waiting > 0 else [])])

    def left(self) -> str:
        """The time left in words; says so when it cannot be known."""
        left = self._statistics.left()
        if left.seconds is None:
            return "time left unknown"
        return _LEFT[left.kind](left, numbers.duration(left.seconds))

    def value(self, value: float | None) -> str:
        """An objective's value; one prefix for the whole run, so that lines compare."""
        if value is None:
            return "–"
        if self._scale is None:
            self._scale = numbers.scale_for([value], self._objective.unit)
        return f"{value * self._scale.factor:.4g} {self._scale.unit}".strip()

    # -- pieces -------------------------------------------------------------------------

    def _best_text(self, director: Director) -> str:
        best = director.best()
        if best is None:
            return "no trial ranked yet"
        return (
            f"best {self._objective.metric} {self.value(best.value)} "
            f"({best.family}, trial {best.number})"
        )

    def _table(self, director: Director) -> list[str]:
        """A line a family: how many ended, the best, and who reached which rung."""
        overall = director.best()
        self.value(overall.value if overall else None)  # its prefix is the column's
        rows = [
            ("family", "ended", f"best {self._objective.metric}", "trial", _REACHED)
        ]
        for name, family in self._statistics.families.items():
            best = director.best(name)
            rows.append(
                (
                    name,
                    f"{family.ended}/{max(family.planned, family.proposed)}",
                    self.value(best.value if best else None),
                    str(best.number) if best else "–",
                    _rungs(family),
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return [
            _GAP.join(
                (
                    row[0].ljust(widths[0]),
                    *(row[i].rjust(widths[i]) for i in (1, 2, 3)),
                    row[4],
                )
            ).rstrip()
            for row in rows
        ]

    def _pace(self, now: float) -> list[str]:
        statistics = self._statistics
        said = []
        if statistics.epochs_per_minute is not None:
            said.append(f"{_rate(statistics.epochs_per_minute)} epochs/min")
        if statistics.trials_per_hour is not None:
            said.append(f"{_rate(statistics.trials_per_hour)} trials/h")
        shares = statistics.shares()
        if shares is not None:
            workers = (
                "1 worker"
                if statistics.workers == 1
                else f"{statistics.workers} workers"
            )
            if self._study.resources.virtual:
                workers += f" on {self._study.resources.seats} seats"
            said.append(
                f"{workers}: {shares.training:.0%} training, {shares.compiling:.0%} "
                f"compiling, {shares.idle:.0%} idle".replace("%", " %")
            )
        silent = now - statistics.time
        if statistics.time and silent >= _SILENT:
            said.append(f"nothing new for {numbers.duration(silent)}")
        return said

    def _bests(self, director: Director) -> list[Trial]:
        found = (director.best(name) for name in self._statistics.families)
        return [trial for trial in found if trial is not None]

    def _running(self, director: Director) -> list[Trial]:
        return [director.trials[n] for n in director.running[:_RUNNING]]

    def _curves(
        self, title: str, told: Sequence[tuple[Trial, float | None]], *, width: int
    ) -> list[str]:
        """A line a trial: how far it is, its curve so far, and a value."""
        heads = [
            f"{_GAP}trial {t.number} {t.family} {t.last}/{t.budget}" for t, _ in told
        ]
        longest = max(map(len, heads), default=0)
        lines = [title] if told else []
        for (trial, value), head in zip(told, heads, strict=True):
            values = list(trial.values.values())
            room = min(max(width - longest - 16, 10), 60)
            line = numbers.sparkline(values, width=room) if values else "starting"
            last = f" {self.value(value)}" if values else ""
            lines.append(f"{head.ljust(longest)}{_GAP}{line}{last}")
        return lines


_LEFT: dict[str, Callable[[Left, str], str]] = {
    "about": lambda left, text: f"about {text} left",
    "at most": lambda left, text: f"at most about {text} left",
    "limit": lambda left, text: f"{text} to the limit",
}


def _rungs(family: FamilyStatistics) -> str:
    """How many trials reached which epoch; the later rungs where there are too many."""
    reached = sorted((e, n) for e, n in family.reached.items() if n)
    told = [f"epoch {e}: {n}" for e, n in reached[-_RUNGS:]]
    return ", ".join([*(["…"] if len(reached) > _RUNGS else []), *told])


def _wrapped(text: str, between: str, width: int) -> list[str]:
    """Lines that are only broken between pieces, where no piece is too long for one."""
    whole = between.join(p.replace(" ", "\u00a0") for p in text.split(between))
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(whole, width)]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
