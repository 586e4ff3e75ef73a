"""What a person sees while a run is at work: a bar on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout stays data.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hpo.cli import shell
from hpo.ledger.events import ENDINGS, Event
from hpo.report import numbers

if TYPE_CHECKING:
    from hpo.director import Director
    from hpo.study import Study
    from hpo.trials import Trial

_REDRAW = 0.2  # seconds between two drawings of the bar
_RUNNING = 8  # running trials that get a line of their own
_QUIET = 30.0  # seconds without a line after which plain output says how far it is


class Progress:
    """An observer that reports to stderr; a context that cleans up after itself.

    Args:
        study: What runs.
        live: Whether to draw a bar; None draws one on a terminal only.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        study: Study,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study = study
        self._objective = study.objectives[0]
        self._clock = clock
        self._said = self._drawn = self._began = clock()
        self._start: float | None = None  # how much was done when this display began
        self._epochs: int | None = None  # likewise, in epochs
        self._scale: numbers.Scale | None = None
        self._live: Any = None
        self._want_live = sys.stderr.isatty() if live is None else live

    def __enter__(self) -> Self:
        """Start the bar where there is a terminal."""
        if self._want_live:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True), auto_refresh=False, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away; what comes next is the table."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def event(self, event: Event, director: Director) -> None:
        """Say what a person wants to know of an event, and nothing else."""
        if event.event in ENDINGS and event.trial is not None:
            self._line(self._ended(director.trials[event.trial], director))
        elif event.event == "interrupted" and event.data.get("death"):
            self._line(
                f"trial {event.trial}: {event.data['reason']}; it will be tried again"
            )
        elif event.event == "nondeterminism":
            self._line(
                f"trial {event.trial}: epoch {event.data['epoch']} gave other numbers "
                "when it was trained again"
            )
        elif event.event == "note":
            head = f"trial {event.trial}: " if event.trial else ""
            self._line(f"{head}{event.data['text']}")

    def tick(self, director: Director) -> None:
        """Redraw the bar, or say how far the run is after a long silence."""
        now = self._clock()
        if self._live is not None:
            if now - self._drawn >= _REDRAW:
                self._drawn = now
                self._live.update(self._bar(director), refresh=True)
        elif now - self._said >= _QUIET:
            self._line(self._status(director))

    def message(self, text: str) -> None:
        """Pass a message of the run on."""
        self._line(text)

    def _line(self, text: str) -> None:
        self._said = self._clock()
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            shell.say(text)

    def _value(self, value: float | None) -> str:
        if value is None:
            return "–"
        if self._scale is None:  # one prefix for the whole run: lines can be compared
            self._scale = numbers.scale_for([value], self._objective.unit)
        return f"{value * self._scale.factor:.4g} {self._scale.unit}".strip()

    def _ended(self, trial: Trial, director: Director) -> str:
        ended = sum(t.ended for t in director.trials.values())
        position = f"[{ended}/{director.total}]"
        text = f"{position} trial {trial.number} {trial.family}: {trial.state}"
        if trial.rule and trial.rule != "divergence":
            text += f" by {trial.rule}"
        text += f" after {trial.last}/{trial.budget} epochs"
        if trial.state == "failed" and trial.reason:
            text += f": {trial.reason}"
        if trial.value is not None:
            text += f", {self._objective.metric} {self._value(trial.value)}"
        best = director.best()
        if best is not None and best.number == trial.number:
            text += " (best so far)"
        return text

    def _counts(self, director: Director) -> str:
        counts = director.counts()
        order = ("running", "paused", "completed", "converged", *ENDINGS[2:])
        known = [f"{counts[s]} {s}" for s in order if counts.get(s)]
        waiting = director.total - sum(counts.values()) + counts.get("pending", 0)
        return ", ".join([*known, *([f"{waiting} to come"] if waiting > 0 else [])])

    def _best_text(self, director: Director) -> str:
        best = director.best()
        if best is None:
            return "no trial ranked yet"
        return (
            f"best {self._objective.metric} {self._value(best.value)} "
            f"({best.family}, trial {best.number})"
        )

    def _fraction(self, director: Director) -> float:
        """How much of the run is done: ended trials whole, running ones by their epochs."""
        done = sum(
            1.0 if t.ended else t.last / max(t.budget, 1)
            for t in director.trials.values()
        )
        return min(done / max(director.total, 1), 1.0)

    def _left(self, director: Director) -> str:
        """Time left, from the pace since this driver began and the run's time budget."""
        fraction = self._fraction(director)
        if self._start is None:
            self._start = fraction
        gained = fraction - self._start
        spent = self._clock() - self._began
        guesses = []
        if gained > 0.03 and spent > 5:
            guesses.append(spent * (1 - fraction) / gained)
        if self._study.budget.seconds is not None:
            guesses.append(max(self._study.budget.seconds - director.elapsed, 0.0))
        return f"about {numbers.duration(min(guesses))} left" if guesses else ""

    def _pace(self, director: Director) -> str:
        """Epochs a minute since this display began."""
        if self._epochs is None:
            self._epochs = director.epochs
        gained, spent = director.epochs - self._epochs, self._clock() - self._began
        return f"{60 * gained / spent:.3g} epochs a minute" if gained else ""

    def _families(self, director: Director) -> list[str]:
        """The best of each family, where there are several and one of it is ranked."""
        if len(self._study.families) == 1:
            return []
        bests = [director.best(f.name) for f in self._study.families]
        ranked = [b for b in bests if b is not None]
        longest = max((len(b.family) for b in ranked), default=0)
        return [
            f"  {b.family.ljust(longest)}  {self._value(b.value)}  trial {b.number}"
            for b in ranked
        ]

    def _curves(self, director: Director, *, width: int) -> list[str]:
        """A line for each running trial: how far it is, and its curve so far."""
        trials = [director.trials[n] for n in sorted(director.running)]
        heads = [f"  trial {t.number} {t.family} {t.last}/{t.budget}" for t in trials]
        longest = max(map(len, heads), default=0)
        lines = []
        for trial, head in list(zip(trials, heads, strict=True))[:_RUNNING]:
            values = [v for _, v in sorted(trial.values.items())]
            room = min(max(width - longest - 16, 10), 60)
            line = numbers.sparkline(values, width=room) if values else "starting"
            last = f" {self._value(values[-1])}" if values else ""
            lines.append(f"{head.ljust(longest)}  {line}{last}")
        more = len(trials) - _RUNNING
        return [*lines, *([f"  and {more} more"] if more > 0 else [])]

    def _status(self, director: Director) -> str:
        pieces = (
            self._counts(director),
            self._best_text(director),
            self._left(director),
        )
        return "; ".join(p for p in pieces if p)

    def _bar(self, director: Director) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        fraction = self._fraction(director)
        top = Table.grid(padding=(0, 1), expand=True)
        top.add_column(no_wrap=True)
        top.add_column(ratio=1)
        top.add_column(no_wrap=True)
        top.add_row(
            Text(self._study.name, style="bold"),
            ProgressBar(total=1.0, completed=fraction, complete_style="cyan"),
            Text(f"{fraction:4.0%}  {self._left(director)}"),
        )
        pace = self._pace(director)
        best = "; ".join(p for p in (self._best_text(director), pace) if p)
        lines = (
            self._counts(director),
            best,
            *self._families(director),
            *self._curves(director, width=shell.width()),
        )
        return Group(
            top, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines)
        )
