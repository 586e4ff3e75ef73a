"""`hpo confirm`: are the winners of a search different, and by how much?

First the candidates are chosen (fresh seeds, validation part only), then each is trained with new
seeds, and when all have ended the test part is read once. Both stages are runs of fixed trials
below the run, so whatever interrupts them, the same call goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo import seeds
from hpo.confirmation.stages import Stage, Stages, stages
from hpo.confirmation.winners import choice, eligible
from hpo.errors import RunError, StudyError
from hpo.fixed import FixedTrial
from hpo.ledger.events import ReadTest, RerunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.group import RunGroup
from hpo.objective import Matters
from hpo.pasted import pasted
from hpo.report.summary import Row, Summary, load_summary
from hpo.report.table import goal
from hpo.run.active import Outcome
from hpo.run.parent import Manner, Parent, held
from hpo.run.rerun_folder import Wanted, command, finish
from hpo.run.rerun_study import rerun_study
from hpo.worker.pickling import Create

TOP, SEEDS = 3, 10
GROUP_TOP, GROUP_SEEDS = 1, 3
CHOOSING = 3  # fresh seeds each of the best few gets


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A confirmation as a person asks for it; None for what an earlier call said.

    Attributes:
        top: How many configurations a family may choose its candidate from (3).
        seeds: New seeds of each candidate (10).
        matters: What difference matters, as `Matters.parse` reads it (the objective's).
        extend: So many more seeds each, as another look.
    """

    top: int | None = None
    seeds: int | None = None
    matters: str | None = None
    extend: int | None = None

    def __post_init__(self) -> None:
        """Refuse what gives no spread, and two wishes at once."""
        if self.matters is not None:
            Matters.parse(self.matters)
        if self.top is not None and self.top < 1:
            raise StudyError(
                f"`--top` is 1 or more, got {self.top}",
                hint="`--top 1` takes the winners as the search ranked them",
            )
        for name, value in (("--seeds", self.seeds), ("--extend", self.extend)):
            if value is not None and not 2 <= value <= seeds.RESERVED:
                raise StudyError(
                    f"`{name}` is from 2 to {seeds.RESERVED:,}: one seed has no spread, "
                    f"got {value}",
                    hint="10 seeds see a difference of 1.5 standard deviations",
                )
        if self.seeds is not None and self.extend is not None:
            raise StudyError(
                "give `--seeds` for a first look or `--extend` for another one, not both"
            )


def confirm(
    folder: Path,
    asked: Asked,
    *,
    manner: Manner,
    tell: Callable[[str], None],
    data_root: Path | None = None,
    create: Create | None = None,
) -> Outcome | None:
    """Confirm a run, or go on with its confirmation.

    Args:
        folder: The run's folder.
        asked: What is asked for.
        manner: How trials are trained.
        tell: Is told what a person should know before it begins.
        data_root: Where real datasets lie; None means as at the launch.
        create: Replaces the families' `create`, for a study made in a script.

    Returns:
        How it ended; None where nothing was left to do.

    Raises:
        RunLocked: Somebody is at work on the run.
        RunError: No trial is ranked, the search is unfinished, or the wish contradicts what
            the confirmation began with.
    """
    with held(folder, data_root=data_root, create=create) as parent:
        found = stages(parent.folder)
        _refuse(parent.summary, found, asked)
        for text in parent.changed:
            tell(f"warning: changed since the launch: {text}")
        if found.first is None:
            for text in _beyond_limits(parent.summary):
                tell(f"warning: {text}")
        return _Confirming(parent, asked, manner).carry_on(found)


def confirm_group(
    group: RunGroup,
    asked: Asked,
    *,
    manner: Manner,
    tell: Callable[[str], None],
    data_root: Path | None = None,
) -> Outcome | None:
    """Confirm every search of a group: each winner gets a few seeds, the search is the unit.

    Args:
        group: The group.
        asked: What is asked for; a winner is the search's best (``top`` 1) with 3 seeds.
        manner: How trials are trained.
        tell: Is told what a person should know before it begins.
        data_root: Where real datasets lie; None means as at the launch.

    Returns:
        How the last one ended that was trained; None where nothing was left to do.

    Raises:
        RunError: A search is unfinished, or more seeds are asked for.
    """
    if asked.extend is not None:
        raise RunError(
            f"the unit of a group is the search, got `--extend {asked.extend}` seeds",
            hint="launch a larger group: `hpo launch STUDY --repeat M`",
        )
    runs, count = group.runs, len(group.seeds)
    ended = [run for run in runs if load_summary(run.path).finished]
    if len(ended) < count:
        raise RunError(
            f"{len(ended)} of {count} searches of the group have ended",
            hint=f"`{pasted('resume', group.path)}` goes on with them",
        )
    wishes = [_wish(run, asked) for run in runs]  # all refusals before any training
    last: Outcome | None = None
    for place, (run, wish) in enumerate(zip(runs, wishes, strict=True), 1):
        tell(f"search {place} of {count}: {run.path}")
        outcome = confirm(run.path, wish, manner=manner, tell=tell, data_root=data_root)
        last = outcome or last
        if outcome is not None and outcome.state == "interrupted":
            return outcome
    return last


