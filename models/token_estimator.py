"""An estimator over tokens: any keys given any others, by flow matching.

>>> estimator = TokenEstimator(network=Network(size=32), epochs=50)
>>> estimator.fit(tokens, target_keys=("theta",), conditioning_keys=("obs",))
>>> estimator.sample(tokens, target_keys=("theta",), conditioning_keys=("obs",), key=key)

Given the same keys as `fit` was, it draws all of its targets or some of them; what was learned says
nothing of other keys, and is not asked. Values and functional inputs are standardized.

It is for the notebook: simulations come as `models.layers.tokens.Tokens`, from memory or from a
`TokenGenerator`. A study tunes the family `tfmpe`, which has the same network and the data, the
seeds and the scores of the house. Training is that of all families (`models.training`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from models.data.order import shuffled
from models.errors import ConfigError, TokenError
from models.layers.flow import Solver, log_density, transport
from models.layers.initialization import initialize
from models.layers.token_network import Network, TokenNetwork
from models.layers.tokens import TokenGenerator, Tokens
from models.layers.tokens.slices import require_keys
from models.losses import Loss, Term
from models.losses.flow_matching import straight_paths, strata
from models.token_scale import TokenScale, require_finite, require_rows
from models.training.learner import GradientLearner
from models.training.optimizer import Optimizer
from models.training.problem import Problem
from models.training.protocol import Epoch

_OF_SAMPLES = ("data", "padding_mask", "functional_inputs")
_VALID = 0.1


@dataclass(frozen=True)
class _Feed:
    """Tokens on the device, row by row; see `models.data.feeding.Feed`."""

    arrays: dict[str, Array]
    batch_size: int

    @property
    def batches(self) -> int:
        """Whole batches of an epoch."""
        return max(1, len(self.arrays["data"]) // self.batch_size)

    def signature(self) -> Any:
        """Equal exactly for feeds that compile to the same code."""
        shapes = tuple((k, a.shape, str(a.dtype)) for k, a in self.arrays.items())
        return ("tokens", self.batch_size, shapes)

    def order(self, key: Key[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The rows of an epoch."""
        rows, count = len(self.arrays["data"]), self.batches * self.batch_size
        return shuffled(key, rows, count).reshape(self.batches, self.batch_size)

    def batch(self, arrays: dict[str, Array], indices: Array) -> dict[str, Array]:
        """One batch."""
        return {name: array[indices] for name, array in arrays.items()}


class _Model(nnx.Module):
    """The network, and how keys are standardized."""

    def __init__(self, *, network: TokenNetwork, key: Key[Array, ""]) -> None:
        self.network = network
        initialize(self, key)


