"""The stages of a run's confirmation, as their ledgers tell: choosing, then one run a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hpo.errors import RunError
from hpo.fixed import FixedTrial
from hpo.ledger.events import ReadTest
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import events_of
from hpo.objective import Objective
from hpo.objectives import Values, values_at
from hpo.report.repeats import trained
from hpo.report.verdicts import Seeded
from hpo.study import Study


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of a confirmation.

    Attributes:
        folder: Where it lies.
        look: 0 where the candidates are chosen, then the number of the look.
        trials: The trials of the search whose configurations it trains.
        seeds: How many new seeds each gets.
        details: What else was asked for when it began: ``look``, ``top`` (how many
            configurations a family was given to choose from), ``matters`` and ``searched`` (how
            many trials the search had).
        fixed: What it trains: all seeds of the first trial, then those of the next.
        ended: Whether nothing is left to train or to score.
        stored: Whether the run's own ledger says so, too.
        found: What became of every seed, by trial of the search.
        parameters: How many numbers each trains, by trial of the search.
    """

    folder: RunFolder
    look: int
    trials: tuple[int, ...]
    seeds: int
    details: Mapping[str, Any]
    fixed: tuple[FixedTrial, ...]
    ended: bool
    stored: bool
    found: Mapping[int, tuple[Seeded, ...]]
    parameters: Mapping[int, int | None]

    @property
    def top(self) -> int:
        """How many configurations a family was given to choose from."""
        return int(self.details["top"])

    def attained(self, trial: int, objectives: Sequence[Objective]) -> Values:
        """The means over a trial's seeds that did not fail, None where one lacks a metric.

        Args:
            trial: The trial of the search.
            objectives: Those of its study.
        """
        first = objectives[0].metric
        told = [
            {**seed.further, first: seed.objective}
            for seed in self.found[trial]
            if not seed.error and seed.objective is not None
        ]
        shared = set.intersection(*map(set, told)) if told else set()
        means = {metric: fmean(valid[metric] for valid in told) for metric in shared}
        return values_at(objectives, means, self.parameters[trial])

    def numbers(self, trial: int) -> range:
        """Which trials of the stage are the seeds of a trial of the search.

        Args:
            trial: The trial of the search.
        """
        before = self.trials.index(trial) * self.seeds
        return range(before + 1, before + 1 + len(self.found[trial]))

    @property
    def matters(self) -> str:
        """What mattered when the stage began."""
        return str(self.details["matters"])


@dataclass(frozen=True, kw_only=True)
class Stages:
    """All stages of a confirmation.

    Attributes:
        choose: The stage that chooses; None before it began, and where nothing was to choose.
        looks: The looks, in order; the last one may be unfinished.
    """

    choose: Stage | None = None
    looks: tuple[Stage, ...] = ()

    @property
    def first(self) -> Stage | None:
        """The one that began first; None where nothing was begun."""
        return self.choose or next(iter(self.looks), None)

    @property
    def whole(self) -> tuple[Stage, ...]:
        """The looks that have ended."""
        return tuple(stage for stage in self.looks if stage.ended)


def stages(run: RunFolder) -> Stages:
    """Read a run's confirmation; nothing but its own ledgers is read.

    Raises:
        RunError: One of them is damaged.
    """
    found = [s for s in map(_stage, reversed(run.children())) if s is not None]
    looks = sorted((s for s in found if s.look), key=lambda s: s.look)
    choose = next((s for s in found if not s.look), None)
    return Stages(choose=choose, looks=tuple(looks))


def reads_before(run: RunFolder, looks: tuple[Stage, ...]) -> int:
    """How often the run's test part was read before the first look of its confirmation.

    Args:
        run: The run.
        looks: The looks.
    """
    own = {stage.folder.name for stage in looks}
    seen: set[str] = set()
    for event in events_of(run.events_file, ReadTest):
        if event.folder in own:
            break
        seen.add(event.folder or f"line {event.n}")
    return len(seen)


def _stage(folder: RunFolder) -> Stage | None:
    try:
        record = folder.read_study()
    except RunError:
        return None  # a re-run of an earlier version, or somebody else's folder
    wanted = record.get("rerun") or {}
    if wanted.get("kind") not in ("choose", "confirm"):
        return None
    study = Study.from_json(record["study"])
    trials, seeds = tuple(wanted["trials"]), int(wanted["seeds"])
    runs, sizes, ended = trained(folder, study)
    blocks = {
        trial: slice(i * seeds, (i + 1) * seeds) for i, trial in enumerate(trials)
    }
    return Stage(
        folder=folder,
        look=int(wanted.get("look", 0)),
        trials=trials,
        seeds=seeds,
        details={k: wanted[k] for k in ("look", "top", "matters", "searched")},
        fixed=study.fixed,
        ended=ended,
        stored=folder.result_file.exists(),
        found={trial: tuple(runs[block]) for trial, block in blocks.items()},
        parameters={
            trial: next((s for s in sizes[block] if s), None)
            for trial, block in blocks.items()
        },
    )
