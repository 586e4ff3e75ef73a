"""Finished trials trained again: with their own seed (must reproduce) or with fresh ones.

A re-run is a run of fixed trials under the Director, in a folder of its own below the run's
``reruns/``, and goes on there when it was interrupted. The run's own ledger says what came of
it, and before that, when the test part is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from hpo import seeds
from hpo.errors import RunError
from hpo.fixed import FixedTrial
from hpo.ledger.events import EpochEvent, Exploited, ReadTest, RerunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import read_event
from hpo.ledger.log import Reader
from hpo.report.summary import Row, Summary
from hpo.report.verdicts import Exact, Fresh, Seeded, across_seeds, compare
from hpo.run.active import ActiveRun, Outcome
from hpo.run.attach import Attach
from hpo.run.parent import Manner, Observe, Parent, held, nobody
from hpo.run.rerun_folder import Wanted, continued, finish
from hpo.run.rerun_study import Altered, fitting, rerun_study
from hpo.schedule import until
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.worker.pickling import Create


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """The results of re-running some trials.

    Attributes:
        outcome: How it ended.
        results: One for each trial, in the order asked for; empty when interrupted.
    """

    outcome: Outcome
    results: tuple[Exact | Fresh, ...] = ()


class Reruns:
    """Re-runs of one run's trials; `opened` makes it.

    Attributes:
        summary: The run.
        changed: What of code and machine is not as it was at the launch.
    """

    def __init__(self, parent: Parent) -> None:
        self.summary: Summary = parent.summary
        self.changed = parent.changed
        self._parent = parent

    def exact(
        self,
        rows: Sequence[Row],
        *,
        executor: str | None = None,
        workers: int | None = None,
        observe: Observe = nobody,
        attach: Attach | None = None,
    ) -> Rerun:
        """Repeat trials with their recorded seeds and compare every epoch's numbers.

        Args:
            rows: The trials.
            executor: What trains them; ``local`` unless said otherwise.
            workers: Trials at a time; None for as many as have room.
            observe: Gives an observer of the study of the re-run.
            attach: The cluster to work on; None for this machine.

        Raises:
            RunError: A trial has no epoch to compare with.
        """
        recorded = self._recorded([row.trial for row in rows])
        for row in rows:
            if not recorded[row.trial]:
                raise RunError(
                    f"trial {row.trial} has no epoch to repeat ({row.why or row.state})"
                )
        trials = [(row, [self._fixed(row, row.seed, recorded)]) for row in rows]
        wanted = Wanted(kind="exact", trials=tuple(row.trial for row in rows))

        def judged(row: Row, run: ActiveRun, numbers: Sequence[int]) -> Exact:
            again = run.director.trials[numbers[0]]
            short = again.last < max(recorded[row.trial])
            return replace(
                compare(
                    row.trial,
                    recorded[row.trial],
                    again.epochs.values(),
                    error=again.reason if short else "",
                ),
                changed=(*self.changed, *_other_kernels(row, [again])),
                folder=str(run.folder.path),
            )

        manner = Manner(
            executor=executor, workers=workers, observe=observe, attach=attach
        )
        return self._all(wanted, trials, judged, manner)

    def fresh(
        self,
        rows: Sequence[Row],
        *,
        count: int,
        executor: str | None = None,
        workers: int | None = None,
        observe: Observe = nobody,
        altered: Altered | None = None,
        attach: Attach | None = None,
    ) -> Rerun:
        """Train configurations with fresh seeds and evaluate the test part.

        Args:
            rows: The trials.
            count: How many seeds each.
            altered: What is set otherwise than in the search; None for nothing.
            executor: What trains them; ``local`` unless said otherwise.
            workers: Trials at a time; None for as many as have room.
            observe: Gives an observer of the study of the re-run.
            attach: The cluster to work on; None for this machine.

        Raises:
            RunError: Another budget is asked for, and a trial's values changed at epochs of
                its own.
        """
        for row in rows:
            if altered is not None and altered.epochs is not None and row.schedule:
                raise RunError(
                    f"trial {row.trial} has a schedule of {row.epoch_budget} epochs, which "
                    f"tells nothing of a training of {altered.epochs}",
                    hint="leave `--epochs` out, or choose a trial without a schedule",
                )
        study = altered.study if altered else self.summary.study
        trials = [
            (
                row,
                [
                    fitting(
                        study, self._fixed(row, s), altered.settings if altered else ()
                    )
                    for s in self._seeds(row.family, count)
                ],
            )
            for row in rows
        ]
        wanted = Wanted(
            kind="seeds",
            trials=tuple(row.trial for row in rows),
            seeds=count,
            details=altered.details if altered else {},
        )

        def judged(row: Row, run: ActiveRun, numbers: Sequence[int]) -> Fresh:
            again = [run.director.trials[n] for n in numbers]
            return across_seeds(
                row if altered is None else replace(row, objective=None),
                [_seeded(t, run) for t in again],
                self.summary.objective,
                changed=(*self.changed, *_other_kernels(row, again)),
                folder=str(run.folder.path),
                altered=altered.words if altered else "",
            )

        manner = Manner(
            executor=executor, workers=workers, observe=observe, attach=attach
        )
        return self._all(wanted, trials, judged, manner, study)

    # -- what is trained ------------------------------------------------------------------

    def _fixed(
        self,
        row: Row,
        seed: int,
        recorded: Mapping[int, Mapping[int, EpochEvent]] | None = None,
    ) -> FixedTrial:
        last = None if recorded is None else max(recorded[row.trial])
        return FixedTrial(
            family=row.family,
            params=row.params,
            seed=seed,
            epochs=last,
            schedule=until(row.schedule, last),
            space=self.summary.earlier_space(row),
        )

    def _seeds(self, family: str, count: int) -> list[int]:
        """Seeds that no trial of the search had; the same ones each time."""
        taken = {row.seed for row in self.summary.rows}
        return seeds.fresh(
            self.summary.study.seed, family, "rerun", count=count, taken=taken
        )

    # -- carried out ----------------------------------------------------------------------

    def _all(
        self,
        wanted: Wanted,
        trials: Sequence[tuple[Row, list[FixedTrial]]],
        judged: Callable[[Row, ActiveRun, Sequence[int]], Exact | Fresh],
        manner: Manner,
        study: Study | None = None,
    ) -> Rerun:
        """One re-run for all trials that computed with the same compiled kernels."""
        groups = _by_kernels(trials)
        if len(groups) > 1:
            among = [row.trial for row, _ in trials]
            wanted = replace(wanted, details={**wanted.details, "among": among})
        parts = [
            (
                replace(wanted, trials=tuple(row.trial for row, _ in members)),
                rerun_study(
                    study or self.summary.study,
                    [trial for _, fixed in members for trial in fixed],
                    exact=wanted.kind == "exact",
                    executor=manner.executor,
                    workers=manner.workers,
                    attached=manner.attach is not None,
                ),
                members,
            )
            for members in groups
        ]
        # Where one of them was interrupted, those that had ended are not trained again.
        begun = any(continued(self._parent.folder, p, s) for p, s, _ in parts)
        found: dict[int, Exact | Fresh] = {}
        for part, again, members in parts:
            pinned = next((row.kernels for row, _ in members if row.kernels), None)
            run, outcome = self._train(part, again, pinned, manner, finished=begun)
            if outcome.state == "interrupted":
                return Rerun(outcome=outcome)
            first = 1
            for row, fixed in members:
                found[row.trial] = judged(row, run, range(first, first + len(fixed)))
                first += len(fixed)
            self._store(run.folder, part, [found[n] for n in part.trials])
        results = tuple(found[row.trial] for row, _ in trials)
        return Rerun(outcome=outcome, results=results)

    def _train(
        self,
        wanted: Wanted,
        study: Study,
        kernels: str | None,
        manner: Manner,
        *,
        finished: bool,
    ) -> tuple[ActiveRun, Outcome]:
        reads = [
            ReadTest(
                trial=number,
                purpose=f"rerun of trial {number} with {wanted.seeds} fresh seeds",
            )
            for number in wanted.trials
        ]
        return self._parent.train(
            wanted,
            study,
            observe=manner.observe,
            reads=reads,
            kernels=kernels,
            attach=manner.attach,
            finished=finished,
        )

    def _store(
        self, place: RunFolder, wanted: Wanted, results: Sequence[Exact | Fresh]
    ) -> None:
        for result in results:
            event = RerunEvent(trial=result.trial, kind=wanted.kind, folder=place.name)
            if isinstance(result, Exact):
                event = structs.replace(event, equal=result.equal)
            else:
                event = structs.replace(
                    event,
                    seeds=[r.seed for r in result.runs],
                    values=[r.objective for r in result.runs],
                    tests=[r.test for r in result.runs],
                )
            self._parent.tell(event)
        finish(place, [dataclasses.asdict(result) for result in results])

    def _recorded(self, trials: Sequence[int]) -> dict[int, dict[int, EpochEvent]]:
        """The epoch events of each trial's training by epoch; the first of each stands.

        What a trial inherited another one reported; what it gave up is left out.
        """
        out: dict[int, dict[int, EpochEvent]] = {
            number: {} for number in self._related(trials)
        }
        for event in Reader(self._parent.ledger, read_event):
            if isinstance(event, EpochEvent) and event.trial in out:
                out[event.trial].setdefault(event.epoch, event)
            elif isinstance(event, Exploited) and event.trial in out:
                out[event.trial] = dict(out[event.donor])
        return {number: out[number] for number in trials}

    def _related(self, trials: Sequence[int]) -> set[int]:
        """These trials and all whose states went into them."""
        found: set[int] = set()
        left = list(trials)
        while left:
            number = left.pop()
            if number not in found:
                found.add(number)
                left += (e.donor for e in self.summary.row(number).exploits)
        return found


_Members = list[tuple[Row, list[FixedTrial]]]


def _by_kernels(trials: Sequence[tuple[Row, list[FixedTrial]]]) -> list[_Members]:
    """Trials by the compiled kernels they computed with; whoever used none suits any."""
    known = [row.kernels for row, _ in trials if row.kernels]
    groups: dict[str, _Members] = {}
    for row, fixed in trials:
        kernels = row.kernels or next(iter(known), "")
        groups.setdefault(kernels.partition(":")[0], []).append((row, fixed))
    return [*groups.values()]


def _seeded(trial: Trial, run: ActiveRun) -> Seeded:
    scores, why = run.evaluations.of(trial.number) or (None, "")
    return Seeded.of(
        trial,
        test=(scores.metrics or None) if scores else None,
        records=scores.records if scores else {},
        why=why,
    )


def _other_kernels(row: Row, again: Sequence[Trial]) -> tuple[str, ...]:
    """In words, when a repetition computed with other kernels than the trial did."""
    today = sorted({t.kernels for t in again if t.kernels} - {row.kernels})
    if row.kernels is None or not today:
        return ()
    return (f"kernels were {row.kernels}, are {', '.join(today)}",)


@contextmanager
def opened(
    folder: Path,
    *,
    data_root: Path | None = None,
    create: Create | None = None,
) -> Iterator[Reruns]:
    """Be the only driver of a run and make ready to repeat its trials.

    Args:
        folder: The run's folder.
        data_root: Where real datasets lie; None means as at the launch.
        create: Replaces the families' `create`, for a study made in a script.

    Raises:
        RunLocked: Another driver is at work on the run.
        RunError: The folder is damaged, or the data is not that of the run.
    """
    with held(folder, data_root=data_root, create=create) as parent:
        yield Reruns(parent)
