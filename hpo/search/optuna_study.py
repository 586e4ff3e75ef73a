"""An Optuna study rebuilt from the ledger for one question, then thrown away.

Restoring a live study with `add_trial` repeats or changes later proposals (Optuna draws from
a running generator); a fresh study with a seed of its own for every proposal does not.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.objectives import attained, excess
from hpo.search.registry import Request
from hpo.study import Objective
from hpo.trials.record import Trial
from hpo.trials.states import RANKED, State
from search_spaces.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as OptunaTrial

_EPOCH = datetime.datetime(1970, 1, 1)  # samplers must not see the clock
_NO_VALUE = (*RANKED, State.DIVERGED)


def ask(
    sampler: BaseSampler, request: Request, *, history: Iterable[Trial]
) -> dict[str, Any]:
    """Let an Optuna sampler propose one point of a (conditional) space.

    Args:
        sampler: Seeded for this proposal.
        request: What is asked.
        history: The trials the sampler may learn from.

    Returns:
        Searched values by name, in the space's order, as plain Python values.
    """
    import optuna

    with silent():
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(
            storage=storage,
            sampler=sampler,
            directions=[o.direction for o in request.objectives],
        )
        # `add_trials` would check and copy all of them, every time anew.
        place = storage.get_study_id_from_name(study.study_name)
        for known in frozen_trials(request.space, history, request.objectives):
            storage.create_new_trial(place, template_trial=known)
        trial = study.ask()
        return request.space.suggest(partial(_suggest, trial))


def frozen_trials(
    space: Space, history: Iterable[Trial], objectives: Sequence[Objective]
) -> Iterator[FrozenTrial]:
    """The family's trials in Optuna's words.

    Completed and converged trials are COMPLETE with the value of their best epoch; stopped
    and paused ones PRUNED with their values by epoch; diverged ones PRUNED without, which
    ranks them worst; failed and cancelled ones FAIL; the others RUNNING, for the constant
    liar. Trials whose values do not fit the space (resumed with another one) are left out.

    With several objectives Optuna knows no values by epoch, so stopped trials are PRUNED
    without, like diverged ones; so is a completed trial that lacks one of the values.
    Limits become Optuna's constraints.
    """
    goals_of = tuple(objectives)
    made = _MADE.setdefault(space, {})
    for trial in history:
        kept = made.get(trial.number)
        if kept is not None and kept[0] is trial and kept[1] == goals_of:
            yield kept[2]
            continue
        with contextlib.suppress(ValueError, TypeError):
            frozen = _frozen(space, trial, goals_of)
            if trial.ended:
                # What Optuna's storage copies it gets as it is: nothing there changes an
                # ended trial but its place, which is given anew each time.
                vars(frozen)["__deepcopy__"] = partial(_itself, frozen)
                made[trial.number] = trial, goals_of, frozen
            yield frozen


# Ended trials in Optuna's words, by space and number. They follow from the trial's record,
# which is asked for by identity; so this changes no proposal, it only saves making them anew.
_MADE: WeakKeyDictionary[
    Space, dict[int, tuple[Trial, tuple[Objective, ...], FrozenTrial]]
] = WeakKeyDictionary()


def _itself(frozen: FrozenTrial, memo: Any) -> FrozenTrial:
    return frozen


def _frozen(space: Space, trial: Trial, objectives: Sequence[Objective]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    values, intermediate, limits = None, {}, None
    found = attained(trial, objectives)
    known = [v for v in found if v is not None]
    if trial.ranked and len(known) == len(found):
        state, values = TrialState.COMPLETE, known
        limits = excess(found, objectives) or None
    elif trial.state in _NO_VALUE:
        state = TrialState.PRUNED
    elif trial.state in ("stopped", "paused"):
        state = TrialState.PRUNED
        if len(objectives) == 1:
            finite = trial.values.items()
            intermediate = {e: v for e, v in finite if math.isfinite(v)}
    elif trial.ended:
        state = TrialState.FAIL
    else:
        state = TrialState.RUNNING
    made = create_trial(
        state=state,
        values=values,
        constraints=limits,
        params=dict(trial.params),
        distributions=space.active(trial.params),
        intermediate_values=intermediate,
    )
    made.datetime_start = _EPOCH
    made.datetime_complete = _EPOCH if state.is_finished() else None
    return made


def _suggest(trial: OptunaTrial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    low, high, log = distribution.low, distribution.high, distribution.log
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, int(low), int(high), step=distribution.step, log=log
        )
    return trial.suggest_float(name, low, high, step=distribution.step, log=log)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Optuna's notes about new studies and experimental options are not for our users."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
