"""Two schemes to learn a posterior of many sites, at equal budgets of simulated sites.

*direct*: the joint posterior learns from the simulated rows. *bottom_up*: from the very same rows
a surrogate of the simulator learns, site by site; then parameters are drawn from the prior,
observations of them from the surrogate, and the joint posterior learns from these, of which
there are as many as one likes; each is looked at several times, for it costs more than a look.
So that every epoch has an objective, the joint learns from the simulated rows until the
surrogate is worth something (`Scheme.begin`), and the surrogate goes on beside it.

Source: the likelihood factorization of tfmpe (giovannic, 2026; arXiv 2604.20723), whose two
stages are here one run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.config import Config, static, traced
from models.data.cache import holds_simulated
from models.data.options import SIMULATED, Sites
from models.flows import coordinates, posterior_task
from models.layers.token_network import Network, TokenNetwork
from models.losses.flow_matching import straight_paths, strata
from models.row_tokens import SEEN, Context, Layout
from models.tasks.base import TaskData
from models.training.problem import Batch, Hyper, Schedule
from models.transforms.batch import Transform

TRUTH, FRESH, NOW = "rows.truth", "rows.fresh", "scheme.now"
PRIOR_DRAWS = 16_384
"""Draws of the prior that a run chooses from; they cost no simulation."""
_OF_PRIOR = (0x70726972, 3)
"""Seed of these draws, a fourth part beside train, valid and test: that of no dataset, whose
simulations would be among them."""


@dataclass(frozen=True, kw_only=True)
class Scheme(Config):
    """How the simulated sites are used.

    Attributes:
        kind: ``direct`` or ``bottom_up``; see the module.
        begin: Fraction of the horizon from which on the joint learns from the surrogate.
        size: Numbers of a token of the surrogate.
        blocks: Of the surrogate.
        steps: Of the midpoint rule by which a draw of the surrogate follows its flow: it is
            compiled into every training step, and need not be as exact as draws that are kept.
    """

    kind: str = static("direct", choices=("direct", "bottom_up"))
    begin: float = traced(0.25, low=0.0, high=1.0)
    size: int = static(32, low=1)
    blocks: int = static(2, low=1)
    steps: int = static(4, low=1)

    def unused(self) -> frozenset[str]:
        """All but the kind, where there is no surrogate."""
        every = frozenset(self.keys()) - {"kind"}
        return every if self.kind == "direct" else frozenset()

    def schedules(self) -> dict[str, Schedule]:
        """Whether the joint learns from the surrogate now; it is never scored on it."""
        if self.kind == "direct":
            return {}
        return {NOW: Schedule(function=_now, evaluation=0.0)}

    def around(self, matching: Transform, data: TaskData) -> Transform:
        """Points on paths to other parameters than a row's own, drawn from the prior.

        The row's own are kept beside them; scoring looks at the paths that `matching` draws.

        Args:
            matching: Draws points on paths to a batch's parameters.
            data: Of the task; without a simulator of its name the parameters stay, and only
                observations are drawn anew.
        """
        if self.kind == "direct":
            return matching
        task, line = posterior_task(data), coordinates(data)
        bank = prior_draws(data)

        def redrawn(
            key: Key[Array, ""],
            batch: Batch,
            step: Int[Array, ""],
            *,
            now: Float[Array, ""],
            **values: Float[Array, ""],
        ) -> Batch:
            truth = task.vector(batch)
            fresh = truth
            if bank is not None:
                own = jax.random.fold_in(key, 1)
                rows = jax.random.randint(own, (len(truth),), 0, len(bank))
                fresh = jnp.where(now > 0, jnp.asarray(bank, truth.dtype)[rows], truth)
            kept = {TRUTH: line.real(truth), FRESH: line.real(fresh)}
            other = batch | task.parted(fresh, data)
            return matching.function(key, other, step, **values) | kept

        return Transform(function=redrawn, values={**matching.values, "now": NOW})


def prior_draws(data: TaskData) -> np.ndarray | None:
    """Draws from the prior of the simulator that data was made by; None for other data.

    Args:
        data: Of the task.

    Returns:
        Vectors of parameters ``[PRIOR_DRAWS, P]`` in physical units.
    """
    from models.data.simulators.inference import simulator

    reference = data.reference
    if not holds_simulated(Path(reference.path), reference.name):
        return None  # a file of a person that happens to have the name
    task, known = posterior_task(data), SIMULATED.get(reference.name)
    if known is None or known.kind != "samples":
        return None
    options: Any = known.options
    if isinstance(options, Sites) and task.local:
        options = options.updated({"sites": data.shapes[task.local][0]})
    drawn = simulator(reference.name, options).prior(
        np.random.default_rng(_OF_PRIOR), PRIOR_DRAWS
    )
    if any(r not in drawn or drawn[r].shape[1:] != data.shapes[r] for r in task.gives):
        return None  # a task that infers something else
    return np.asarray(task.vector(drawn), np.float32)


class Surrogate(nnx.Module):
    """A flow from noise to the observations of one site, given its parameters and inputs.

    Args:
        scheme: The sizes.
        network: Of the joint; what it says of inputs and dropout holds here, too.
        layout: Of whole rows.
    """

    def __init__(self, *, scheme: Scheme, network: Network, layout: Layout) -> None:
        self.rows, self.layout = layout, layout.single
        self.steps = scheme.steps
        self.network = TokenNetwork(
            config=Network.from_flat(
                {
                    **network.flat(),
                    "size": scheme.size,
                    "heads": math.gcd(scheme.size, network.heads),
                    "blocks": scheme.blocks,
                    "mask": "dense",
                }
            ),
            slices=self.layout.slices,
            targets=(SEEN,),
            inputs=self.layout.input_width,
        )

    def error(
        self, vector: Array, context: Context, *, key: Key[Array, ""], training: bool
    ) -> Float[Array, " site"]:
        """The squared error of each site's velocity at one point of a path, zero where none is.

        Args:
            vector: The rows' parameters.
            context: Their observations.
            key: Draws noise, times and dropout.
            training: Whether there is dropout.
        """
        vector, sites = self.rows.sites(vector, context)
        first, second, third = jax.random.split(key, 3)
        noise = jax.random.normal(first, sites.values.shape, sites.values.dtype)
        when = strata(second, len(noise), 1)
        paths = straight_paths(
            noise[:, None], sites.values, when, sigma=jnp.zeros((), noise.dtype)
        )
        found = self._velocity(
            paths.point[:, 0],
            when[:, 0],
            (vector, sites),
            key=third if training else None,
        )
        wrong = jnp.where(sites.there, jnp.square(found - paths.velocity[:, 0]), 0.0)
        share = jnp.sum(sites.there.reshape(len(noise), -1), axis=-1, dtype=jnp.int32)
        total = jnp.sum(wrong.reshape(len(noise), -1), axis=-1)
        return total / jnp.maximum(share, 1).astype(total.dtype)

    def drawn(self, vector: Array, context: Context, *, key: Key[Array, ""]) -> Context:
        """The rows with observations drawn anew for other parameters; gaps stay gaps."""
        vector, sites = self.rows.sites(vector, context)
        noise = jax.random.normal(key, sites.values.shape, sites.values.dtype)

        known, length = (vector, sites), 1 / self.steps

        def step(point: Array, number: Array) -> tuple[Array, None]:
            begin = jnp.full((len(point),), number * length, point.dtype)
            half = point + 0.5 * length * self._velocity(point, begin, known, key=None)
            middle = begin + 0.5 * length
            return point + length * self._velocity(half, middle, known, key=None), None

        numbers = jnp.arange(self.steps, dtype=noise.dtype)
        values, _ = jax.lax.scan(step, noise, numbers)
        values = values.reshape(context.values.shape)
        return context._replace(values=jnp.where(context.there, values, 0.0))

    def _velocity(
        self, points: Array, times: Array, known: Any, *, key: Key[Array, ""] | None
    ) -> Array:
        vector, sites = known
        point = jnp.where(sites.there, points, 0.0)
        tokens = self.layout.tokens(vector, sites._replace(values=point))
        flat = self.network(tokens, targets=(SEEN,), time=times, key=key)
        return flat[..., : tokens.slices[SEEN].width].reshape(points.shape)


def _now(hyper: Hyper, fraction: Float[Array, ""]) -> Float[Array, ""]:
    return (fraction >= hyper["scheme.begin"]).astype(fraction.dtype)
