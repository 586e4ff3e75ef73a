"""A bounded selection of a long history, for samplers whose model costs as much as it holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpo.study import Objective
from hpo.trials.record import Trial
from hpo.trials.states import State

BEST = 50
"""Of each kind of trial, how many of the best are taken: TPE counts at most 25 as good."""
_ACTIVE, _RANKED, _CUT, _DIVERGED, _SILENT = range(5)
_KINDS = {
    State.PENDING: _ACTIVE,
    State.RUNNING: _ACTIVE,
    State.COMPLETED: _RANKED,
    State.CONVERGED: _RANKED,
    State.STOPPED: _CUT,
    State.PAUSED: _CUT,
    State.DIVERGED: _DIVERGED,
    State.FAILED: _SILENT,
    State.CANCELLED: _SILENT,
}


def selection(
    history: Sequence[Trial], objective: Objective, *, limit: int
) -> Sequence[Trial]:
    """The trials of a history that a model is made of, in their order.

    All that are active, the best of those that are ranked, of those that were cut or wait, and
    of those beyond the objective's limit, and of all others as many as there is room for, evenly
    over the time in which they were proposed. Failed and cancelled ones are left out: they
    tell of no value. It follows from the history alone.

    Args:
        history: The family's trials in the order they were proposed.
        objective: What they are compared by.
        limit: A history up to this length is taken as it is; of a longer one about as many
            trials are taken.
    """
    if len(history) <= limit:
        return history
    trials = list(history)
    kinds = np.array([_KINDS[trial.state] for trial in trials])
    values = np.array([np.nan if (v := t.value) is None else v for t in trials])
    values = -values if objective.direction == "maximize" else values
    bound = objective.limit
    if bound is None:
        over = np.zeros(len(trials))
    else:
        over = np.maximum(
            values - (bound if objective.direction == "minimize" else -bound), 0
        )
    ranked = (kinds == _RANKED) & np.isfinite(values)
    taken = kinds == _ACTIVE
    taken[_first(np.flatnonzero(ranked & (over == 0)), by=values)] = True
    taken[_first(np.flatnonzero(ranked & (over > 0)), by=over)] = True
    taken[_longest(trials, np.flatnonzero(kinds == _CUT), objective)] = True
    others = np.flatnonzero(~taken & (kinds != _SILENT))
    room = min(max(0, limit - int(taken.sum())), len(others))
    # The newest first: it is what the others were not drawn beside.
    spread = len(others) - 1 - np.arange(room) * len(others) // max(room, 1)
    taken[others[spread]] = True
    return [trials[place] for place in np.flatnonzero(taken)]


def _first(places: np.ndarray, *, by: np.ndarray) -> np.ndarray:
    """The places of the smallest values, the earlier of equals."""
    return places[np.argsort(by[places], kind="stable")[:BEST]]


def _longest(
    trials: Sequence[Trial], places: np.ndarray, objective: Objective
) -> np.ndarray:
    """The places of those that were trained longest, and of equals the best at their ends."""
    points = [trials[place].curve.points for place in places.tolist()]
    lasts = np.array([p[-3] if p else 0.0 for p in points])
    values = np.array([p[-2] if p else np.nan for p in points])
    values = -values if objective.direction == "maximize" else values
    order = np.lexsort((np.where(np.isnan(values), np.inf, values), -lasts))
    return places[order[:BEST]]
