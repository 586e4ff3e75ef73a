"""The summary of a run, as frozen data computed from its study and its events alone.

Everything that prints, writes or draws a run starts from a `Summary`; nothing here knows how
it will look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpo.errors import RunError, StudyError
from hpo.ledger.events import Event
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import uncollected
from hpo.objectives import Place, Values, attained, ranking
from hpo.report.fidelity import Fidelity, fidelities
from hpo.report.index import read_run
from hpo.schedule import Schedule
from hpo.study import Objective, Study
from hpo.trials.curve import Point
from hpo.trials.record import Adopted, Attempt, RunRecord, Trial
from hpo.trials.reducer import Reducer
from hpo.trials.spaces import Spaces
from hpo.trials.states import RANKED, TOLD, State
from models.errors import near_matches
from search_spaces.space import Space

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
        state: Where it stands.
        params: Searched values by dotted key, before the first change of `schedule`.
        seed: The seed of its training.
        epoch_budget: How many epochs it may have.
        rank: Place among completed and converged trials, from 1; None for the others.
        objective: Value of its best epoch in the objective's unit; None without one.
        values: At that epoch a value for each of the study's objectives, None for those that
            it has none for.
        front: 1 for trials that none dominates, and so on; None beyond a limit and for
            trials without a rank.
        best_epoch: The epoch of that value.
        epochs: The last epoch known, 0 for none.
        seconds: Training and validation of all epochs, without compiling.
        compile_seconds: Tracing and compiling.
        parameters: How many numbers the model trains; None where the learner cannot tell.
        kernels: The compiled kernels its last attempt computed with; None likewise.
        ended_by: The rule that ended it, or the reason; empty for a whole budget.
        reason: Why it ended or was interrupted, in words, where the ledger says so.
        curve: Its epochs.
        attempts: Its goes.
        nondeterminism: Epochs that gave other numbers when they were trained again.
        notes: Remarks on it, such as a retry that had to start at epoch 1.
        schedule: How its traced values change between epochs.
        exploits: Whose states it adopted, in order.
        extension: Under which extension of the run it was proposed; 0 before the first.
        origin: Who proposed it: a sampler's name, ``first``, ``carried`` or ``fixed``.
    """

    trial: int
    family: str
    state: State
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
    kernels: str | None = None
    ended_by: str = ""
    reason: str = ""
    curve: Sequence[Point] = ()
    attempts: tuple[Attempt, ...] = ()
    nondeterminism: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    schedule: Schedule = ()
    exploits: tuple[Adopted, ...] = ()
    extension: int = 0
    origin: str = ""

    @property
    def since(self) -> int:
        """The first attempt whose checkpoints belong to its training of now."""
        return self.exploits[-1].since if self.exploits else 1

    @property
    def inherited(self) -> int:
        """How many epochs of its training another trial has spent; it spent as many itself."""
        return self.exploits[-1].epoch if self.exploits else 0

    @property
    def why(self) -> str:
        """Where and why an unranked trial ended, in a few words; empty for ranked ones."""
        if self.state in RANKED and self.objective is not None:
            return ""
        if self.state in RANKED:
            return "no finite value"
        if self.state is State.RUNNING or not self.attempts:
            return self.state
        state = "interrupted" if self.state is State.PENDING else self.state
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
        before: The study as it was before each extension, as JSON has it.
    """

    study: Study
    folder: Path
    rows: tuple[Row, ...]
    planned: int
    elapsed: float = 0.0
    finished: bool = False
    notes: tuple[str, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()
    before: tuple[Mapping[str, Any], ...] = ()

    @property
    def objective(self) -> Objective:
        """The objective that ranks the trials."""
        return self.study.objectives[0]

    @property
    def best(self) -> Row | None:
        """The trial of rank 1, once there is one."""
        return self.rows[0] if self.rows and self.rows[0].rank else None

    def counts(self) -> dict[str, int]:
        """How many trials are in each state, as people are told; zeros left out."""
        numbers = {s: sum(r.state == s for r in self.rows) for s in TOLD}
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

    @cached_property
    def spaces(self) -> Spaces:
        """The spaces of its trials, those of before its extensions among them."""
        return Spaces(self.study, self.before)

    def space(self, row: Row) -> Space:
        """The space that a trial was proposed in, which need not be its family's today."""
        return self.spaces.of(row.trial, row.family, row.extension)

    def earlier_space(self, row: Row) -> Space | None:
        """The space that a trial was proposed in; None where it is its family's today."""
        space = self.space(row)
        return None if space == self.study.family(row.family).space else space

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


