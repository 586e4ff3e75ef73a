"""A row of a task of posteriors as tokens: shared parameters, those of sites, observations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from models.layers.tokens import Independence, SliceInfo, Tokens
from models.layers.tokens.slices import rebased
from models.tasks.base import TaskData
from models.tasks.posterior import Task

SHARED, LOCAL, SEEN = "shared", "local", "seen"


class Context(NamedTuple):
    """What is known of rows, in standard deviations.

    Attributes:
        values: Observations ``[B, …, C]``, zero where one is missing.
        there: Which of them there are, of the same shape.
        inputs: What is known of each ``[B, …, F]``; None for nothing.
    """

    values: Float[Array, "batch ..."]
    there: Bool[Array, "batch ..."]
    inputs: Float[Array, "batch ..."] | None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which tokens a row has.

    Attributes:
        shared: Shared parameters P.
        local: Sites S and parameters L of each; None without sites.
        seen: Shape of a row's observations.
        inputs: Inputs F of each; 0 for none.
        whole: Whether all observations of a site (of a row without sites) are one token.
        gaps: Whether observations may be missing: then their tokens say which there are.
    """

    shared: int
    local: tuple[int, int] | None
    seen: tuple[int, ...]
    inputs: int
    whole: bool
    gaps: bool

    @classmethod
    def of(cls, data: TaskData, task: Task, *, whole: bool) -> Layout:
        """The layout of a task's data."""
        local = data.shapes[task.local] if task.local else None
        return cls(
            shared=data.shapes[task.parameters][0],
            local=None if local is None else (local[0], local[1]),
            seen=data.shapes[task.observations],
            inputs=data.shapes[task.inputs][-1] if task.inputs else 0,
            whole=whole,
            gaps=task.observations in data.reference.gaps,
        )

    @property
    def single(self) -> Layout:
        """A row of one site, each of whose observations is a token, and is there."""
        if self.local is None:
            return replace(self, whole=False, gaps=False)
        seen, local = (1, *self.seen[1:]), (1, self.local[1])
        return replace(self, local=local, seen=seen, whole=False, gaps=False)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The keys of what is inferred."""
        return (SHARED,) if self.local is None else (SHARED, LOCAL)

    @property
    def event(self) -> tuple[int, ...]:
        """The axes of observations whose elements are tokens."""
        if self.whole:
            return self.seen[:1] if self.local else ()
        return self.seen[:-1]

    @property
    def slices(self) -> dict[str, SliceInfo]:
        """Where each key's tokens lie."""
        width = math.prod(self.seen[len(self.event) :])
        shapes = {SHARED: ((), self.shared)}
        if self.local is not None:
            shapes[LOCAL] = (self.local[:1], self.local[1])
        shapes[SEEN] = (self.event, width * (2 if self.gaps else 1))
        found = {k: SliceInfo(0, event, (n,)) for k, (event, n) in shapes.items()}
        return rebased(found, found)

    @property
    def input_width(self) -> int:
        """Functional inputs of a token."""
        return self.inputs * math.prod(self.seen[len(self.event) : -1])

    @property
    def independence(self) -> Independence:
        """Given what is shared, sites are independent, and so are observations without any.

        Tokens of one site read one another, those of what is shared read everything.
        """
        if self.local is None:
            return Independence(local=(SEEN,))
        linked = ((LOCAL, SEEN, (0, 0)), (SEEN, SEEN, (0, 0)))
        return Independence(local=(LOCAL,), cross_local=linked)

    def tokens(
        self, vector: Float[Array, "batch parameter"], context: Context
    ) -> Tokens:
        """Rows as tokens; a site is there where one of its observations is.

        Args:
            vector: Shared parameters, then those of site after site; of a missing site zeros
                are read, whatever it has.
            context: What is known of the rows.
        """
        if self.gaps:
            vector = jnp.where(self.parameters_there(context), vector, 0.0)
        rows, data = len(vector), {SHARED: vector[:, : self.shared]}
        seen = self._by_token(context.values)
        there = self._by_token(context.there)
        padding = [jnp.ones((rows, 1), bool)]
        if self.local is not None:
            data[LOCAL] = vector[:, self.shared :].reshape(rows, *self.local)
            padding.append(self._sites_there(context))
        data[SEEN] = seen
        if self.gaps:
            data[SEEN] = jnp.concatenate([seen, there.astype(seen.dtype)], axis=-1)
        padding.append(jnp.any(there, axis=-1).reshape(rows, -1))
        inputs = (
            {} if context.inputs is None else {SEEN: self._by_token(context.inputs)}
        )
        made = Tokens.from_pytree(
            data, self.independence, functional_inputs=inputs, warn_above=math.inf
        )
        if not self.gaps:
            return made
        return made.replaced(padding_mask=jnp.concatenate(padding, axis=-1))

    def parameters_there(self, context: Context) -> Bool[Array, "batch parameter"]:
        """Which parameters rows have: of sites those of which an observation is there."""
        rows = len(context.there)
        shared = jnp.ones((rows, self.shared), bool)
        if self.local is None:
            return shared
        sites = self._sites_there(context)
        own = jnp.repeat(sites, self.local[1], axis=-1)
        return jnp.concatenate([shared, own], axis=-1)

    def vector(self, flat: Float[Array, "batch token value"]) -> Array:
        """The vector of tokens of all parameters, the inverse of what `tokens` does to it."""
        found = [flat[:, 0, : self.shared]]
        if self.local is not None:
            found.append(flat[:, 1:, : self.local[1]].reshape(len(flat), -1))
        return jnp.concatenate(found, axis=-1)

    def sites(
        self, vector: Float[Array, "batch parameter"], context: Context
    ) -> tuple[Array, Context]:
        """Every site as a row of its own, of the layout `single`."""
        if self.local is None:
            return vector, context
        sites, own = self.local
        rows = len(vector)
        shared = jnp.repeat(vector[:, : self.shared], sites, axis=0)
        local = vector[:, self.shared :].reshape(rows * sites, own)

        def split(array: Array) -> Array:
            return array.reshape(rows * sites, 1, *array.shape[2:])

        inputs = None if context.inputs is None else split(context.inputs)
        cut = Context(split(context.values), split(context.there), inputs)
        return jnp.concatenate([shared, local], axis=-1), cut

    def _sites_there(self, context: Context) -> Bool[Array, "batch site"]:
        rows, sites = context.there.shape[:2]
        return jnp.any(context.there.reshape(rows, sites, -1), axis=-1)

    def _by_token(self, array: Any) -> Any:
        return array.reshape(len(array), *self.event, -1)
