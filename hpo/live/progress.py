"""The progress of a run at work: a live view on a terminal, plain lines elsewhere.

`launch`, `resume` and `watch` show the same, for all of it follows from the ledger. Everything
goes to stderr, so that stdout stays data.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hpo.ledger.events import Ending, Event, Interrupted, Nondeterminism, Note
from hpo.live import terminal
from hpo.live.frame import Frame
from hpo.live.statistics import LiveStatistics
from hpo.trials.states import State

if TYPE_CHECKING:
    from hpo.director import Director
    from hpo.study import Study
    from hpo.trials.record import Trial

_REDRAW = 0.2  # seconds between two drawings
_QUIET = 30.0  # seconds without a line after which plain output says how far it is


class Progress:
    """An observer that reports to stderr; a context that cleans up after itself.

    Args:
        study: What runs.
        live: Whether to draw the view; None draws it on a terminal only.
        clock: Monotonic seconds.
        wall: Unix time.
    """

    def __init__(
        self,
        study: Study,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._study = study
        self._metric = study.objectives[0].metric
        self._clock, self._wall = clock, wall
        self._said = self._drawn = clock()
        self._statistics = LiveStatistics(study)
        self._frame = Frame(study, self._statistics)
        self._live: Any = None
        self._want_live = sys.stderr.isatty() if live is None else live

    def __enter__(self) -> Self:
        """Start the view where there is a terminal."""
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
        """Take the view away; what comes next is the table."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def recall(self, event: Event, director: Director) -> None:
        """Count an event of before; nothing is said of it."""
        self._statistics.apply(event, director.trials.get(event.trial or 0))

    def event(self, event: Event, director: Director) -> None:
        """Say what a person wants to know of an event, and nothing else."""
        self.recall(event, director)
        if isinstance(event, Ending):
            self._line(self._ended(director.trials[event.trial], director))
        elif isinstance(event, Interrupted) and event.death:
            self._line(f"trial {event.trial}: {event.reason}; it will be tried again")
        elif isinstance(event, Nondeterminism):
            self._line(
                f"trial {event.trial}: epoch {event.epoch} gave other numbers "
                "when it was trained again"
            )
        elif isinstance(event, Note):
            head = f"trial {event.trial}: " if event.trial else ""
            self._line(f"{head}{event.text}")

    def tick(self, director: Director) -> None:
        """Redraw the view, or say how far the run is after a long silence."""
        now = self._clock()
        if self._live is not None:
            if now - self._drawn >= _REDRAW:
                self._drawn = now
                self._live.update(self._view(director), refresh=True)
        elif now - self._said >= _QUIET:
            self._line(self._frame.status(director))

    def message(self, text: str) -> None:
        """Pass a message of the run on."""
        self._line(text)

    def _line(self, text: str) -> None:
        self._said = self._clock()
        if self._live is not None:
            text = terminal.encodable(text, sys.stderr)
            self._live.console.print(text, highlight=False, markup=False)
        else:
            terminal.say(text)

    def _ended(self, trial: Trial, director: Director) -> str:
        position = f"[{self._statistics.ended}/{director.total}]"
        text = f"{position} trial {trial.number} {trial.family}: {trial.state}"
        if trial.rule and trial.rule != "divergence":
            text += f" by {trial.rule}"
        text += f" after {trial.last}/{trial.budget} epochs"
        if trial.state is State.FAILED and trial.reason:
            text += f": {trial.reason}"
        if trial.value is not None:
            text += f", {self._metric} {self._frame.value(trial.value)}"
        best = director.best()
        if best is not None and best.number == trial.number:
            text += " (best so far)"
        return text

    def _view(self, director: Director) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        fraction, width = self._statistics.fraction, terminal.width()
        top = Table.grid(padding=(0, 1), expand=True)
        top.add_column(no_wrap=True)
        top.add_column(ratio=1)
        top.add_column(no_wrap=True)
        top.add_row(
            Text(self._study.name, style="bold"),
            ProgressBar(total=1.0, completed=fraction, complete_style="cyan"),
            Text(f"{fraction:4.0%}  {self._frame.left()}".replace("%", " %")),
        )
        lines = self._frame.lines(director, width=width, now=self._wall())
        return Group(
            top,
            *(
                Text(
                    terminal.encodable(line, sys.stderr), no_wrap=True, overflow="crop"
                )
                for line in lines
            ),
        )
