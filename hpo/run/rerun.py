"""A finished trial trained again: with its own seed (must reproduce) or with fresh ones.

Both happen in fresh child processes and are stored under the run's ``reruns/``. The test part
is read here and nowhere else, after the ledger says so.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from hpo import seeds
from hpo.errors import RunError
from hpo.ledger.events import EpochEvent, Event, ReadTest, RerunEvent
from hpo.ledger.folder import RunFolder, write_atomically
from hpo.ledger.lines import read_event
from hpo.ledger.log import Ledger, Reader
from hpo.ledger.provenance import provenance
from hpo.report.formats import json_text
from hpo.report.summary import Row, Summary, load_summary
from hpo.report.verdicts import Exact, Fresh, Seeded, compare, interval
from hpo.run import reproducibility
from hpo.run.plan import plan
from hpo.run.repeat import Job, Repeated, repeat
from hpo.run.sources import Sources, creates_of
from hpo.worker.assignment import Assignment
from hpo.worker.environment import cores, worker_environment
from hpo.worker.pickling import Create
from models.training.protocol import Epoch

Tell = Callable[[str, Epoch], None]


class Reruns:
    """Re-runs of one run's trials; `opened` makes it.

    Attributes:
        summary: The run.
        changed: What of code and machine is not as it was at the launch.
    """

    def __init__(
        self, *, summary: Summary, ledger: Ledger, data: Any, creates: Mapping[str, str | bytes],
        changed: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.summary = summary
        self.changed = changed
        self._folder = RunFolder(summary.folder)
        self._ledger = ledger
        self._data = data
        self._creates = creates

    def exact(self, row: Row, *, tell: Tell = lambda name, epoch: None) -> Exact:
        """Repeat a trial with its recorded seed and compare every epoch's numbers.

        Args:
            row: The trial.
            tell: Is called with a name and each epoch.

        Raises:
            RunError: The trial has no epoch to compare with.
        """
        recorded = self._recorded(row.trial)
        if not recorded:
            raise RunError(
                f"trial {row.trial} has no epoch to repeat ({row.why or row.state})"
            )
        place = self._place(f"exact-{row.trial:04d}")
        job = self._job(row, seed=row.seed, folder=place)
        job = replace(job, epochs=max(recorded), rules=())
        name = f"trial {row.trial}"
        found = self._repeat([job], [name], tell, row)[0]
        result = replace(
            compare(row.trial, recorded, found.epochs, error=found.error),
            changed=(*self.changed, *_other_kernels(row, [found])),
            folder=str(place),
        )
        event = RerunEvent(trial=row.trial, kind="exact", equal=result.equal)
        self._store(place, result, event)
        return result

    def fresh(
        self,
        row: Row,
        *,
        count: int,
        tell: Tell = lambda name, epoch: None,
    ) -> Fresh:
        """Train a configuration with fresh seeds and evaluate the test part.

        Args:
            row: The trial.
            count: How many seeds.
            tell: Is called with a name and each epoch.
        """
        place = self._place(f"seeds-{row.trial:04d}")
        chosen = self._seeds(row.family, count)
        jobs = [
            replace(self._job(row, seed=s, folder=place / f"seed-{i}"), test=True)
            for i, s in enumerate(chosen, 1)
        ]
        purpose = f"rerun of trial {row.trial} with {count} fresh seeds"
        self._append(ReadTest(trial=row.trial, purpose=purpose))
        names = [f"trial {row.trial}, seed {i} of {count}" for i in range(1, count + 1)]
        found = self._repeat(jobs, names, tell, row)
        runs = tuple(self._seeded(s, f) for s, f in zip(chosen, found, strict=True))
        changed = (*self.changed, *_other_kernels(row, found))
        result = replace(self._fresh(row, runs), changed=changed, folder=str(place))
        event = RerunEvent(
            trial=row.trial,
            kind="seeds",
            seeds=chosen,
            values=[r.objective for r in runs],
            tests=[r.test for r in runs],
        )
        self._store(place, result, event)
        return result

    def _fresh(self, row: Row, runs: tuple[Seeded, ...]) -> Fresh:
        objective = self.summary.objective
        good = [r for r in runs if not r.error]
        valid = interval([r.objective for r in good if r.objective is not None])
        tests = [
            r.test[objective.metric]
            for r in good
            if r.test and objective.metric in r.test
        ]
        optimism = None
        if valid is not None and row.objective is not None:
            sign = 1 if objective.direction == "minimize" else -1
            optimism = sign * (valid.mean - row.objective)
        return Fresh(
            trial=row.trial,
            rank=row.rank,
            family=row.family,
            metric=objective.metric,
            unit=objective.unit,
            search=row.objective,
            runs=runs,
            valid=valid,
            test=interval(tests),
            optimism=optimism,
        )

    def _seeded(self, seed: int, found: Repeated) -> Seeded:
        objective = self.summary.objective
        values = {
            e.number: e.valid.get(objective.metric, math.nan) for e in found.epochs
        }
        finite = {n: v for n, v in values.items() if math.isfinite(v)}
        best = min(finite, key=lambda n: objective.rank_key(finite[n]), default=None)
        return Seeded(
            seed=seed,
            objective=None if best is None else finite[best],
            best_epoch=best,
            epochs=len(found.epochs),
            seconds=sum(e.seconds for e in found.epochs),
            test=found.test,
            ended_by=found.ended_by,
            error=found.error,
        )

    def _seeds(self, family: str, count: int) -> list[int]:
        """Seeds that no trial of the search had; the same ones each time."""
        taken = {row.seed for row in self.summary.rows}
        stream = (
            seeds.derive(self.summary.study.seed, family, "rerun", i)
            for i in range(count + len(taken))
        )
        fresh = list(dict.fromkeys(s for s in stream if s not in taken))
        return fresh[:count]

    def _recorded(self, trial: int) -> dict[int, EpochEvent]:
        out: dict[int, EpochEvent] = {}
        for event in Reader(self._ledger.path, read_event):
            if isinstance(event, EpochEvent) and event.trial == trial:
                out.setdefault(event.epoch, event)
        return out

    def _job(self, row: Row, *, seed: int, folder: Path) -> Job:
        study = self.summary.study
        gpu = study.resources.gpus_per_trial > 0
        objective = study.objectives[0]
        assignment = Assignment(
            trial=row.trial,
            attempt=1,
            family=row.family,
            create=self._creates[row.family],
            config=study.family(row.family).space.complete(row.params),
            settings=dict(study.settings),
            data=self._data,
            task=study.described_task or None,
            seed=seed,
            epochs=row.epoch_budget,
            folder=folder.absolute(),
            objective=(objective.metric, objective.direction),
            checkpoint_seconds=math.inf,  # nothing here is ever resumed
            device="gpu" if gpu else "cpu",
        )
        return Job(
            assignment=assignment,
            epochs=row.epoch_budget,
            rules=study.stopping,
            objective=objective,
        )

    def _repeat(
        self, jobs: list[Job], names: list[str], tell: Tell, row: Row
    ) -> list[Repeated]:
        resources = self.summary.study.resources
        share = resources.gpus_per_trial
        everything = replace(resources, executor="ray", workers=None)
        places = plan(everything).workers if share else cores()
        return repeat(
            jobs,
            environments=[
                worker_environment(
                    gpus_per_trial=share, kernels=row.kernels, place=place
                )
                for place in range(max(1, min(places, len(jobs))))
            ],
            stall=resources.stall,
            tell=lambda index, epoch: tell(names[index], epoch),
        )

    def _place(self, name: str) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        place, copy = self._folder.reruns / f"{stamp}-{name}", 1
        while place.exists():
            copy += 1
            place = self._folder.reruns / f"{stamp}-{name}-{copy}"
        place.mkdir(parents=True)
        return place

    def _store(self, place: Path, result: Exact | Fresh, event: RerunEvent) -> None:
        text = json_text(dataclasses.asdict(result))
        write_atomically(place / "result.json", text.encode())
        self._append(structs.replace(event, folder=place.name))

    def _append(self, event: Event) -> None:
        self._ledger.append(structs.replace(event, elapsed=self._ledger.elapsed))
        self._ledger.sync()


def _other_kernels(row: Row, found: list[Repeated]) -> tuple[str, ...]:
    """In words, when a repetition computed with other kernels than the trial did."""
    today = sorted({r.kernels for r in found if r.kernels} - {row.kernels})
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
    run = RunFolder(folder)
    record = run.read_study()
    with run.acquire():
        summary = load_summary(folder)
        sources = Sources.from_json(record)
        data = reproducibility.reload_data(sources, summary.study, data_root)
        creates = creates_of(summary.study, create, sources.study_today())
        changed = reproducibility.differences(
            record.get("provenance", {}), provenance()
        )
        with Ledger.open(run.events_file, write=True) as ledger:
            yield Reruns(
                summary=summary,
                ledger=ledger,
                data=data,
                creates=creates,
                changed=changed,
            )