def _wish(run: RunFolder, asked: Asked) -> Asked:
    """What is asked of a search of a group; one that was begun by itself goes on as it began.

    Raises:
        RunError: The search cannot be confirmed so.
    """
    found = stages(run)
    wish = asked
    if found.first is None:
        wish = dataclasses.replace(
            asked, top=asked.top or GROUP_TOP, seeds=asked.seeds or GROUP_SEEDS
        )
    _refuse(load_summary(run.path), found, wish)
    return wish


class _Confirming:
    def __init__(self, parent: Parent, asked: Asked, manner: Manner) -> None:
        self._parent = parent
        self._summary = parent.summary
        self._asked = asked
        self._manner = manner

    def carry_on(self, found: Stages) -> Outcome | None:
        if found.looks:
            last = found.looks[-1]
            if not last.stored:
                return self._train(_wanted(last), last.fixed)
            if self._asked.extend is None:
                return None
            return self._look(list(last.trials), found.looks, self._asked.extend)
        stage = found.choose
        if stage is None or not stage.stored:
            outcome = self._choose(stage)
            if outcome is not None and outcome.state == "interrupted":
                return outcome
            found = stages(self._parent.folder)
        if found.choose is None:  # a single configuration a family: nothing to choose
            rows: Sequence[Row] = [r for (r,) in self._best(1).values()]
        else:
            rows = list(choice(self._summary, found.choose).values())
        if not rows:
            raise RunError(
                "no family has a candidate: every fresh seed of the best configurations "
                "failed",
                hint=f"`{pasted('results', found.choose.folder.path)}` shows why"
                if found.choose
                else "",
            )
        count = self._asked.seeds or SEEDS
        return self._look([r.trial for r in rows], (), count, found.choose)

    def _choose(self, begun: Stage | None) -> Outcome | None:
        """Train the best few of each family with fresh seeds; None for nothing to choose."""
        if begun is not None:
            return self._train(_wanted(begun), begun.fixed)
        top = self._asked.top or TOP
        best = self._best(top)
        if all(len(rows) == 1 for rows in best.values()):
            return None
        rows = [row for members in best.values() for row in members]
        wanted = Wanted(
            kind="choose",
            trials=tuple(row.trial for row in rows),
            seeds=CHOOSING,
            details=self._details(0, top, None),
        )
        return self._train(wanted, self._fixed(rows, "choose", CHOOSING, 0))

    def _look(
        self,
        trials: list[int],
        before: Sequence[Stage],
        count: int,
        choose: Stage | None = None,
    ) -> Outcome:
        """Train the candidates with new seeds, then read the test part."""
        rows = [self._summary.row(trial) for trial in trials]
        earlier = before[-1] if before else choose
        top = earlier.top if earlier else self._asked.top or TOP
        wanted = Wanted(
            kind="confirm",
            trials=tuple(trials),
            seeds=count,
            details=self._details(len(before) + 1, top, earlier),
        )
        start = sum(stage.seeds for stage in before)
        return self._train(wanted, self._fixed(rows, "confirm", count, start))

    def _details(self, look: int, top: int, earlier: Stage | None) -> dict[str, object]:
        own = self._summary.objective.matters
        matters = self._asked.matters or (earlier.matters if earlier else own)
        return {
            "look": look,
            "top": top,
            "matters": str(Matters.parse(matters)),
            "searched": len(self._summary.rows),
        }

    def _best(self, top: int) -> dict[str, list[Row]]:
        """The best ranked trials of each family that has any, within the limits if it can."""
        return {f: rows[:top] for f, rows in _eligible(self._summary).items()}

    def _fixed(
        self, rows: Sequence[Row], purpose: str, count: int, start: int
    ) -> list[FixedTrial]:
        taken = {row.seed for row in self._summary.rows}
        return [
            FixedTrial(
                family=row.family,
                params=row.params,
                seed=seed,
                schedule=row.schedule,
                space=self._summary.earlier_space(row),
            )
            for row in rows
            for seed in seeds.fresh(
                self._summary.study.seed,
                row.family,
                purpose,
                count=count,
                start=start,
                taken=taken,
            )
        ]

    def _train(self, wanted: Wanted, fixed: Sequence[FixedTrial]) -> Outcome:
        study = rerun_study(
            self._summary.study,
            fixed,
            exact=False,
            executor=self._manner.executor,
            workers=self._manner.workers,
            attached=self._manner.attach is not None,
        )
        if wanted.kind == "choose":
            study = study.replace(evaluate="")
        numbers = ", ".join(map(str, wanted.trials))
        purpose = f"confirms trials {numbers} with {wanted.seeds} new seeds each"
        run, outcome = self._parent.train(
            wanted,
            study,
            observe=self._manner.observe,
            reads=[ReadTest(purpose=purpose)],
            attach=self._manner.attach,
        )
        if outcome.state != "interrupted":
            self._store(run.folder)
        return outcome

    def _store(self, place: RunFolder) -> None:
        """Let the run's own ledger say what came of a stage."""
        found = stages(self._parent.folder)
        mine = [*found.looks, *([found.choose] if found.choose else [])]
        stage = next(s for s in mine if s.folder == place)
        for trial, runs in stage.found.items():
            self._parent.tell(
                RerunEvent(
                    trial=trial,
                    kind="confirm" if stage.look else "choose",
                    seeds=[r.seed for r in runs],
                    values=[r.objective for r in runs],
                    tests=[r.test for r in runs],
                    folder=place.name,
                )
            )
        records: list[Mapping[str, object]] = [
            {"trial": trial, "runs": [dataclasses.asdict(r) for r in runs]}
            for trial, runs in stage.found.items()
        ]
        finish(place, records)


