"""What a run has come to, as frozen data computed from its study and its events alone.

Everything that prints, writes or draws a run starts from a `Summary`; nothing here knows how
it will look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpo.errors import RunError, StudyError
from hpo.goals import Values, places, values_at
from hpo.ledger.events import ENDINGS, RANKED, Event
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.report.fidelity import Fidelity, fidelities
from hpo.report.rows import Attempt, Point
from hpo.study import Objective, Study
from models.errors import near_matches

STATES = ("completed", "converged", "running", "paused", "pending", *ENDINGS[2:])
COLUMNS = (
    "rank",
    "trial",
    "family",
    "objective",
    "state",
    "epochs",
    "seconds",
    "parameters",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial.

    Attributes:
        trial: Its number in the run.
        family: Its family.
        state: One of the states of a trial.
        params: Searched values by dotted key.
        seed: Its seed.
        epoch_budget: How many epochs it may have.
        rank: Place among completed and converged trials, from 1; None for the others.
        objective: Value of its best epoch in the objective's unit; None without one.
        values: At that epoch a value for each of the study's objectives, None for those that
            it has none for.
        front: 1 for trials that none dominates, and so on; None beyond a limit and for
            trials without a rank.
        best_epoch: The epoch of that value.
        epochs: How many epochs the ledger holds.
        seconds: Training and validation of all epochs, without compiling.
        compile_seconds: Tracing and compiling.
        parameters: How many numbers the model trains; None where the learner cannot tell.
        ended_by: The rule that ended it, or the reason; empty for a whole budget.
        reason: Why it ended or was interrupted, in words, where the ledger says so.
        curve: Its epochs.
        attempts: Its goes.
        nondeterminism: Epochs that gave other numbers when they were trained again.
        notes: Remarks on it, such as a retry that had to start at epoch 1.
    """

    trial: int
    family: str
    state: str
    params: Mapping[str, Any]
    seed: int
    epoch_budget: int
    rank: int | None = None
    objective: float | None = None
    values: Values = ()
    front: int | None = None
    best_epoch: int | None = None
    epochs: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    parameters: int | None = None
    ended_by: str = ""
    reason: str = ""
    curve: tuple[Point, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    nondeterminism: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Where and why an unranked trial ended, in a few words; empty for ranked ones."""
        if self.state in RANKED and self.objective is not None:
            return ""
        if self.state in RANKED:
            return "no finite value"
        if self.state == "running" or not self.attempts:
            return self.state
        state = "interrupted" if self.state == "pending" else self.state
        by = f" ({self.ended_by})" if self.ended_by else ""
        return f"{state} at epoch {self.epochs}{by}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run.

    Attributes:
        study: The resolved study.
        folder: The run's folder.
        rows: Trials: the ranked ones by rank, then the others.
        planned: How many trials the run has in all; a search may run out of points.
        elapsed: Active seconds of the run.
        finished: Whether nothing is left to do.
        notes: What a reader should know, in words.
        fidelity: Each family's rungs, held against the end.
    """

    study: Study
    folder: Path
    rows: tuple[Row, ...]
    planned: int
    elapsed: float = 0.0
    finished: bool = False
    notes: tuple[str, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()

    @property
    def objective(self) -> Objective:
        """What ranks the trials."""
        return self.study.objectives[0]

    @property
    def best(self) -> Row | None:
        """The trial of rank 1, once there is one."""
        return self.rows[0] if self.rows and self.rows[0].rank else None

    def counts(self) -> dict[str, int]:
        """How many trials are in each state, in the order of `STATES`; zeros left out."""
        numbers = {s: sum(r.state == s for r in self.rows) for s in STATES}
        return {state: n for state, n in numbers.items() if n}

    def row(self, trial: int) -> Row:
        """The trial of that number.

        Raises:
            RunError: The run has none.
        """
        for row in self.rows:
            if row.trial == trial:
                return row
        raise RunError(
            f"the run has no trial {trial}",
            hint=f"trials 1 … {len(self.rows)}; see `hpo results`",
        )

    def ranked(self, rank: int) -> Row:
        """The trial of that rank.

        Raises:
            RunError: So many trials have not been ranked.
        """
        for row in self.rows:
            if row.rank == rank:
                return row
        ranked = sum(r.rank is not None for r in self.rows)
        raise RunError(
            f"the run has no trial of rank {rank}",
            hint=f"{ranked} trials completed or converged and are ranked",
        )

    def select(
        self,
        *,
        family: str | None = None,
        sort: str | None = None,
        top: int | None = None,
    ) -> Summary:
        """The same run with fewer rows or another order; ranks stay those of the run.

        Args:
            family: Only this family's trials.
            sort: A column, or a hyperparameter's name; ascending, missing values last.
            top: Only the first so many rows.

        Raises:
            StudyError: Family or column are unknown (near matches are listed).
        """
        rows = self.rows
        if family is not None:
            self.study.family(family)
            rows = tuple(r for r in rows if r.family == family)
        if sort is not None:
            rows = tuple(sorted(rows, key=self._sort_key(sort)))
        return replace(self, rows=rows[:top])

    def _sort_key(self, column: str) -> Callable[[Row], tuple[Any, ...]]:
        keys = sorted({k for r in self.rows for k in r.params})
        if column in ("objective", self.objective.metric):
            return lambda row: (self.objective.rank_key(row.objective),)
        goals = {o.metric: (i, o) for i, o in enumerate(self.study.objectives)}
        if column in goals:
            place, goal = goals[column]
            return lambda row: (goal.rank_key(row.values[place]),)
        if column == "front":
            return lambda row: _ascending(row.front)
        if column in COLUMNS:
            return lambda row: _ascending(getattr(row, column))
        matching = [k for k in keys if k == column or k.endswith(f".{column}")]
        if not matching:
            raise StudyError(
                f"unknown column `{column}`",
                hint=near_matches(column, [*COLUMNS, *keys]),
            )
        return lambda row: _ascending(
            next((row.params[k] for k in matching if k in row.params), None)
        )


def _ascending(value: Any) -> tuple[Any, ...]:
    """A key that sorts numbers, then texts, then missing values."""
    if value is None:
        return (2,)
    return (1, str(value)) if isinstance(value, str) else (0, value)


@dataclass
class _Trial:
    """A trial while its events are read."""

    number: int
    family: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    state: str = "pending"
    ended_by: str = ""
    reason: str = ""
    parameters: int | None = None
    epochs: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    repeated: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        """Take in one event of this trial."""
        data, kind = event.data, event.event
        self.parameters = data.get("parameters") or self.parameters
        if kind == "proposed":
            self.family, self.seed = data["family"], data["seed"]
            self.params = data["params"]
        elif kind == "started":
            number = event.attempt or len(self.attempts) + 1
            self.attempts[number] = Attempt(
                number=number, why=str(data["attempt_of"]), epoch=data["epoch"]
            )
            self.state, self.ended_by, self.reason = "running", "", ""
        elif kind == "epoch":
            self.epochs.setdefault(data["epoch"], data)
        elif kind == "nondeterminism":
            self.repeated.append(data["epoch"])
        elif kind == "note":
            self.notes.append(str(data["text"]))
        elif kind in ("interrupted", "paused") or kind in ENDINGS:
            self._end(event)

    def _end(self, event: Event) -> None:
        kind = event.event
        rule = str(event.data.get("rule", ""))
        self.reason = str(event.data.get("reason", "")).strip()
        self.state = "pending" if kind == "interrupted" else kind
        self.ended_by = rule or self.reason
        if rule == "divergence":  # the state says it already
            self.ended_by = ""
        if self.attempts:
            last = max(self.attempts) if event.attempt is None else event.attempt
            if last in self.attempts:
                words = f"{kind} ({self.ended_by})" if self.ended_by else kind
                self.attempts[last] = replace(self.attempts[last], end=words)

    def row(self, study: Study) -> Row:
        """The trial as it stands."""
        objective, budget = study.objectives[0], study.epochs_of(self.family)
        curve = tuple(
            Point(
                epoch=number,
                value=data["valid"].get(objective.metric, math.nan),
                loss=data["train"].get("loss", math.nan),
            )
            for number, data in sorted(self.epochs.items())
        )
        usable = [p for p in curve if math.isfinite(p.value) and p.epoch <= budget]
        best = min(usable, key=lambda p: objective.rank_key(p.value), default=None)
        return Row(
            trial=self.number,
            family=self.family,
            state=self.state,
            params=self.params,
            seed=self.seed,
            epoch_budget=budget,
            objective=best.value if best else None,
            values=self._values(study, best),
            best_epoch=best.epoch if best else None,
            epochs=max(self.epochs, default=0),
            seconds=sum(d["seconds"] for d in self.epochs.values()),
            compile_seconds=sum(d["compile_seconds"] for d in self.epochs.values()),
            parameters=self.parameters,
            ended_by=self.ended_by,
            reason=self.reason,
            curve=curve,
            attempts=tuple(self.attempts[k] for k in sorted(self.attempts)),
            nondeterminism=tuple(self.repeated),
            notes=tuple(self.notes),
        )

    def _values(self, study: Study, best: Point | None) -> Values:
        valid = self.epochs[best.epoch]["valid"] if best else {}
        return values_at(study.objectives, valid, self.parameters if best else None)


def summarize(study: Study, events: Iterable[Event], *, folder: Path) -> Summary:
    """Compute the summary of a run.

    Args:
        study: The resolved study of the launch.
        events: The ledger's events, in order.
        folder: The run's folder.
    """
    trials: dict[int, _Trial] = {}
    elapsed, notes, ending = 0.0, [], None
    for event in events:
        elapsed = max(elapsed, event.elapsed)
        if event.event == "run":
            finish = event.data["action"] == "finish"
            ending = event.data.get("reason", "") if finish else None
        elif event.event == "note" and event.trial is None:
            notes.append(str(event.data["text"]))
        elif event.trial is not None:
            trials.setdefault(event.trial, _Trial(event.trial)).apply(event)
    rows = [t.row(study) for t in trials.values() if t.family]
    return Summary(
        study=study,
        folder=folder,
        rows=_rank(rows, study.objectives),
        planned=len(rows) if ending == "budget" else sum(study.trials_of().values()),
        elapsed=elapsed,
        finished=ending is not None,
        notes=tuple(notes),
        fidelity=fidelities(study, rows),
    )


def _rank(rows: list[Row], objectives: tuple[Objective, ...]) -> tuple[Row, ...]:
    rows = sorted(rows, key=lambda r: r.trial)
    standing = {
        r.trial: r for r in rows if r.state in RANKED and r.objective is not None
    }
    found = places({n: r.values for n, r in standing.items()}, objectives)
    ranked = [
        replace(standing[n], rank=place.rank, front=place.front)
        for n, place in found.items()
    ]
    others = sorted(
        (r for r in rows if r.trial not in standing),
        key=lambda r: (STATES.index(r.state), objectives[0].rank_key(r.objective)),
    )
    return (*ranked, *others)


def load_summary(folder: Path) -> Summary:
    """Read a run's folder and compute its summary.

    Raises:
        RunError: The folder is no run, or its study or ledger is damaged.
    """
    run = RunFolder(folder)
    record = run.read_study()
    try:
        study = Study.from_json(record["study"])
    except StudyError as error:
        raise RunError(
            f"{run.study_file}: {error.message}",
            hint="it is never edited by hand; restore it from a copy",
        ) from error
    events, torn = read_events(run.events_file)
    summary = summarize(study, events, folder=folder)
    if torn:
        summary = replace(summary, notes=(*summary.notes, torn))
    return summary
