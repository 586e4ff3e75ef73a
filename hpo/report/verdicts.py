"""Verdicts of re-runs, as frozen data: equal or not, and how sure a trial's value is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hpo.ledger.events import EpochEvent
from hpo.report.summary import Row
from hpo.statistics.means import Interval, mean_interval
from hpo.study import Objective
from hpo.trials.record import Trial
from hpo.trials.states import State
from models.training.protocol import Epoch


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Whether a trial gave the same numbers again.

    Attributes:
        trial: The trial.
        equal: Whether every number of every recorded epoch came out equal.
        epochs: How many epochs were compared.
        max_difference: Largest absolute difference; NaN where one side has no number.
        first_difference: Where it began, in words; empty when equal.
        changed: What of code and machine is not as it was at the launch.
        error: Why the repetition failed; empty when it did not.
        folder: Where it is stored.
    """

    trial: int
    equal: bool
    epochs: int
    max_difference: float
    first_difference: str = ""
    changed: tuple[str, ...] = ()
    error: str = ""
    folder: str = ""


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """One training with a fresh seed.

    Attributes:
        seed: The seed.
        objective: The objective at its best epoch over the validation part; None without.
        best_epoch: That epoch.
        epochs: How many were trained.
        seconds: Training and validation, without compiling.
        test: Metrics over the test part; None where they could not be had.
        records: The same for each record of the test part, by its name, where it has several
            and the learner tells.
        ended_by: The rule that ended it early.
        error: Why it failed; empty when it did not.
        further: The study's further objectives at that epoch, by metric.
    """

    seed: int
    objective: float | None
    best_epoch: int | None
    epochs: int
    seconds: float
    test: Mapping[str, float] | None
    records: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ended_by: str = ""
    error: str = ""
    further: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        trial: Trial,
        *,
        test: Mapping[str, float] | None,
        records: Mapping[str, Mapping[str, float]],
        why: str,
    ) -> Seeded:
        """What became of a trial; one that would not be ranked in a search has failed.

        Args:
            trial: Its record.
            test: Its scores on the test part, where it has any.
            records: The same by record.
            why: Why it has none, in words.
        """
        error = why
        if trial.state is State.DIVERGED:
            error = f"diverged at epoch {trial.last}"
        elif trial.state in (State.FAILED, State.CANCELLED):
            error = trial.reason
        elif trial.ended and trial.value is None:
            error = "no finite value"
        return cls(
            seed=trial.seed,
            objective=trial.value,
            best_epoch=trial.best_epoch,
            epochs=trial.last,
            seconds=trial.seconds,
            test=test,
            records=records,
            ended_by=trial.rule,
            error=error,
            further=dict(trial.further),
        )


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """The values of a trial's configuration under fresh seeds.

    Attributes:
        trial: The trial.
        rank: Its rank in the search.
        family: Its family.
        metric: The objective's metric.
        unit: Its unit.
        search: The value that the search found.
        runs: One training for each seed.
        valid: Mean over the validation part; None when nothing succeeded.
        test: Mean over the test part; None where it was not evaluated.
        records: Mean over each record of the test part, by its name; empty where only the
            whole is known.
        optimism: Validation mean less search value, turned so that a positive number means
            the search promised too much.
        changed: What of code and machine is not as it was at the launch.
        folder: Where it is stored.
        altered: What was set otherwise than in the search, in words; the search's value is
            then none to compare with.
    """

    trial: int
    rank: int | None
    family: str
    metric: str
    unit: str
    search: float | None
    runs: tuple[Seeded, ...]
    valid: Interval | None
    test: Interval | None
    records: Mapping[str, Interval] = field(default_factory=dict)
    optimism: float | None
    changed: tuple[str, ...] = ()
    folder: str = ""
    altered: str = ""


def across_seeds(
    row: Row,
    runs: Sequence[Seeded],
    objective: Objective,
    *,
    changed: tuple[str, ...] = (),
    folder: str = "",
    altered: str = "",
) -> Fresh:
    """The values of a trial's configuration under fresh seeds.

    Args:
        row: The trial.
        runs: One training for each seed; those that failed count for nothing.
        objective: What it is ranked by.
        changed: What of code and machine is not as it was at the launch.
        folder: Where it is stored.
        altered: What was set otherwise than in the search, in words.
    """
    good = [r for r in runs if not r.error]
    valid = mean_interval([r.objective for r in good if r.objective is not None])
    optimism = None
    if valid is not None and row.objective is not None:
        sign = 1 if objective.direction == "minimize" else -1
        optimism = sign * (valid.mean - row.objective)

    def over(parts: Iterable[Mapping[str, float] | None]) -> Interval | None:
        metric = objective.metric
        return mean_interval([p[metric] for p in parts if p and metric in p])

    names = dict.fromkeys(name for r in good for name in r.records)
    records = {name: over(r.records.get(name) for r in good) for name in names}
    return Fresh(
        trial=row.trial,
        rank=row.rank,
        family=row.family,
        metric=objective.metric,
        unit=objective.unit,
        search=row.objective,
        runs=tuple(runs),
        valid=valid,
        test=over(r.test for r in good),
        records={name: found for name, found in records.items() if found is not None},
        optimism=optimism,
        changed=changed,
        folder=folder,
        altered=altered,
    )


def compare(
    trial: int,
    recorded: Mapping[int, EpochEvent],
    found: Iterable[Epoch],
    *,
    error: str = "",
) -> Exact:
    """Hold a repetition against the ledger, number by number.

    What the ledger has no number for is no difference: a later version may report more.

    Args:
        trial: The trial.
        recorded: Its epoch events by epoch.
        found: The repetition's epochs.
        error: Why the repetition failed; empty when it did not.
    """
    again = {e.number: e for e in found}
    worst, first, compared = 0.0, "", 0
    for number in sorted(recorded):
        event = recorded[number]
        if number not in again:
            first = first or f"epoch {number} was not reached"
            continue
        compared += 1
        for part in ("train", "valid"):
            old, new = getattr(event, part), getattr(again[number], part)
            # What a later version reports besides is no difference.
            for name in sorted(old):
                gap = _gap(old.get(name), new.get(name))
                if gap == 0:
                    continue
                worst = math.nan if math.isnan(gap) else max(worst, gap)
                first = first or (
                    f"epoch {number}, {part} {name}: {old.get(name)!r} then, "
                    f"{new.get(name)!r} now"
                )
    return Exact(
        trial=trial,
        equal=not first and not error,
        epochs=compared,
        max_difference=worst,
        first_difference=first,
        error=error,
    )


def _gap(old: float | None, new: float | None) -> float:
    """Absolute difference; 0 for equal (NaN equals NaN), NaN where there is no measure."""
    if old is None or new is None:
        return math.nan
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    gap = abs(old - new)
    return gap if math.isfinite(gap) else math.nan
