"""The study of a re-run: a run's own, with fixed trials instead of a search."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpo.fixed import FixedTrial
from hpo.order import ARRIVAL
from hpo.run.plan import places
from hpo.stopping import registry
from hpo.study import Rule, Study


@dataclass(frozen=True, kw_only=True)
class Altered:
    """What a re-run sets otherwise than the search did.

    Attributes:
        study: The study with that set.
        epochs: The epoch budget; None for that of the search.
        settings: Configuration keys with their values.
    """

    study: Study
    epochs: int | None
    settings: Mapping[str, Any]

    @property
    def words(self) -> str:
        """In words, such as ``300 epochs, model.layers=2``."""
        said = [f"{self.epochs} epochs"] if self.epochs is not None else []
        return ", ".join(
            [*said, *(f"{k}={json.dumps(v)}" for k, v in self.settings.items())]
        )

    @property
    def details(self) -> dict[str, Any]:
        """What ``study.json`` says of it, beside whose re-run it is."""
        return {
            "changed": self.words,
            "epochs": self.epochs,
            "settings": dict(self.settings),
        }


def fitting(
    study: Study, trial: FixedTrial, settings: Collection[str] = ()
) -> FixedTrial:
    """A trial without the values that a study fixes for all.

    Args:
        study: The study.
        trial: The trial, with values for every searched key of an earlier one.
        settings: The keys that are fixed otherwise than the search had them.
    """
    space = study.family(trial.family).space
    own = trial.space
    if own is not None:
        fixed_now = {k: v for k, v in space.constants.items() if k in settings}
        own = space = own.replace(fixed_now)
    searched = space.distributions
    params = {k: v for k, v in trial.params.items() if k in searched}
    fixed = set(trial.params) - set(params)
    schedule = []
    for change in trial.schedule:
        traced = {k: v for k, v in change.traced.items() if k not in fixed}
        if traced:
            schedule.append(replace(change, traced=traced))
    return replace(trial, params=params, schedule=tuple(schedule), space=own)


def rerun_study(
    study: Study,
    fixed: Sequence[FixedTrial],
    *,
    exact: bool,
    executor: str | None = None,
    workers: int | None = None,
    attached: bool = False,
) -> Study:
    """A study that trains some trials of another one again.

    Args:
        study: The resolved study of the run.
        fixed: What is trained.
        exact: Whether every recorded epoch is to come again, so that no rule applies. Else
            those rules do that compare a trial with nothing but itself, and the test part is
            evaluated when all trials have ended.
        executor: What trains them; without a cluster ``local`` unless said otherwise.
        workers: Trials at a time; None for as many as have room.
        attached: Whether it is trained on a cluster, which says how many have room.
    """
    usual = "ray" if attached else "local"
    resources = replace(study.resources, executor=executor or usual)
    if not attached:
        workers = workers or min(places(resources), len(fixed))
    used = {trial.family for trial in fixed}
    changed = study.replace(
        families=tuple(
            replace(f, initial_points=()) for f in study.families if f.name in used
        ),
        budget=replace(
            study.budget, trials=len(fixed), seconds=None, total_epochs=None
        ),
        stopping=(),
        resources=replace(resources, workers=workers, order=ARRIVAL),
        warm_start=(),
        fixed=tuple(fixed),
        evaluate="" if exact else "test",
    )
    return changed if exact else changed.replace(stopping=_solitary(study, changed))


def _solitary(study: Study, changed: Study) -> tuple[Rule, ...]:
    """The stopping rules of a study that compare none of these trials with others."""
    return tuple(
        rule
        for rule in study.stopping
        if not any(
            registry.compares(registry.make(rule), changed, family.name)
            for family in changed.families
        )
    )
