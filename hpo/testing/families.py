"""The conformance suite of every model family. A family is given as its module.

The module has ``Config``, ``create(config, context)``, ``example()`` and the constants
``CLOSED_FORM`` and ``CAUSAL``. The example has ``config``, ``epochs`` and
``context(folder, seed=…, units=…)``; see `models/example.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hpo.testing.learners import LENGTH, numbers, same
from hpo.testing.spaces import neighbors, point_with
from models.errors import ConfigError
from search_spaces.space import Space

COMPILED = "/jax/core/compile/backend_compile_duration"


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
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    units: Any = None,
) -> Any:
    """The learner of the family's example.

    Args:
        family: The family's module.
        folder: Where the example's data goes.
        config: Keys to change in the example's configuration.
        seed: The trial's seed.
        units: Physical units of the data.
    """
    example = family.example()
    context = example.context(folder, seed=seed, units=units)
    return family.create({**example.config, **(config or {})}, context)


def check_shapes(learner: Any, *, inputs: int, outputs: int) -> None:
    """A fitted learner predicts whole sequences of any length and any batch.

    Args:
        learner: Fitted.
        inputs: Input channels.
        outputs: Output channels.
    """
    random = np.random.default_rng(0)
    for shape in ((LENGTH,), (2, LENGTH)):
        y = np.asarray(learner.predict(random.normal(size=(*shape, inputs))))
        assert y.shape == (*shape, outputs), f"{shape} → {y.shape}"
        assert np.isfinite(y).all()
    pair = random.normal(size=(2, LENGTH, inputs))
    alone, together = learner.predict(pair[1]), learner.predict(pair)[1]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    assert learner.parameters > 0
    assert set(learner.configuration), "the configuration is empty"


def check_gradients(learner: Any) -> None:
    """Every parameter has a finite gradient that is not zero everywhere.

    Read from Adam's first moments after some epochs, which costs no compilation: they are
    zero exactly where every gradient so far was.

    Args:
        learner: A fitted gradient learner.
    """
    import jax
    from jax.flatten_util import ravel_pytree

    (vector,) = (
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(learner.state.optimizer)
        if jax.tree_util.keystr(path).endswith(".mu")
    )
    _, unravel = ravel_pytree(learner.state.params)
    moments = {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(unravel(vector))
    }
    assert moments, "the model has no parameter"
    assert all(e.train["skipped"] == 0 for e in learner.records), (
        "an update was skipped"
    )
    for where, values in moments.items():
        assert np.isfinite(values).all(), f"the gradient of {where} is not finite"
        assert np.abs(values).max() > 0, f"the gradient of {where} is always zero"


def check_compiles_once(
    family: ModuleType, folder: Path, *, traced: Mapping[str, float]
) -> None:
    """A second trial of the same static signature compiles nothing at all.

    Args:
        family: The family's module; a trial of its example has run in this process.
        folder: Where the example's data goes.
        traced: Other values of traced keys for the second trial.
    """
    make(family, folder).fit()
    second = make(family, folder, config=traced, seed=7)
    with compilations() as seconds:
        epochs = second.fit()
    assert not seconds, f"{len(seconds)} programs compiled in the second trial"
    assert all(e.compile_seconds == 0 for e in epochs), "compile seconds were reported"


def check_units(family: ModuleType, plain: Any, folder: Path) -> None:
    """Measuring in other units changes predictions by those units and nothing else.

    The scales are powers of two, so that rounding is all that may differ.

    Args:
        family: The family's module.
        plain: The family's example, not yet fitted.
        folder: Where the data in other units goes.
    """
    units = family.example().units_type(
        u_scale=1024.0, u_offset=-4096.0, y_scale=1 / 512, y_offset=0.25
    )
    other = make(family, folder, units=units)
    first, second = plain.fit()[-1], other.fit()[-1]
    np.testing.assert_allclose(second.train["loss"], first.train["loss"], rtol=2e-3)
    rmse = first.valid["rmse"] * units.y_scale
    np.testing.assert_allclose(second.valid["rmse"], rmse, rtol=2e-3)
    np.testing.assert_allclose(second.valid["nrmse"], first.valid["nrmse"], rtol=2e-3)
    channels = family.example().inputs
    u = np.random.default_rng(1).normal(size=(LENGTH, channels))
    wanted = np.asarray(plain.predict(u)) * units.y_scale + units.y_offset
    got = other.predict(u * units.u_scale + units.u_offset)
    tolerance = 2e-3 * np.abs(wanted - units.y_offset).max()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


def check_causal(learner: Any, *, inputs: int) -> None:
    """Later inputs change no earlier output; the present input does matter.

    Args:
        learner: Fitted.
        inputs: Input channels.
    """
    u = np.random.default_rng(2).normal(size=(LENGTH, inputs))
    changed, when = u.copy(), 31
    changed[when:] += 1.0
    before, after = np.asarray(learner.predict(u)), np.asarray(learner.predict(changed))
    np.testing.assert_allclose(after[:when], before[:when], rtol=1e-5, atol=1e-6)
    assert np.abs(after[when:] - before[when:]).max() > 1e-4, "the future is ignored"


def check_scored_window(family: ModuleType) -> None:
    """A loss that skips the whole of a window is refused with the configuration.

    Args:
        family: The family's module.
    """
    if not {"loss.n_skip", "data.window"} <= set(family.Config.keys()):
        return
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
    family: ModuleType, space: Space, name: str, folder: Path
) -> tuple[Any, Any]:
    """Two values of a dimension, at one seed, train to different numbers.

    Args:
        family: The family's module.
        space: A space for it.
        name: One of its dimensions.
        folder: Where the example's data goes.

    Returns:
        The two values.
    """
    results = []
    values = neighbors(space.distributions[name])
    if name not in family.Config.traced_keys():
        # Half the compilations: the example's own program exists already.
        own = family.Config.from_flat(family.example().config).flat()[name]
        values = (own, next(v for v in values if v != own))
    for value in values:
        config = {**_needs(family, space, name), name: value}
        learner = make(family, folder, config=config)
        results.append([numbers(e) for e in learner.fit()])
    assert not same(results[0], results[1]), (
        f"`{name}` is dead: {values[0]!r} and {values[1]!r} train to the same numbers"
    )
    return values


def _needs(family: ModuleType, space: Space, name: str) -> dict[str, Any]:
    """Parents' values without which the dimension does not exist in the example."""
    own = family.Config.from_flat(family.example().config).flat()
    parents: dict[str, Any] = {}
    for condition in space.conditions:
        if condition.name == name and not condition.holds(own):
            value = neighbors(space.distributions[name])[0]
            point = {**space.constants, **point_with(space, name, value)}
            parents |= _needs(family, space, condition.parent)
            parents[condition.parent] = point[condition.parent]
    return parents


def check_trains(family: ModuleType, folder: Path, *, data: Mapping[str, Any]) -> None:
    """With its default model and optimizer the family learns something at once.

    Args:
        family: The family's module.
        folder: Where the example's data goes.
        data: Keys of the example that fit the default to its tiny data.
    """
    example = dataclasses.replace(family.example(), config=dict(data))
    epochs = family.create(example.config, example.context(folder)).fit()
    first, last = epochs[0].train["loss"], epochs[-1].train["loss"]
    if family.CLOSED_FORM:
        assert last < 1, f"the loss {last} is no better than predicting the mean"
    else:
        assert last < 0.9 * first, f"the loss went from {first} to {last}"
    assert np.isfinite(list(epochs[-1].valid.values())).all()
