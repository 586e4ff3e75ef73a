"""Calls the compiled programs: start, run an epoch, evaluate; one trial or several lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.training.engine import Direction, Engine
from models.training.evaluation import batches
from models.training.gradients import GradientEngine
from models.training.least_squares.engine import LeastSquaresEngine
from models.training.optimizer import ADAM, LEVENBERG_MARQUARDT
from models.training.problem import Batch, Problem
from models.training.programs import PROGRAMS, Program
from models.training.state import HORIZON, Best, TrainState, initialize

ENGINES = {ADAM: GradientEngine, LEVENBERG_MARQUARDT: LeastSquaresEngine}


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """One epoch's outcome.

    Attributes:
        state: The state after it.
        best: The best epoch so far.
        train: Means over the epoch by name (numpy scalars; ``[K]`` for K lanes).
        valid: Metrics by name (likewise).
        compile_seconds: Spent on compiling.
    """

    state: TrainState
    best: Best
    train: Mapping[str, np.ndarray]
    valid: Mapping[str, np.ndarray]
    compile_seconds: float


def start(
    *,
    problem: Problem,
    feed: Any,
    objective: tuple[str, Direction],
    seed: int,
    horizon: int,
    train: tuple[Batch, ...] = (),
) -> tuple[Runner, TrainState, Best, float]:
    """The runner and the first state of a trial, and the seconds it took to compile.

    Args:
        problem: What is learned.
        feed: Where the batches come from.
        objective: The metric that decides which epoch is best, and its direction.
        seed: The trial's seed, in [0, 2³²).
        horizon: Epochs of the schedule.
        train: Groups of the whole train part, for the problem's `train_metrics`.
    """

    def first(seed: Array, hyper: dict[str, Array]) -> Any:
        return initialize(problem, batch_size=feed.batch_size, seed=seed, hyper=hyper)

    values = problem.values() | {HORIZON: float(horizon * feed.batches)}
    dtype = jnp.result_type(float)
    hyper = {name: np.asarray(value, dtype) for name, value in values.items()}
    kind = problem.optimizer.kind
    signature = (problem.signature, kind, feed.signature(), objective)
    arguments = (np.asarray(seed, np.uint32), hyper)
    program, seconds = PROGRAMS.get((signature, "start"), first, arguments)
    graph, state, best = program.call(*arguments)
    engine = ENGINES[problem.optimizer.kind](
        problem=problem,
        graph=graph,
        feed=feed,
        objective=objective[0],
        direction=objective[1],
    )
    runner = Runner(engine=engine, signature=signature, train=train)
    if problem.start is None:
        return runner, state, best, seconds
    state, best, more = runner.begin(state, best)
    return runner, state, best, seconds + more


class Runner:
    """Runs the programs of one engine, mapped over lanes where states are stacked.

    Args:
        engine: The pure functions.
        signature: What they are keyed by.
        lanes: How many states are stacked; None for a state that is not.
        train: Groups of the whole train part, for the problem's `train_metrics`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        signature: Any,
        lanes: int | None = None,
        train: tuple[Batch, ...] = (),
    ) -> None:
        self.engine = engine
        self.train = train
        self.signature = signature
        self.lanes = lanes

    def with_lanes(self, lanes: int) -> Runner:
        """The same engine for `lanes` stacked states."""
        return Runner(
            engine=self.engine,
            signature=self.signature,
            lanes=lanes,
            train=self.train,
        )

    def begin(self, state: TrainState, best: Best) -> tuple[TrainState, Best, float]:
        """Let the problem start a new model from the first batch of its first epoch.

        Returns:
            The state and the best epoch's place with the started model, and the seconds of
            compiling.
        """
        batch, seconds = self._fed(state)
        arguments = (state, best, batch)
        started, compiled = self._call("begin", self.engine.begin, arguments, (0, 0, 0))
        return *started, seconds + compiled

    def next_batch(self, state: TrainState) -> dict[str, np.ndarray]:
        """The first batch of the next epoch, after transforms and augmentations."""
        batch, _ = self._fed(state)
        function, axes = self.engine.next_batch, (0, 0)
        found, _ = self._call("next batch", function, (state, batch), axes)
        return dict(jax.device_get(found))

    def _fed(self, state: TrainState) -> tuple[Batch, float]:
        """The first batch of the next epoch as it is fed, and the seconds of compiling."""
        feed = self.engine.feed
        order, seconds = self._call("order", self.engine.order, (state,), (0,))
        if feed.arrays is None:
            chunk = next(iter(feed.chunks(np.asarray(order)[:1])))
            return {name: array[0] for name, array in chunk.items()}, seconds
        arguments = (feed.arrays, order[0])
        batch, more = self._call("first batch", feed.batch, arguments, (None, 0))
        return batch, seconds + more

    def epoch(
        self, state: TrainState, best: Best, groups: tuple[Batch, ...]
    ) -> EpochResult:
        """Train one epoch and validate; `state` and `best` are given away.

        Args:
            state: Before the epoch.
            best: Before the epoch.
            groups: Full validation sequences on the device.
        """
        feed = self.engine.feed
        # Compiled before anything runs: compiling while the epoch runs in the background
        # would hide the epoch's seconds.
        score, seconds = self._program(
            "score", self.engine.score, (state, best, groups), (0, 0, None), donate=(1,)
        )
        if feed.arrays is not None:
            (state, train), compiled = self._call(
                "train", self.engine.train, (state, feed.arrays), (0, None), donate=(0,)
            )
        else:
            state, train, compiled = self._streamed(state)
        best, valid = score.call(state, best, groups)
        params = state.average if self.engine.problem.averaged else state.params
        more, further = self._over_train(params, state.variables, state.hyper)
        # The epoch's one host sync.
        train, valid = jax.device_get((train, {**valid, **more}))
        return EpochResult(
            state=state,
            best=best,
            train=train,
            valid=valid,
            compile_seconds=compiled + seconds + further,
        )

    def metrics(
        self, state: TrainState, best: Best, groups: tuple[Batch, ...]
    ) -> dict[str, np.ndarray]:
        """Every metric of the best parameters over `groups`."""

        def function(best: Best, hyper: Any, groups: tuple[Batch, ...]) -> Any:
            evaluation = self.engine.evaluation
            return evaluation.metrics(best.params, best.variables, hyper, groups)

        arguments = (best, state.hyper, groups)
        values, _ = self._call("metrics", function, arguments, (0, 0, None))
        more, _ = self._over_train(best.params, best.variables, state.hyper)
        return jax.device_get({**values, **more})

    def _over_train(
        self, params: Any, variables: Any, hyper: Any
    ) -> tuple[dict[str, Array], float]:
        """The problem's metrics over the train part, and the seconds of compiling."""
        if not self.engine.problem.train_metrics:
            return {}, 0.0
        arguments = (params, variables, hyper, self.train)
        function = self.engine.evaluation.over_train
        return self._call("over train", function, arguments, (0, 0, 0, None))

    def outputs(
        self, state: TrainState, best: Best, batch: Batch, carry: Any = None
    ) -> tuple[Any, Any]:
        """The outputs of the best parameters for one batch, and the carry after it."""

        def function(best: Best, hyper: Any, batch: Batch, carry: Any) -> Any:
            evaluation = self.engine.evaluation
            return evaluation.outputs(best.params, best.variables, hyper, batch, carry)

        arguments = (best, state.hyper, batch, carry)
        (values, carry), _ = self._call("outputs", function, arguments, (0, 0, None, 0))
        return jax.device_get(values), carry

    def scored(
        self, state: TrainState, best: Best, batch: Batch, number: int
    ) -> tuple[Mapping[str, Any], Batch]:
        """The outputs of the best parameters for a scored batch, and the batch with masks.

        Args:
            state: Its hyperparameters count.
            best: Its parameters do.
            batch: One of `batches`, on the device.
            number: Its number.
        """

        def function(best: Best, hyper: Any, batch: Batch, number: Array) -> Any:
            evaluation = self.engine.evaluation
            return evaluation.scored(best.params, best.variables, hyper, batch, number)

        arguments = (best, state.hyper, batch, np.asarray(number, np.int32))
        found, _ = self._call("scored", function, arguments, (0, 0, None, None))
        return jax.device_get(found)

    def describe(
        self, state: TrainState, best: Best, groups: tuple[Batch, ...]
    ) -> dict[str, np.ndarray]:
        """The arrays of `Problem.describe` for every row of `groups`, joined along the rows."""

        def function(best: Best, hyper: Any, batch: Batch, number: Array) -> Any:
            evaluation = self.engine.evaluation
            return evaluation.described(
                best.params, best.variables, hyper, batch, number
            )

        found = []
        for number, batch in enumerate(b for group in groups for b in batches(group)):
            arguments = (best, state.hyper, batch, np.asarray(number, np.int32))
            values, _ = self._call("describe", function, arguments, (0, 0, None, None))
            found.append(jax.device_get(values))
        return {name: np.concatenate([f[name] for f in found]) for name in found[0]}

    def _streamed(self, state: TrainState) -> tuple[TrainState, Any, float]:
        order, seconds = self._call("order", self.engine.order, (state,), (0,))
        totals, more = self._call(
            "totals", lambda _: self.engine.totals(), (state,), (0,)
        )
        seconds += more
        close, more = self._program(
            "close", self.engine.close, (state, totals), (0, 0), donate=(0,)
        )
        seconds += more
        for chunk in self._chunks(np.asarray(order)):
            (state, totals), more = self._call(
                "chunk",
                self.engine.chunk,
                (state, totals, chunk),
                (0, 0, 0),
                donate=(0, 1),
            )
            seconds += more
        state, train = close.call(state, totals)
        return state, train, seconds

    def _chunks(self, order: np.ndarray) -> Iterator[Batch]:
        feed = self.engine.feed
        if self.lanes is None:
            yield from feed.chunks(order)
            return
        for parts in zip(*(feed.chunks(own) for own in order), strict=True):
            yield {name: np.stack([p[name] for p in parts]) for name in parts[0]}

    def _call(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        axes: tuple[int | None, ...],
        *,
        donate: tuple[int, ...] = (),
    ) -> tuple[Any, float]:
        program, seconds = self._program(name, function, arguments, axes, donate=donate)
        return program.call(*arguments), seconds

    def _program(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        axes: tuple[int | None, ...],
        *,
        donate: tuple[int, ...] = (),
    ) -> tuple[Program, float]:
        if self.lanes is not None:
            function = jax.vmap(
                function, in_axes=axes, out_axes=0, axis_size=self.lanes
            )
        key = (self.signature, name, self.lanes)
        return PROGRAMS.get(key, function, arguments, donate=donate)
