"""Any of Optuna's pruners, asked after every epoch."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from hpo.errors import StudyError
from hpo.search.optuna_study import silent
from hpo.stopping.registry import Evidence, Verdict
from hpo.study import Objective
from hpo.trials.record import Trial
from hpo.trials.states import State
from models.errors import near_matches

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial

_Values = tuple[tuple[int, float], ...]  # the objective by epoch, in order


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Stopped when Optuna's pruner says so; all further options are the pruner's own.

    The pruner sees the family's trials as an Optuna study: completed and converged ones as
    complete, stopped and diverged ones as pruned, with their values by epoch. It is rebuilt
    for each epoch, together with what it keeps in the trials, so that a resumed run is
    judged like the undisturbed one; that costs some milliseconds per hundred trials.
    Options that Optuna would guess from finished trials (``min_resource`` and
    ``max_resource`` where they are ``auto``) follow from the epoch budget instead. A pruner
    around another one takes it as ``{"pruner": NAME, ...}``.

    Attributes:
        pruner: The name of a class in `optuna.pruners`.
        arguments: Its keyword arguments, given beside `pruner`.
    """

    converges: ClassVar[bool] = False

    pruner: str = "MedianPruner"
    arguments: Mapping[str, Any] = field(default_factory=dict, metadata={"rest": True})

    def __post_init__(self) -> None:
        """Refuse what Optuna refuses, before anything runs."""
        _made(self.pruner, self.arguments, budget=100)

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """Every tenth of the budget, for checkpoints; the pruner is asked at every epoch."""
        tenth = max(1, budget // 10)
        return tuple(range(tenth, budget, tenth))

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Ask the pruner about the epoch."""
        with silent():
            study = _study(evidence.objective)
            found: FrozenTrial | None = None
            for trial in evidence.history:
                mine = trial.number == evidence.trial
                values = tuple((evidence.values if mine else trial.values).items())
                notes = self._notes(trial, values[:-1] if mine else values, evidence)
                study.add_trial(_frozen(trial, values, notes))
                if mine:
                    found = study.get_trials(deepcopy=False)[-1]
            assert found is not None, "a trial is in its family's history"
            pruner = _made(self.pruner, self.arguments, budget=evidence.budget)
            pruned = pruner.prune(study, found)
        if not pruned:
            return None
        text = f"{self.pruner} at {evidence.objective.metric} {evidence.value:.4g}"
        return Verdict(State.STOPPED, f"{text}, epoch {evidence.epoch.number}")

    def _notes(
        self, trial: Trial, values: _Values, evidence: Evidence
    ) -> Mapping[str, Any]:
        arguments = json.dumps(dict(self.arguments), sort_keys=True)
        place = (trial.index, evidence.budget, evidence.objective.direction)
        return _kept(self.pruner, arguments, place, values)


@lru_cache(maxsize=4096)
def _kept(
    name: str, arguments: str, place: tuple[int, int, Any], values: _Values
) -> Mapping[str, Any]:
    """The attributes a pruner has written into a trial by the last of these epochs.

    Successive halving notes there which rungs a trial has passed. A trial that is still
    there was let through at all of them, so asking about it alone leaves the same notes.
    """
    index, budget, direction = place
    study = _study(Objective(direction=direction))
    pruner = _made(name, json.loads(arguments), budget=budget)
    blank = Trial(
        number=index + 1, family="", index=index, params={}, seed=0, budget=budget
    )
    notes: Mapping[str, Any] = {}
    for count in range(1, len(values) + 1):
        study.add_trial(_frozen(blank, values[:count], notes))
        alone = study.get_trials(deepcopy=True)[-1]
        identity = alone._trial_id
        alone.number = index  # brackets go by it
        pruner.prune(study, alone)
        notes = study._storage.get_trial(identity).system_attrs
        study = _study(Objective(direction=direction))
    return dict(notes)


def _study(objective: Objective) -> Study:
    import optuna

    return optuna.create_study(study_name="hpo", direction=objective.direction)


def _frozen(trial: Trial, values: _Values, notes: Mapping[str, Any]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    value = None
    if trial.ranked and trial.value is not None:
        state, value = TrialState.COMPLETE, trial.value
    elif trial.state in (State.FAILED, State.CANCELLED):
        state = TrialState.FAIL
    else:
        state = TrialState.PRUNED if trial.ended else TrialState.RUNNING
    return create_trial(
        state=state,
        value=value,
        intermediate_values=dict(values),
        system_attrs=dict(notes),
    )


def _made(name: str, arguments: Mapping[str, Any], *, budget: int) -> BasePruner:
    """The pruner, with what it would guess filled in.

    Raises:
        StudyError: There is no such pruner, or Optuna refuses an argument.
    """
    from optuna import pruners

    names = [n for n in pruners.__all__ if n.endswith("Pruner") and n != "BasePruner"]
    if name not in names:
        raise StudyError(f"unknown pruner `{name}`", hint=near_matches(name, names))
    kind = getattr(pruners, name)
    known = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in known:
            raise StudyError(
                f"`{name}` has no argument `{argument}`",
                hint=near_matches(argument, known),
            )
    given = {k: _inner(v, budget) for k, v in arguments.items()}
    guessed = {"min_resource": max(1, budget // 100), "max_resource": budget}
    for argument, value in guessed.items():
        guesses = argument in known and known[argument].default == "auto"
        if guesses and given.get(argument, "auto") == "auto":
            given[argument] = value
    try:
        with silent():
            made: BasePruner = kind(**given)
    except (TypeError, ValueError) as error:
        raise StudyError(f"optuna's `{name}`: {error}") from error
    return made


def _inner(value: Any, budget: int) -> Any:
    """A pruner inside a pruner, where the value describes one."""
    if not isinstance(value, Mapping) or "pruner" not in value:
        return value
    rest = {k: v for k, v in value.items() if k != "pruner"}
    return _made(value["pruner"], rest, budget=budget)
