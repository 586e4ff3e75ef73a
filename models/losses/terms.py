"""A loss is a sum of named terms, each with a weight that is a number or a traced value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.errors import ConfigError, near_matches

Outputs = Mapping[str, Array]
Batch = Mapping[str, Array]
Hyper = Mapping[str, Array]

RESERVED = frozenset({"loss", "skipped", "gradient_norm"})


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a loss.

    Attributes:
        function: ``(outputs, batch, hyper) -> scalar``; a mean over the batch, or over what
            `count` counts of it, where the problem is trained in micro-batches.
        weight: A number, or the name of a traced value or schedule (``"loss.beta"``).
        count: ``(batch, hyper) -> how much a mean is over``: a plain number where it is that
            of every batch of the same shape, None where the term is no such mean. By it parts
            of a batch, and batches of an evaluation, are weighed, so that the mean over what
            was seen is exact however it is cut.
        whole: Whether the term is no such mean, so that a batch is never cut.
    """

    function: Callable[[Outputs, Batch, Hyper], Float[Array, ""]]
    weight: float | str = 1.0
    count: Callable[[Batch, Hyper], Array | float | None] | None = None
    whole: bool = False


class Loss:
    """The weighted sum of named terms; every term is reported under its name, unweighted.

    Args:
        terms: The terms by name.

    Raises:
        ConfigError: There is no term, or one has a name the engine reports itself.
    """

    def __init__(self, *, terms: Mapping[str, Term]) -> None:
        if not terms:
            raise ConfigError("a loss needs at least one term, got none")
        taken = sorted(RESERVED & set(terms))
        if taken:
            raise ConfigError(
                f"the engine reports {sorted(RESERVED)} itself, got terms named {taken}",
                hint="name the term after what it measures, such as `mse`",
            )
        self.terms = dict(terms)

    @property
    def names(self) -> tuple[str, ...]:
        """The terms' names in the order they are summed."""
        return tuple(self.terms)

    @property
    def whole(self) -> bool:
        """Whether some term needs the whole batch at once."""
        return any(term.whole for term in self.terms.values())

    @property
    def counted(self) -> bool:
        """Whether some term can say how much it is a mean over."""
        return any(term.count is not None for term in self.terms.values())

    def counts(self, batch: Batch, hyper: Hyper) -> dict[str, Array]:
        """How much each term is a mean over, of those for which that varies.

        Args:
            batch: With what `Problem.targets` added: a whole one, or a part of it.
            hyper: Traced values and schedules by name.
        """
        found = self._told(batch, hyper)
        return {name: n for name, n in found.items() if not isinstance(n, float)}

    def sizes(
        self, batch: Batch, hyper: Hyper, *, samples: int
    ) -> dict[str, Array | float]:
        """How much each term of a batch counts beside the same one of another batch.

        Args:
            batch: As for `counts`.
            hyper: Traced values and schedules by name.
            samples: How many the batch has: what a term counts that does not tell.
        """
        return dict.fromkeys(self.names, float(samples)) | self._told(batch, hyper)

    def _told(self, batch: Batch, hyper: Hyper) -> dict[str, Array | float]:
        """How much each term is a mean over, of those that tell."""
        found = {
            name: term.count(batch, hyper)
            for name, term in self.terms.items()
            if term.count is not None
        }
        return {name: count for name, count in found.items() if count is not None}

    def __call__(
        self,
        outputs: Outputs,
        batch: Batch,
        hyper: Hyper,
        *,
        shares: Mapping[str, Float[Array, ""]] | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The weighted sum, and each term by name before weighting.

        Args:
            outputs: Of the model.
            batch: With what `Problem.targets` added.
            hyper: Traced values and schedules by name.
            shares: Of a part of a batch: what a term holds there, relative to the mean of
                all parts; 1 where a term is not named.

        Raises:
            ValueError: A term is no scalar.
            ConfigError: A weight names a value that is not traced.
        """
        values: dict[str, Array] = {}
        total = jnp.zeros(())
        for name, term in self.terms.items():
            value = term.function(outputs, batch, hyper)
            if jnp.shape(value) != ():
                raise ValueError(
                    f"loss term `{name}` must be a scalar, got {jnp.shape(value)}"
                )
            if shares is not None and name in shares:
                value = shares[name].astype(value.dtype) * value
            values[name] = value
            total = total + _weight(name, term.weight, hyper) * value
        return total, values


def _weight(term: str, weight: float | str, hyper: Hyper) -> Array | float:
    if not isinstance(weight, str):
        return weight
    if weight not in hyper:
        raise ConfigError(
            f"loss term `{term}` is weighted by `{weight}`, which is no traced value",
            hint=near_matches(weight, hyper),
        )
    return hyper[weight]