def _eligible(summary: Summary) -> dict[str, list[Row]]:
    """Of each family that has any: the trials its candidate is chosen from, best first."""
    ranked = dict.fromkeys(row.family for row in summary.rows if row.rank)
    return {f: eligible(r for r in summary.rows if r.family == f) for f in ranked}


def _beyond_limits(summary: Summary) -> list[str]:
    """The families of which no trial keeps to the study's limits, in words."""
    limits = " and ".join(
        goal(o) for o in summary.study.objectives if o.limit is not None
    )
    return [
        f"no trial of family `{family}` keeps to the limits ({limits}); its candidate is "
        "chosen from those beyond"
        for family, rows in _eligible(summary).items()
        if rows[0].front is None
    ]


def _wanted(stage: Stage) -> Wanted:
    """What a stage that began was asked for."""
    return Wanted(
        kind="confirm" if stage.look else "choose",
        trials=stage.trials,
        seeds=stage.seeds,
        details=stage.details,
    )


def _refuse(summary: Summary, found: Stages, asked: Asked) -> None:
    """Refuse what cannot be confirmed, and wishes that came too late.

    Raises:
        RunError: Says what, and what to do instead.
    """
    run = summary.folder
    if found.first is None:
        if not summary.finished:
            counts = ", ".join(f"{n} {state}" for state, n in summary.counts().items())
            raise RunError(
                "only a search that has ended is confirmed: its winners are not known "
                f"before ({counts or 'no trial yet'})",
                hint=f"`{pasted('resume', run)}` goes on with it",
            )
        if summary.best is None:
            raise RunError(
                "the search has no ranked trial, so there is nothing to confirm",
                hint=f"`{pasted('results', run)}` shows how its {len(summary.rows)} trials ended",
            )
    first, look = found.first, next(iter(found.looks), None)
    if asked.extend is not None and look is None:
        raise RunError(
            f"`--extend {asked.extend}` adds seeds to a confirmation, and there is none",
            hint=f"`{pasted('confirm', run, '--seeds', asked.extend)}` begins one",
        )
    last = next(reversed(found.looks), None)
    if last is not None and not last.stored and asked.extend is not None:
        itself = last.look > 1 and asked.extend == last.seeds
        if not itself:
            raise RunError(
                f"look {last.look} of the confirmation is unfinished, and `--extend "
                f"{asked.extend}` adds one behind it",
                hint=f"`{command(last.folder)}` goes on with it",
            )
    if first is not None and asked.top not in (None, first.top):
        raise RunError(
            f"the candidates were chosen with `--top {first.top}`; choosing again once "
            f"seeds are known would be no confirmation, got `--top {asked.top}`",
            hint="leave `--top` out, or launch another search",
        )
    if look is not None and asked.seeds not in (None, look.seeds):
        raise RunError(
            f"the first look has {look.seeds} seeds each, got `--seeds {asked.seeds}`",
            hint=f"`{pasted('confirm', run, '--extend', 'N')}` adds N seeds each, as another look",
        )