@dataclass(kw_only=True)
class TokenEstimator:
    """Fits the distribution of some keys of tokens given others, and draws from it.

    Attributes:
        network: The transformer.
        optimizer: How it is trained.
        solver: How draws are followed.
        epochs: Passes over the tokens.
        batch_size: Rows of a step.
        seed: All randomness of training follows from it.

    Raises:
        ConfigError: A batch has no row.
    """

    network: Network = field(default_factory=Network)
    optimizer: Optimizer = field(default_factory=Optimizer)
    solver: Solver = field(default_factory=Solver)
    epochs: int = 100
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse batches of nothing."""
        if self.batch_size < 1:
            raise ConfigError(
                f"a batch has at least 1 row, got {self.batch_size}",
                hint="raise `batch_size`",
            )

    def fit(
        self,
        tokens: Tokens | TokenGenerator,
        *,
        target_keys: Iterable[str],
        conditioning_keys: Iterable[str],
    ) -> tuple[Epoch, ...]:
        """Learn the targets given the others; the last tenth of the rows is for validation.

        Args:
            tokens: With one sample axis; a generator is asked for all of its batches.
            target_keys: What is drawn later.
            conditioning_keys: What is known then.

        Returns:
            The epochs; the parameters of the best one are used from here on.

        Raises:
            TokenError: A key is unknown or on both sides, there are too few rows or other
                sample axes, or a token that is there holds NaN or infinity.
        """
        if isinstance(tokens, TokenGenerator):
            tokens = tokens.all_at(jax.random.key(tokens.seed))
        require_rows(tokens)
        targets, known = _sides(tokens, target_keys, conditioning_keys)
        rows = len(tokens.data)
        valid = max(1, round(rows * _VALID))
        if rows - valid < self.batch_size:
            raise TokenError(
                f"{rows} samples leave {rows - valid} to train on, fewer than a batch of "
                f"{self.batch_size}",
                hint="draw more, or lower `batch_size`",
            )
        train, held = jnp.split(jnp.arange(rows), [rows - valid])
        own = tokens.select_tokens((*known, *targets)).as_tokens()
        require_finite(own, (*known, *targets))
        self._scale = TokenScale.of(own, rows - valid)
        self._targets, self._known = targets, known
        own = self._scale.standardized(own)
        arrays = _arrays(own)
        self._learner = GradientLearner(
            problem=self._problem(own, targets),
            feed=_Feed({n: a[train] for n, a in arrays.items()}, self.batch_size),
            valid=({n: a[held] for n, a in arrays.items()},),
            seed=self.seed,
            epochs=self.epochs,
            objective=("loss.velocity", "minimize"),
        )
        epochs = self._learner.fit()
        best = self._learner.best
        graph = self._learner.runner.engine.graph
        self._model: Any = nnx.merge(graph, best.params, best.variables, copy=True)
        return epochs

    def sample(
        self,
        tokens: Tokens,
        *,
        target_keys: Iterable[str],
        conditioning_keys: Iterable[str],
        key: Key[Array, ""],
        draws: int = 1,
    ) -> dict[str, Array]:
        """Draws of the targets given what the tokens hold for the others.

        Args:
            tokens: Of the same keys as those fitted to; sites and observations may be fewer.
                What they hold for targets does not matter.
            target_keys: Those that were fitted as targets, or some of them: all are drawn
                together, and the others left out.
            conditioning_keys: What is known: that which `fit` was given.
            key: All randomness.
            draws: Of every sample.

        Returns:
            Key to ``[draws, sample, *event, *batch]``; NaN where a token is not there.

        Raises:
            TokenError: A key is unknown or on both sides, or was no target of `fit`; others
                are known than then; or tokens do not fit the network or hold NaN.
        """
        own, asked = self._own(tokens, target_keys, conditioning_keys)
        targets = self._targets
        if draws < 1:
            raise TokenError(
                f"at least 1 draw is made, got {draws}", hint="raise `draws`"
            )
        shape = (draws, *_asked(own, targets).shape)
        noise = jax.random.normal(key, shape, own.data.dtype)
        context = jax.tree.map(
            lambda a: jnp.tile(a, (draws, *(1,) * (a.ndim - 1))), _arrays(own)
        )
        found = transport(
            self._velocity(own, targets),
            noise.reshape(-1, *shape[2:]),
            context,
            solver=self.solver,
        ).reshape(shape)
        mean, std = self._scale.tables(own)
        first = own.slices[targets[0]].offset
        ones = (1,) * (found.ndim - mean.ndim)
        mean, std = (a[first:].reshape(*ones, *found.shape[-2:]) for a in (mean, std))
        found = jnp.where(_there(own, targets)[None], found * std + mean, jnp.nan)
        every = own.decode_keys(found, targets)
        return {name: every[name] for name in asked}

    def log_prob(
        self,
        tokens: Tokens,
        *,
        target_keys: Iterable[str],
        conditioning_keys: Iterable[str],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, " sample"]:
        """Log density of what the tokens hold for the targets, given the others.

        Args:
            tokens: As in `sample`, of targets that are all there and of one width.
            target_keys: All that were fitted as targets.
            conditioning_keys: As in `sample`.
            key: Estimates the divergence by random probes, of each sample its own; None
                computes it.

        Raises:
            TokenError: As in `sample`; or a target is left out, or targets have different
                widths.
        """
        own, asked = self._own(tokens, target_keys, conditioning_keys)
        targets = self._targets
        if left := [name for name in targets if name not in asked]:
            raise TokenError(
                f"A density is that of all targets together, but {left} of "
                f"{list(targets)} is left out",
                hint="ask for all of them, or fit an estimator to fewer",
            )
        there = _there(own, targets)
        if not there.all():
            raise TokenError(
                "A density is that of targets which are all there, got padding among "
                f"{list(targets)}",
                hint="take numbers apart, so that each is a token, or take fewer targets",
            )
        found = log_density(
            self._velocity(own, targets),
            _asked(own, targets),
            _arrays(own),
            solver=self.solver,
            key=key,
        )
        _, std = self._scale.tables(own)
        return found - jnp.sum(jnp.log(std[own.slices[targets[0]].offset :]))

    def _own(
        self,
        tokens: Tokens,
        target_keys: Iterable[str],
        conditioning_keys: Iterable[str],
    ) -> tuple[Tokens, tuple[str, ...]]:
        """Standardized tokens of what was fitted, targets last; and the targets asked for."""
        if not hasattr(self, "_model"):
            raise ConfigError(
                "the estimator is not fitted yet", hint="call `fit` first"
            )
        require_rows(tokens)
        asked, known = _sides(tokens, target_keys, conditioning_keys)
        require_keys(asked, self._targets)
        if set(known) != set(self._known):
            raise TokenError(
                f"The estimator was fitted given {list(self._known)}, not given "
                f"{list(known)}",
                hint="give what it was fitted given, or fit another one",
            )
        own = tokens.select_tokens((*known, *self._targets)).as_tokens()
        require_finite(own, known)
        return self._scale.standardized(own), asked

    def _problem(self, template: Tokens, targets: tuple[str, ...]) -> Problem:
        config, slices = self.network, template.slices
        inputs = template.functional_inputs

        def build(key: Key[Array, ""]) -> _Model:
            made = TokenNetwork(
                config=config,
                slices=slices,
                targets=targets,
                inputs=0 if inputs is None else inputs.shape[-1],
            )
            return _Model(network=made, key=key)

        def forward(model: _Model, batch: Any, **others: Any) -> Any:
            own = _filled(template, batch)
            end, there = _asked(own, targets), _there(own, targets)
            first, second, third = jax.random.split(others["key"], 3)
            noise = jax.random.normal(first, end.shape, end.dtype)
            when = strata(second, len(end), 1)
            zero = jnp.zeros((), end.dtype)
            paths = straight_paths(noise[:, None], end, when, sigma=zero)
            found = model.network(
                _moved(own, targets, paths.point[:, 0]),
                targets=targets,
                time=when[:, 0],
                key=third if others["training"] else None,
            )
            wrong = jnp.where(there, jnp.square(found - paths.velocity[:, 0]), 0.0)
            return {"wrong": wrong, "there": there}, others["carry"]

        def velocity(outputs: Any, batch: Any, hyper: Any) -> Array:
            del batch, hyper
            wrong, there = outputs["wrong"], outputs["there"]
            return jnp.sum(wrong) / jnp.sum(there, dtype=jnp.int32).astype(wrong.dtype)

        structure = (template.key_order, targets, repr(sorted(slices.items())))
        rules = repr(template.independence)
        return Problem(
            signature=(__name__, config.static_signature(), *structure, rules),
            build=build,
            forward=forward,
            loss=Loss(terms={"velocity": Term(function=velocity)}),
            metrics=(),
            hyper={f"model.{k}": v for k, v in config.traced().items()},
            optimizer=self.optimizer,
        )

    def _velocity(self, template: Tokens, targets: tuple[str, ...]) -> Any:
        def single(point: Array, time: Array, arrays: Any) -> Array:
            own = _filled(template, jax.tree.map(lambda a: a[None], arrays))
            found = self._model.network(
                _moved(own, targets, point[None]), targets=targets, time=time[None]
            )
            return jnp.where(_there(own, targets), found, 0.0)[0]

        return single


def _sides(
    tokens: Tokens, target_keys: Iterable[str], conditioning_keys: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    targets = require_keys(target_keys, tokens.key_order)
    known = require_keys(conditioning_keys, tokens.key_order)
    both = set(targets) & set(known)
    if both or not targets:
        raise TokenError(
            f"Keys are either asked for or known, got {sorted(both) or 'none'} on "
            f"{'both sides' if both else 'the side of targets'}",
            hint="name every key once, and a target",
        )
    return targets, known


def _arrays(tokens: Tokens) -> dict[str, Array]:
    """What differs from sample to sample."""
    every = {name: getattr(tokens, name) for name in _OF_SAMPLES}
    return {name: array for name, array in every.items() if array is not None}


def _filled(template: Tokens, arrays: dict[str, Array]) -> Tokens:
    """Other samples of the same structure."""
    return template.replaced(**arrays)


def _asked(tokens: Tokens, targets: tuple[str, ...]) -> Array:
    """The targets' tokens, which are the last ones."""
    return tokens.data[:, tokens.slices[targets[0]].offset :]


def _moved(tokens: Tokens, targets: tuple[str, ...], points: Array) -> Tokens:
    """The tokens with other values of the targets."""
    first = tokens.slices[targets[0]].offset
    data = jnp.concatenate([tokens.data[:, :first], points], axis=1)
    return tokens.replaced(data=data)


def _there(
    tokens: Tokens, targets: tuple[str, ...]
) -> Bool[Array, "batch token value"]:
    """Which numbers of the targets there are."""
    width = tokens.data.shape[-1]
    rows = [
        np.broadcast_to(np.arange(width) < info.width, (info.count, width))
        for info in (tokens.slices[key] for key in targets)
    ]
    there = jnp.asarray(np.concatenate(rows))[None]
    first = tokens.slices[targets[0]].offset
    if tokens.padding_mask is not None:
        there = there & tokens.padding_mask[:, first:, None]
    return jnp.broadcast_to(there, (len(tokens.data), *there.shape[1:]))
