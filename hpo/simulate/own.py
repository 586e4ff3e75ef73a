"""A run as a task: its finished curves, and its decisions taken once more.

Everything follows from the run's folder; nothing is trained and nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.audit.decided import Decisions
from hpo.audit.finding import Finding
from hpo.director import replay
from hpo.errors import RunError
from hpo.ledger.events import Event
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.simulate.pool import Pool
from hpo.simulate.task import Curve, Curves, Task, usual_seconds
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import State
from search_spaces.space import Space

# Ended by themselves.
WHOLE = (State.COMPLETED, State.CONVERGED, State.DIVERGED, State.FAILED)


@dataclass(frozen=True, kw_only=True)
class Record:
    """The contents of a run's folder.

    Attributes:
        name: The run, for messages.
        study: What it searched.
        events: Its ledger.
        trials: What the ledger amounts to.
    """

    name: str
    study: Study
    events: Sequence[Event]
    trials: Mapping[int, Trial]

    @property
    def workers(self) -> int:
        """How many trials ran at a time, or had seats."""
        return self.study.resources.seats

    def whole(self, family: str) -> list[Trial]:
        """A family's trials whose curves are as long as they would ever be.

        One whose values changed in training is no curve of a configuration, and one that the
        space of today does not hold is no point of it.
        """
        space = self.study.family(family).space
        mine = (t for t in self.trials.values() if t.family == family)
        return [t for t in mine if _whole(t) and space.holds(t.params)]

    def outside(self) -> int:
        """How many trials have whole curves, but are of an earlier space."""
        known = sum(len(self.whole(f.name)) for f in self.study.families)
        return sum(map(_whole, self.trials.values())) - known

    def left_out(self) -> dict[str, int]:
        """How many trials are not whole in any space, by what became of them."""
        known = {t.number for f in self.study.families for t in self.whole(f.name)}
        others = (t for n, t in self.trials.items() if n not in known and not _whole(t))
        told = ("of changing values" if t.schedule else str(t.state) for t in others)
        return dict(Counter(told))


def _whole(trial: Trial) -> bool:
    return trial.state in WHOLE and bool(trial.epochs) and not trial.schedule


def read(folder: RunFolder) -> Record:
    """Read a run.

    Args:
        folder: Its folder.

    Raises:
        RunError: It is missing, damaged or of another version.
        StudyError: Its study cannot be directed any more.
    """
    study = Study.from_json(folder.read_study()["study"])
    events, _ = read_events(folder.events_file)
    director = replay(study, events, workers=study.resources.seats)
    return Record(
        name=f"{folder.study_name}/{folder.name}",
        study=study,
        events=events,
        trials=director.trials,
    )


def as_pool(record: Record) -> Task:
    """A run's whole curves as a finite pool, for other rules and samplers.

    A curve that a rule or a limit of the run has cut tells nothing of what would have come,
    so it is left out.

    Raises:
        RunError: Too few curves are whole to compare anything.
    """
    curves: dict[str, Curves] = {}
    own: dict[str, int] = {}
    every: list[Curve] = []
    values: list[float] = []
    for family in record.study.families:
        found = record.whole(family.name)
        ranked = [t.value for t in found if t.ranked and t.value is not None]
        if not ranked:
            continue
        values += ranked
        own[family.name] = record.study.epochs_of(family.name)
        mine = [_curve(t) for t in found]
        every += mine
        curves[family.name] = Pool(
            space=family.space, rows=[t.params for t in found], curves=mine
        )
    if len(values) < 2:
        raise RunError(
            f"run `{record.name}` has {len(values)} ranked trials, and nothing can be "
            "compared with fewer than 2",
            hint="only curves that no rule has cut can be searched again; run a study "
            """with `--set 'stopping=["divergence"]'`""",
        )
    objective = record.study.objectives[0]
    values.sort(key=objective.rank_key)
    middle = len(values) // 2
    median = values[middle]
    if len(values) % 2 == 0:
        median = (median + values[middle - 1]) / 2
    return Task(
        name=record.study.name,
        curves=curves,
        epochs=max(own.values()),
        objective=objective,
        best=values[0],
        median=median,
        seconds=usual_seconds(every),
        own_epochs=own,
        remarks=tuple(_remarks(record, curves)),
    )


def _remarks(record: Record, curves: Mapping[str, Curves]) -> Iterable[str]:
    usable = sum(c.size or 0 for c in curves.values())
    text = (
        f"{usable} of {len(record.trials)} curves are whole and can be searched again"
    )
    left = [f"{n} {state}" for state, n in sorted(record.left_out().items())]
    if left:
        text += f"; {', '.join(left)} cannot: what would have come is not recorded"
    yield text
    if outside := record.outside():
        yield f"left out, of an earlier space that today's does not hold: {outside}"
    gone = [f.name for f in record.study.families if f.name not in curves]
    if gone:
        yield f"left out, without a ranked trial: {', '.join(gone)}"
    if any(t.state is State.CONVERGED for t in record.trials.values()):
        yield "converged curves end where the run ended them, whatever the rules here"
    if len(record.study.objectives) > 1:
        yield "regret is of the first objective alone"


def as_recorded(record: Record) -> Task:
    """A run's own proposals with the curves that its ledger has, cut ones too."""
    objective = record.study.objectives[0]
    return Task(
        name=record.study.name,
        curves={
            f.name: _Recorded(record, f.name, f.space) for f in record.study.families
        },
        epochs=record.study.budget.epochs,
        objective=objective,
        best=0.0,
        median=1.0,
    )


