"""The conformance suite of every sampler, by its name and options.

Samplers that need a package which is missing raise a `StudyError` here, as they do in a study.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import structs
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.errors import StudyError
from hpo.search import registry
from hpo.search.registry import Request
from hpo.seeds import derive
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.testing import directed
from hpo.trials.curve import Curve
from hpo.trials.record import Trial
from hpo.trials.states import ENDINGS, State
from models.training.protocol import Epoch
from search_spaces.space import Space

SPACE = Space(
    {
        "kind": CategoricalDistribution(["gru", "lstm", None]),
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "layers": IntDistribution(1, 3),
        "dropout": FloatDistribution(0.0, 0.5),
        "window": 50,
    }
).when("dropout", "layers", at_least=2)
"""A space with everything that a family may search: conditions, constants, a choice of None."""

OTHER_SPACE = Space(
    {
        "kind": CategoricalDistribution(["gru", "rnn"]),
        "rate": FloatDistribution(1e-2, 10.0, log=True),
        "layers": IntDistribution(2, 4, step=2),
        "dropout": CategoricalDistribution(["none", "some"]),
        "window": IntDistribution(10, 50),
        "decay": FloatDistribution(1e-6, 1e-2, log=True),
    }
)
"""What an extension may make of it: values gone and new, other kinds, a new dimension."""

_PLAIN = (str, float, int, bool, type(None))


def check_points(sampler: Rule, *, count: int = 30) -> None:
    """Whatever it proposes is a point of the space, of plain values that JSON holds.

    Args:
        sampler: Its name and options.
        count: How many proposals.
    """
    for trial in search(sampler, _good, count):
        assert SPACE.validate(trial.params) == trial.params
        assert list(SPACE.validate(trial.params)) == list(trial.params), "another order"
        assert {type(v) for v in trial.params.values()} <= set(_PLAIN), trial.params


def check_pure(sampler: Rule, *, count: int = 15) -> None:
    """A proposal depends on the request alone, and asking changes nothing.

    Asked again, by a sampler made anew, in another order and beside a person's own random
    numbers, it is the same one; with other seeds it is another one.

    Args:
        sampler: Its name and options.
        count: Trials of the history.
    """
    history = search(sampler, _good, count)
    for index in (count - 1, count // 4, count // 2):
        random.seed(index)
        np.random.seed(index)
        before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        asked = request(index, history=history[:index])
        kept = copy.deepcopy(asked.history)
        assert _made(sampler).propose(asked) == history[index].params, index
        assert kept == asked.history, "the history was changed"
        after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        assert before == after, "global random numbers were drawn"
    others = [_made(sampler).propose(request(i, seed=1)) for i in range(4)]
    assert others != [t.params for t in history[:4]], "the seed changes nothing"


def check_edges(sampler: Rule) -> None:
    """Spaces without a choice have one point, and both ends of a range are reached.

    Args:
        sampler: Its name and options.
    """
    nothing = request(0, space=Space({"order": 5}))
    assert _made(sampler).propose(nothing) == {}
    space = Space(
        {
            "one": IntDistribution(3, 3),
            "only": CategoricalDistribution(["gru"]),
            "even": IntDistribution(2, 4, step=2),
        }
    )
    found = [t.params for t in search(sampler, _even, 40, space=space)]
    assert {(p["one"], p["only"]) for p in found} == {(3, "gru")}
    assert {p["even"] for p in found} == {2, 4}


def check_endings(sampler: Rule) -> None:
    """However earlier trials ended, and where they have no value, there is a next point.

    Args:
        sampler: Its name and options.
    """
    states = [*ENDINGS, "paused", "running", "pending"]
    points = [t.params for t in search(Rule(name="random"), _good, 3 * len(states))]
    history = []
    for index, params in enumerate(points):
        value = [0.5 + index, math.nan, None][index % 3]
        state = states[index % len(states)]
        history.append(_trial(index, params, value, state=state))
    for direction in ("minimize", "maximize"):
        asked = request(
            len(history), history=history, objective=Objective(direction=direction)
        )
        proposed = _made(sampler).propose(asked)
        if proposed is not None:
            assert SPACE.validate(proposed) == proposed


def check_objectives(sampler: Rule) -> None:
    """With two objectives it proposes points, or refuses before anything runs.

    Args:
        sampler: Its name and options.
    """
    made = _made(sampler)
    remarks = made.examine(SPACE, 1)
    assert isinstance(remarks, tuple) and all(isinstance(r, str) for r in remarks)
    try:
        made.examine(SPACE, 2)
    except StudyError as error:
        assert error.message
        return
    further = (Objective(metric="fit", direction="maximize"),)
    history: list[Trial] = []
    for index in range(15):
        asked = request(index, history=history, further=further)
        params = _made(sampler).propose(asked)
        assert params is not None and SPACE.validate(params) == params
        history.append(_trial(index, params, _good(params)))


def check_exhaustion(sampler: Rule) -> None:
    """Once it has no point left it has none for ever.

    Args:
        sampler: Its name and options.
    """
    space = Space({"a": CategoricalDistribution([1, 2]), "b": IntDistribution(1, 2)})
    history = search(sampler, _even, 8, space=space)
    if len(history) == 8:
        return
    for index in range(len(history), 12):
        asked = request(index, space=space, history=history)
        assert _made(sampler).propose(asked) is None, "points came back"


def check_extended(sampler: Rule, *, count: int = 30) -> None:
    """After an extension that brought another space it proposes points of that one.

    Args:
        sampler: Its name and options.
        count: Trials before the extension, here of points drawn at random.
    """
    origin = sampler.name
    for before, now in ((SPACE, OTHER_SPACE), (OTHER_SPACE, SPACE)):
        drawn = search(Rule(name="random"), _good, count, space=before)
        former = [structs.replace(trial, origin=origin) for trial in drawn]
        history = [*former]
        for index in range(count, count + 6):
            asked = request(
                index,
                space=now,
                history=history,
                former=[(trial, before) for trial in former],
            )
            params = _made(sampler).propose(asked)
            assert params is not None, "the other space had points left"
            assert now.validate(params) == params
            assert {type(v) for v in params.values()} <= set(_PLAIN), params
            history.append(_trial(index, params, _good(params), origin=origin))


def check_runs(sampler: Rule) -> None:
    """A whole study, killed at many moments, proposes what the undisturbed one does.

    Args:
        sampler: Its name and options.
    """
    study = Study(
        name="conformance",
        families=(
            Family(name="one", space=SPACE),
            Family(name="two", space=Space({"rate": FloatDistribution(0.1, 1.0)})),
        ),
        budget=Budget(trials=14, epochs=4),
        sampler=sampler,
        stopping=(Rule(name="divergence"), Rule(name="asha")),
        seed=3,
    )

    def curve(trial: Trial, number: int) -> Epoch:
        value = _good(trial.params) + 1.0 / number + derive(trial.seed, number) / 2**33
        value = math.nan if derive(trial.seed, "nan") % 7 == 0 else value
        return Epoch(number, {"loss": value}, {"rmse": value})

    directed.check_resumed(study, curve, every=9)
    directed.run(study, curve, workers=3)


CHECKS = (
    check_points,
    check_pure,
    check_edges,
    check_endings,
    check_objectives,
    check_exhaustion,
    check_extended,
    check_runs,
)


# -- how it is checked --------------------------------------------------------------------


def request(
    index: int,
    *,
    space: Space = SPACE,
    seed: int = 0,
    history: Sequence[Trial] = (),
    objective: Objective | None = None,
    further: tuple[Objective, ...] = (),
    former: Sequence[tuple[Trial, Space]] = (),
) -> Request:
    """The Director's request for a family's next point.

    Args:
        index: How many points were asked for before.
        space: What may vary.
        seed: Of the study.
        history: The family's trials.
        objective: What they are ranked by.
        further: Further objectives.
        former: Those of the trials that are of another space, each with that.
    """
    return Request(
        space=space,
        seed=derive(seed, "proposal", index),
        family_seed=derive(seed),
        index=index,
        history=history,
        objective=objective or Objective(),
        further=further,
        former=former,
    )


def search(
    sampler: Rule,
    value: Callable[[Mapping[str, Any]], float],
    count: int,
    *,
    space: Space = SPACE,
    seed: int = 0,
    objective: Objective | None = None,
) -> list[Trial]:
    """Ask and evaluate in turn; the trials in the order proposed, fewer where points ran out.

    Args:
        sampler: Its name and options.
        value: The objective at a point.
        count: How many points.
        space: What may vary.
        seed: Of the study.
        objective: What trials are ranked by.
    """
    history: list[Trial] = []
    for index in range(count):
        asked = request(
            index, space=space, seed=seed, history=history, objective=objective
        )
        params = _made(sampler).propose(asked)
        if params is None:
            break
        history.append(_trial(index, params, value(params), origin=sampler.name))
    return history


def _made(sampler: Rule) -> registry.Sampler:
    return registry.make(sampler)


def _good(params: Mapping[str, Any]) -> float:
    """A smooth function with a best rate, and worse with every layer."""
    return abs(math.log10(params["rate"]) + 2.0) + 0.1 * float(params.get("layers", 1))


def _even(params: Mapping[str, Any]) -> float:
    return float(params.get("even", 0))


def _trial(
    index: int,
    params: Mapping[str, Any],
    value: float | None,
    *,
    state: str = "completed",
    origin: str = "first",
) -> Trial:
    finite = value if value is not None and math.isfinite(value) else None
    known = {} if value is None else {1: value}
    epochs = {
        n: Epoch(n, {"loss": v}, {"rmse": v, "fit": -v}) for n, v in known.items()
    }
    return Trial(
        number=index + 1,
        family="conformance",
        index=index,
        params=dict(params),
        seed=0,
        budget=9,
        state=State(state),
        origin=origin,
        epochs=epochs,
        curve=Curve.of(known.items()),
        value=finite,
        best_epoch=None if finite is None else 1,
    )
