"""The study of a re-run: a run's own, with fixed trials instead of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpo.fixed import FixedTrial
from hpo.run.plan import places
from hpo.stopping import registry
from hpo.stopping.registry import StoppingRule
from hpo.study import Rule, Study


def rerun_study(
    study: Study,
    fixed: Sequence[FixedTrial],
    *,
    exact: bool,
    executor: str | None = None,
    workers: int | None = None,
) -> Study:
    """A study that trains some trials of another one again.

    Args:
        study: The resolved study of the run.
        fixed: What is trained.
        exact: Whether every recorded epoch is to come again, so that no rule applies. Else
            those rules do that compare a trial with nothing but itself, and the test part is
            evaluated when all trials have ended.
        executor: What trains them; ``local`` unless said otherwise.
        workers: Trials at a time; None for as many as have room.
    """
    resources = replace(study.resources, executor=executor or "local")
    room = min(places(resources), len(fixed))
    used = {trial.family for trial in fixed}
    changed = study.replace(
        families=tuple(
            replace(f, initial_points=()) for f in study.families if f.name in used
        ),
        budget=replace(
            study.budget, trials=len(fixed), seconds=None, total_epochs=None
        ),
        stopping=(),
        resources=replace(resources, workers=workers or room),
        warm_start=(),
        fixed=tuple(fixed),
        evaluate="" if exact else "test",
    )
    return changed if exact else changed.replace(stopping=_solitary(study, changed))


def _solitary(study: Study, changed: Study) -> tuple[Rule, ...]:
    """The stopping rules of a study that compare none of these trials with others."""
    counts = changed.trials_of()

    def compares(rule: StoppingRule) -> bool:
        return any(
            rule.rungs(changed.epochs_of(family), index)
            for family, count in counts.items()
            for index in range(count)
        )

    return tuple(r for r in study.stopping if not compares(registry.make(r)))