def summarize(study: Study, events: Iterable[Event], *, folder: Path) -> Summary:
    """Compute the summary of a run.

    Args:
        study: The resolved study of the launch.
        events: The ledger's events, in order.
        folder: The run's folder.
    """
    reducer = Reducer.of(study)
    for event in events:
        reducer.apply(event)
    return summary_of(study, reducer.record, folder=folder)


def summary_of(study: Study, record: RunRecord, *, folder: Path) -> Summary:
    """The summary of what a ledger tells.

    Args:
        study: The resolved study of the launch.
        record: What its ledger tells.
        folder: The run's folder.
    """
    rows = _rows(record.trials.values(), study)
    planned = sum(study.trials_of().values())
    return Summary(
        study=study,
        folder=folder,
        rows=rows,
        planned=len(rows) if record.ending == "budget" else planned,
        elapsed=record.elapsed,
        finished=record.ending is not None,
        notes=tuple(record.notes),
        fidelity=fidelities(study, rows),
        before=tuple(record.before),
    )


def _rows(trials: Iterable[Trial], study: Study) -> tuple[Row, ...]:
    """The ranked ones by rank, the others by state and value."""
    objectives, known = study.objectives, {t.number: t for t in trials}
    found = ranking(known.values(), objectives)
    others = sorted(
        (t for n, t in known.items() if n not in found),
        key=lambda t: (TOLD.index(t.state), objectives[0].rank_key(t.value)),
    )
    ranked = [_row(known[n], objectives, place) for n, place in found.items()]
    return (*ranked, *(_row(t, objectives, None) for t in others))


def _row(trial: Trial, objectives: Sequence[Objective], place: Place | None) -> Row:
    return Row(
        trial=trial.number,
        family=trial.family,
        state=trial.state,
        params=trial.params,
        seed=trial.seed,
        epoch_budget=trial.budget,
        rank=place.rank if place else None,
        objective=trial.value,
        values=attained(trial, objectives),
        front=place.front if place else None,
        best_epoch=trial.best_epoch,
        epochs=trial.last,
        seconds=trial.seconds,
        compile_seconds=trial.compile_seconds,
        parameters=trial.parameters,
        kernels=trial.kernels,
        ended_by=trial.ended_by,
        reason=trial.reason.strip(),
        curve=trial.curve,
        attempts=tuple(trial.attempts),
        nondeterminism=tuple(trial.unequal),
        notes=tuple(trial.notes),
        schedule=tuple(trial.schedule),
        exploits=tuple(trial.exploits),
        extension=trial.extension,
        origin=trial.origin,
    )


def load_study(folder: Path) -> Study:
    """The resolved study of a run; its ledger is not read.

    Raises:
        RunError: The folder is no run, or its study is damaged.
    """
    run = RunFolder(folder)
    record = run.read_study()
    try:
        return Study.from_json(record["study"])
    except StudyError as error:
        raise RunError(
            f"{run.study_file}: {error.message}",
            hint="it is never edited by hand; restore it from a copy",
        ) from error


def load_summary(folder: Path) -> Summary:
    """Read a run's folder and compute its summary.

    Raises:
        RunError: The folder is no run, or its study or ledger is damaged.
    """
    study = load_study(folder)
    with uncollected():
        record, torn = read_run(RunFolder(folder), study)
        summary = summary_of(study, record, folder=folder)
    if torn:
        summary = replace(summary, notes=(*summary.notes, torn))
    return summary
