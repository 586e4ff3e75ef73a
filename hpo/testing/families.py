"""Checks for every model family and each of its tasks. A family is given as its module.

The module has ``Config``, ``TASKS``, ``problem(config, data)``, ``create(config, context)``,
``example(task)`` and the constants ``CLOSED_FORM`` and ``CAUSAL``; see `models/family.py`. What
is hidden from a model is checked in `hpo.testing.hiding`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hpo.testing.learners import numbers, same
from hpo.testing.spaces import neighbors, point_with
from models.errors import ConfigError
from search_spaces.space import Space

COMPILED = "/jax/core/compile/backend_compile_duration"
_MANY = 300
"""Epochs of an example that is to show what acts late."""


@contextmanager
def compilations() -> Iterator[list[float]]:
    """Collects the seconds of every program that XLA compiles inside the block."""
    from jax import monitoring

    seconds: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILED:
            seconds.append(duration_secs)

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        monitoring.unregister_event_duration_listener(listen)


def make(
    family: ModuleType,
    task: str,
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    units: Any = None,
    epochs: int | None = None,
) -> Any:
    """The learner of the family's example of a task.

    Args:
        family: The family's module.
        task: One of its tasks.
        folder: Where the example's data goes.
        config: Keys to change in the example's configuration.
        seed: The trial's seed.
        units: Physical units of the data.
        epochs: Another budget than the example's.
    """
    example = family.example(task)
    if epochs is not None:
        example = dataclasses.replace(example, epochs=epochs)
    changed = {} if units is None else {"units": units}
    context = example.context(folder, seed=seed, **changed)
    return family.create({**example.config, **(config or {})}, context)


def check_shapes(learner: Any, given: Mapping[str, np.ndarray]) -> None:
    """A fitted learner predicts rows alone and in a batch, with the same numbers.

    Args:
        learner: Fitted.
        given: What a prediction of one row takes, by role.
    """
    gives = set(learner.interface.gives)
    alone = learner.predict(given)
    assert set(alone) == gives, f"{sorted(alone)} for {sorted(gives)}"
    assert all(np.isfinite(values).all() for values in alone.values())
    turned = {role: values[::-1] * 0.5 for role, values in given.items()}
    pair = {role: np.stack([turned[role], values]) for role, values in given.items()}
    together = learner.predict(pair)
    for role, values in alone.items():
        assert together[role].shape == (2, *np.shape(values)), role
        scale = np.abs(values).max()
        np.testing.assert_allclose(
            together[role][1], values, rtol=1e-4, atol=1e-5 * max(scale, 1.0)
        )
    assert learner.parameters > 0
    assert set(learner.configuration), "the configuration is empty"


def check_metrics(family: ModuleType, task: str, learner: Any) -> None:
    """The learner reports every metric of the task, what its problem adds, and its loss terms.

    Of the test part it reports beside them what the task appraises, and nothing else.
    The suites ask for no other: a metric that a family adds must not take a task's name.

    Args:
        family: The family's module.
        task: The task.
        learner: Fitted.
    """
    described = family.example(task).described
    declared = {metric.name for metric in described.metrics(learner.interface)}
    wanted = declared | set(getattr(learner.problem, "facts", ()))
    wanted |= set(getattr(learner.problem, "further", ()))
    if not family.CLOSED_FORM:
        problem = learner.problem
        metrics = (*problem.metrics, *problem.train_metrics)
        wanted = {metric.name for metric in metrics}
        wanted |= set(problem.term_names())
    assert declared <= wanted, f"{sorted(declared - wanted)} of the task are missing"
    assert described.OBJECTIVE[0] in wanted
    for epoch in learner.records:
        assert set(epoch.valid) == wanted, set(epoch.valid)
    tested, appraised = learner.evaluate("test"), described.APPRAISED
    assert wanted | set(appraised) <= set(tested), sorted(tested)
    further = set(tested) - wanted
    assert bool(further) == bool(appraised), f"{sorted(further)} of the test part alone"
    assert all(np.isfinite(tested[name]) for name in further)


def check_gradients(learner: Any) -> None:
    """Every parameter has a finite gradient that is not zero everywhere.

    Read from what the optimizer keeps (`Engine.influence`) after some epochs, which costs
    no compilation.

    Args:
        learner: A fitted gradient learner.
    """
    import jax

    influence = learner.runner.engine.influence(learner.state)
    moments = {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(influence)
    }
    assert moments, "the model has no parameter"
    assert all(e.train["skipped"] == 0 for e in learner.records), (
        "an update was skipped"
    )
    for where, values in moments.items():
        assert np.isfinite(values).all(), f"the gradient of {where} is not finite"
        assert np.abs(values).max() > 0, f"the gradient of {where} is always zero"


def check_compiles_once(
    family: ModuleType, task: str, folder: Path, *, traced: Mapping[str, float]
) -> None:
    """A second trial of the same static signature compiles nothing at all.

    Args:
        family: The family's module; a trial of its example has run in this process.
        task: One of its tasks.
        folder: Where the example's data goes.
        traced: Other values of traced keys for the second trial.
    """
    make(family, task, folder).fit()
    second = make(family, task, folder, config=traced, seed=7)
    with compilations() as seconds:
        epochs = second.fit()
    assert not seconds, f"{len(seconds)} programs compiled in the second trial"
    assert all(e.compile_seconds == 0 for e in epochs), "compile seconds were reported"


def check_units(family: ModuleType, task: str, folder: Path) -> None:
    """Measuring in other units changes predictions by those units and nothing else.

    The scales are powers of two, so that rounding is all that may differ. Times (role t) are
    measured in nothing else.

    Args:
        family: The family's module.
        task: One of its tasks.
        folder: Where the data in both units goes.
    """
    example = family.example(task)
    plain = make(family, task, folder / "plain")
    roles = tuple(role for role in plain.interface.reference.roles if role != "t")
    units = example.units_type(
        scale=dict(zip(roles, (1024.0, 1 / 512, 16.0), strict=False)),
        offset=dict(zip(roles, (-4096.0, 0.25, 3.0), strict=False)),
    )
    other = make(family, task, folder / "other", units=units)
    first, second = plain.fit()[-1], other.fit()[-1]
    np.testing.assert_allclose(second.train["loss"], first.train["loss"], rtol=2e-3)
    for name, value in first.valid.items():
        role = example.described.measured_in(name)
        wanted = value * (units.scale.get(role, 1.0) if role else 1.0)
        np.testing.assert_allclose(
            second.valid[name], wanted, rtol=3e-3, atol=1e-5, err_msg=name
        )
    given = example.given(folder / "plain")
    predicted = plain.predict(given)
    again = other.predict({role: units.of(role, a) for role, a in given.items()})
    for role, values in predicted.items():
        scale, offset = units.scale.get(role, 1.0), units.offset.get(role, 0.0)
        tolerance = 3e-3 * np.abs(np.asarray(values) * scale).max()
        np.testing.assert_allclose(
            again[role], values * scale + offset, rtol=0, atol=tolerance
        )


def check_causal(learner: Any, given: Mapping[str, np.ndarray]) -> None:
    """Later inputs change nothing that came before; present ones do matter.

    Args:
        learner: Fitted.
        given: What a prediction of one row takes; ``u`` ``[T, n_u]`` is changed.
    """
    u = np.asarray(given["u"])
    when = len(u) // 2
    changed = u.copy()
    changed[when:] += 1.0
    before = np.asarray(learner.predict(given)["y"])
    after = np.asarray(learner.predict({**given, "u": changed})["y"])
    np.testing.assert_allclose(after[:when], before[:when], rtol=1e-5, atol=1e-6)
    assert np.abs(after[when:] - before[when:]).max() > 1e-4, "the future is ignored"


def check_lanes(family: ModuleType, task: str, folder: Path) -> None:
    """A lane of several trials equals its trial alone.

    Args:
        family: The family's module.
        task: One of its tasks.
        folder: Where the example's data goes.
    """
    from importlib import import_module

    fit_lanes = import_module("models.training.lanes").fit_lanes
    rates = (1e-3, 5e-3)

    def trials() -> list[Any]:
        return [
            make(family, task, folder, config={"optimizer.learning_rate": r}, seed=i)
            for i, r in enumerate(rates)
        ]

    alone = [learner.fit(2) for learner in trials()]
    together = list(fit_lanes(trials(), 2))
    for lane, epochs in enumerate(alone):
        for epoch, lanes in zip(epochs, together, strict=True):
            got, wanted = numbers(lanes[lane]), numbers(epoch)
            for name, value in wanted.items():
                np.testing.assert_allclose(
                    got[name], value, rtol=2e-3, atol=1e-4, err_msg=name
                )


def check_scored_window(family: ModuleType) -> None:
    """A loss that skips the whole of a window is refused with the configuration.

    Args:
        family: The family's module.
    """
    if not {"loss.n_skip", "data.window"} <= set(family.Config.keys()):
        return  # a family without windows, or one that scores the whole of them
    family.Config.from_flat({"loss.n_skip": 19, "data.window": 20})
    try:
        family.Config.from_flat({"loss.n_skip": 20, "data.window": 20})
    except ConfigError as error:
        assert "`loss.n_skip`" in error.message and "`data.window`" in error.message
    else:
        raise AssertionError("a loss over no sample of a window is accepted")


def check_unknown_keys(family: ModuleType) -> None:
    """A misspelt key is refused, and the message names the one that was meant.

    Args:
        family: The family's module.
    """
    known = tuple(family.Config.keys())
    for key in known:
        wrong = key[:-1] + ("x" if key[-1] != "x" else "y")
        if wrong in known:
            continue
        try:
            family.Config.from_flat({wrong: 1})
        except ConfigError as error:
            assert wrong in error.message, error.message
            assert key in (error.hint or ""), f"`{wrong}` did not suggest `{key}`"
        else:
            raise AssertionError(f"the unknown key `{wrong}` was accepted")


def check_space(family: ModuleType, space: Space) -> None:
    """The family accepts both ends of every dimension, and every constant.

    Args:
        family: The family's module.
        space: A space for it.
    """
    for name, distribution in space.distributions.items():
        for value in neighbors(distribution):
            point = space.complete(point_with(space, name, value))
            config = family.Config.from_flat(point)
            assert config.flat()[name] == value
            assert family.Config.from_flat(config.flat()) == config


def check_alive(
    family: ModuleType, task: str, space: Space, name: str, folder: Path
) -> tuple[Any, Any]:
    """Two values of a dimension, at one seed, train to different numbers.

    What tells nothing in the few epochs of an example is given many: an average of the
    parameters acts once it has forgotten where it began.

    Args:
        family: The family's module.
        task: One of its tasks.
        space: A space for it.
        name: One of its dimensions.
        folder: Where the example's data goes.

    Returns:
        The two values.
    """
    values = neighbors(space.distributions[name])
    if name not in family.Config.traced_keys():
        # Half the compilations: the example's own program exists already.
        own = family.Config.from_flat(family.example(task).config).flat()[name]
        values = (own, next(v for v in values if v != own))
    needs = _needs(family, task, space, name)

    def differ(epochs: int | None) -> bool:
        trained = (
            make(family, task, folder, config={**needs, name: value}, epochs=epochs)
            for value in values
        )
        return not same(*([numbers(e) for e in each.fit()] for each in trained))

    assert differ(None) or (not family.CLOSED_FORM and differ(_MANY)), (
        f"`{name}` is dead: {values[0]!r} and {values[1]!r} train to the same numbers"
    )
    return values


def _needs(family: ModuleType, task: str, space: Space, name: str) -> dict[str, Any]:
    """Parents' values without which the dimension does not exist in the example."""
    own = family.Config.from_flat(family.example(task).config).flat()
    parents: dict[str, Any] = {}
    for condition in space.conditions:
        if condition.name == name and not condition.holds(own):
            value = neighbors(space.distributions[name])[0]
            point = {**space.constants, **point_with(space, name, value)}
            parents |= _needs(family, task, space, condition.parent)
            parents[condition.parent] = point[condition.parent]
    return parents


def check_trains(
    family: ModuleType, task: str, folder: Path, *, data: Mapping[str, Any]
) -> None:
    """With its default model and optimizer the family learns something at once.

    Args:
        family: The family's module.
        task: One of its tasks.
        folder: Where the example's data goes.
        data: Keys of the example that fit the default to its tiny data.
    """
    example = dataclasses.replace(family.example(task), config=dict(data))
    epochs = family.create(example.config, example.context(folder)).fit()
    first, last = epochs[0].train["loss"], epochs[-1].train["loss"]
    if family.CLOSED_FORM:
        assert last < 1, f"the loss {last} is no better than predicting the mean"
    else:
        assert last < 0.9 * first, f"the loss went from {first} to {last}"
    assert np.isfinite(list(epochs[-1].valid.values())).all()