class _Recorded:
    """The curves of one family of a run, by configuration and seed."""

    size: int | None = None

    def __init__(self, record: Record, family: str, space: Space) -> None:
        self.space = space
        self._record = record
        mine = (t for t in record.trials.values() if t.family == family)
        self._trials = {self._key(t.params, t.seed): t for t in mine}

    def place(
        self, params: Mapping[str, Any], *, seed: int, uniform: bool, taken: set[int]
    ) -> dict[str, Any]:
        """The searched values that were proposed."""
        return dict(params)

    def curve(self, params: Mapping[str, Any], seed: int) -> Curve:
        """The curve that was recorded.

        Raises:
            RunError: The run never trained that.
        """
        trial = self._trials.get(self._key(params, seed))
        if trial is None:
            raise RunError(
                f"run `{self._record.name}` never trained {dict(params)}",
                hint="with other settings its curves are a pool (`hpo simulate RUN "
                "--stopping … --sampler …`)",
            )
        return _curve(trial)

    def _key(self, params: Mapping[str, Any], seed: int) -> str:
        return repr((sorted(params.items()), seed))


def _curve(trial: Trial) -> Curve:
    epochs = tuple(trial.epochs[n] for n in sorted(trial.epochs))
    failure = trial.reason if trial.state is State.FAILED else ""
    return Curve(epochs=epochs, failure=failure, cut=trial.state not in WHOLE)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A ledger's decisions beside those that the Director takes today.

    Attributes:
        decisions: How many were compared.
        facts: How many ends of trials and attempts came from a worker, not the Director.
        differing: Those that come out otherwise, by their lines.
    """

    decisions: int
    facts: int
    differing: tuple[Finding, ...]

    def words(self) -> tuple[str, ...]:
        """The text for a person."""
        if not self.differing:
            text = f"its ledger: all {self.decisions} decisions come out the same again"
            return (text,)
        head = f"its ledger: of {self.decisions} decisions some would differ today"
        left = len(self.differing) - _TOLD
        more = (f"  and {left} more: see `hpo verify`",) if left > 0 else ()
        return (head, *(f"  {finding}" for finding in self.differing[:_TOLD]), *more)


_TOLD = 3


def retrace(record: Record) -> Agreement:
    """Take every decision of a run once more, each on the ledger as it was by then."""
    again = Decisions(record.study, record.events)
    differing = tuple(again.findings())
    return Agreement(decisions=again.taken, facts=again.facts, differing=differing)
