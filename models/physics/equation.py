"""An equation of motion as data: states, inputs, outputs, coefficients and right-hand side.

TANK = Equation(
    states=(Quantity(name="level", unit="cm", low=0.0, high=10.0),),
    inputs=(Quantity(name="pump", unit="V"),),
    outputs=(Quantity(name="level", unit="cm"),),
    coefficients={
        "inflow": Coefficient(value=0.04, unit="cm/(V s)", low=0.01, high=0.2, trained=True),
        "outflow": Coefficient(value=0.05, unit="√cm/s", low=0.01, high=0.2, trained=True),
    },
    derivative=lambda x, u, c: c["inflow"] * u - c["outflow"] * root(x),
)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.errors import ConfigError, near_matches

Values = Mapping[str, Any]
"""Coefficients by name: arrays in training, numbers in a simulator."""
RightHandSide = Callable[[Array, Array, Values], Array]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One state, input or output.

    Attributes:
        name: Unique among those of its kind.
        unit: As people write it; only shown.
        low: Smallest value that makes sense, in that unit.
        high: Largest one.

    Raises:
        ConfigError: The range is empty.
    """

    name: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(
                f"the range of `{self.name}` must have `low` below `high`, "
                f"got {self.low:g} and {self.high:g}"
            )

    @property
    def bounded(self) -> bool:
        """Whether both ends of the range are declared."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def holds(self, value: float) -> bool:
        """Whether a value lies in the range."""
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One number of an equation.

    Attributes:
        value: The number, or where training begins.
        unit: As people write it; only shown.
        low: Lower bound.
        high: Upper bound.
        trained: Whether it is learned; both bounds must then be finite and `value` lie
            between them.

    Raises:
        ConfigError: `value` lies outside the bounds, or a trained one has none.
    """

    value: float
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    trained: bool = False

    def check(self, name: str) -> None:
        """Refuse bounds that do not fit.

        Args:
            name: The coefficient's, for the message.
        """
        bounds = f"{self.low:g} and {self.high:g}"
        if not math.isfinite(self.value):
            raise ConfigError(f"coefficient `{name}` must be finite, got {self.value}")
        if not self.trained:
            if not self.low <= self.value <= self.high:
                raise ConfigError(
                    f"coefficient `{name}` must lie between its bounds {bounds}, got "
                    f"{self.value:g}",
                    hint="change the value or the bounds",
                )
            return
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ConfigError(
                f"coefficient `{name}` is trained, so both bounds must be finite, got "
                f"{bounds}",
                hint="say between which values it can lie, or set `trained=False`",
            )
        if not self.low < self.value < self.high:
            raise ConfigError(
                f"coefficient `{name}` is trained from {self.value:g}, which must lie "
                f"inside its bounds {bounds}",
                hint="change the value or the bounds",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Equation:
    """``dx/dt = derivative(x, u, c)``, ``y = measured(x, u, c)``; time in seconds.

    Its functions take one sample and are mapped over batches by whoever calls them. Two
    equations are equal only where they are the same object.

    Attributes:
        states: What changes in time.
        inputs: What drives it, in the order of the data's ``u``.
        outputs: What is measured, in the order of the data's ``y``.
        coefficients: By name.
        derivative: ``(state [S], input [U], coefficients) -> [S]`` per second, in JAX.
        measured: ``(state [S], input [U], coefficients) -> [Y]``; the first states where
            it is left out.
        start: ``(input [U], coefficients) -> [S]``, the state in which a record begins
            whose first input is known and nothing else; the steady state for that input
            where it is left out.
    """

    states: tuple[Quantity, ...]
    inputs: tuple[Quantity, ...]
    outputs: tuple[Quantity, ...]
    coefficients: Mapping[str, Coefficient]
    derivative: RightHandSide
    measured: RightHandSide | None = None
    start: Callable[[Array, Values], Array] | None = None

    @property
    def values(self) -> dict[str, float]:
        """Every coefficient's value, where training begins for trained ones."""
        return {name: c.value for name, c in self.coefficients.items()}

    @property
    def trained(self) -> dict[str, Coefficient]:
        """The trained coefficients by name."""
        return {name: c for name, c in self.coefficients.items() if c.trained}

    def output(
        self, state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
    ) -> Float[Array, " output"]:
        """What is measured of one sample."""
        if self.measured is None:
            return state[: len(self.outputs)]
        return self.measured(state, inputs, c)

    def limits(self) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
        """The declared ranges of the states."""
        dtype = jnp.zeros(()).dtype
        low, high = ([getattr(q, end) for q in self.states] for end in ("low", "high"))
        return jnp.asarray(low, dtype), jnp.asarray(high, dtype)

    def measured_states(self) -> tuple[int | None, ...]:
        """For every state the output that has its name, or None."""
        names = [q.name for q in self.outputs]
        return tuple(
            names.index(q.name) if q.name in names else None for q in self.states
        )

    def given(self, **values: float) -> Equation:
        """The same equation with other values of some coefficients.

        Args:
            values: Coefficients by name.

        Raises:
            ConfigError: One is unknown, or lies outside its bounds.
        """
        for name in values:
            if name not in self.coefficients:
                raise ConfigError(
                    f"the equation has no coefficient `{name}`",
                    hint=near_matches(name, self.coefficients),
                )
        changed = {
            name: replace(c, value=values.get(name, c.value))
            for name, c in self.coefficients.items()
        }
        for name, coefficient in changed.items():
            coefficient.check(name)
        return replace(self, coefficients=changed)

    def check(
        self, *, inputs: int | None = None, outputs: int | None = None, where: str = ""
    ) -> None:
        """Refuse an equation that cannot be solved.

        Args:
            inputs: Input channels of the data; None for any number.
            outputs: Its output channels; likewise.
            where: The name that the equation was asked for by, for messages.

        Raises:
            ConfigError: Names repeat, a bound does not fit, the numbers of channels differ
                from the data's, or a function gives another shape than it should.
        """
        name = f"the equation `{where}`" if where else "the equation"
        for kind in ("states", "inputs", "outputs"):
            _unique(name, kind, [q.name for q in getattr(self, kind)])
        for key, coefficient in self.coefficients.items():
            coefficient.check(key)
        for kind, wanted in (("inputs", inputs), ("outputs", outputs)):
            got = len(getattr(self, kind))
            if wanted is not None and got != wanted:
                raise ConfigError(
                    f"{name} has {got} {kind}, but the data has {wanted}",
                    hint="state one quantity for every channel of the data",
                )
        size = len(self.states)
        self._shaped(name, "derivative", self.derivative, size)
        self._shaped(name, "measured", self.output, len(self.outputs))
        start = self.start
        if start is not None:
            self._shaped(name, "start", lambda x, u, c: start(u, c), size)

    def check_finite(self, state: Iterable[float], inputs: Iterable[float]) -> None:
        """Refuse a right-hand side that is not finite at a point.

        Args:
            state: ``[S]``.
            inputs: ``[U]``.

        Raises:
            ConfigError: A derivative or an output is NaN or infinite there.
        """
        dtype = jnp.zeros(()).dtype
        x, u = jnp.asarray(tuple(state), dtype), jnp.asarray(tuple(inputs), dtype)
        functions = {"derivative": self.derivative, "measured": self.output}
        for kind, function in functions.items():
            found = [float(v) for v in function(x, u, self._arrays())]
            if not all(map(math.isfinite, found)):
                at = _point(self.states, x.tolist()) + _point(self.inputs, u.tolist())
                raise ConfigError(
                    f"`{kind}` of the equation gives {found} at {', '.join(at)}",
                    hint="keep roots, logarithms and divisions away from what they are "
                    "not defined for, or state the range of the states",
                )

    def check_start(self, inputs: Iterable[float]) -> None:
        """Refuse a start that is not finite, or lies outside the declared ranges.

        Args:
            inputs: A first input, ``[U]``.

        Raises:
            ConfigError: `start` gives such a state for it.
        """
        if self.start is None:
            return
        u = jnp.asarray(tuple(inputs), jnp.zeros(()).dtype)
        found = [float(v) for v in self.start(u, self._arrays())]
        for quantity, value in zip(self.states, found, strict=True):
            if not quantity.holds(value):
                raise ConfigError(
                    f"`start` of the equation gives {quantity.name} = {value:g}, outside "
                    f"its range {quantity.low:g} to {quantity.high:g}, at "
                    + ", ".join(_point(self.inputs, u.tolist())),
                    hint="change the start, the coefficients or the range",
                )

    def _arrays(self) -> dict[str, Array]:
        dtype = jnp.zeros(()).dtype
        return {name: jnp.asarray(v, dtype) for name, v in self.values.items()}

    def _shaped(self, name: str, kind: str, function: RightHandSide, size: int) -> None:
        """Hold a function to its shape, without computing anything."""
        dtype = jnp.zeros(()).dtype
        x = jax.ShapeDtypeStruct((len(self.states),), dtype)
        u = jax.ShapeDtypeStruct((len(self.inputs),), dtype)
        c = {k: jax.ShapeDtypeStruct((), dtype) for k in self.coefficients}
        try:
            found = jax.eval_shape(function, x, u, c)
        except KeyError as error:
            raise ConfigError(
                f"`{kind}` of {name} asks for the coefficient {error}",
                hint=near_matches(str(error.args[0]), self.coefficients),
            ) from error
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"`{kind}` of {name} cannot be evaluated: {type(error).__name__}: "
                f"{first}",
                hint=f"it takes state [{len(self.states)}], input [{len(self.inputs)}] "
                "and the coefficients by name, all arrays of JAX",
            ) from error
        got = getattr(found, "shape", None)
        if got != (size,):
            raise ConfigError(
                f"`{kind}` of {name} must give [{size}], got "
                f"{list(got) if got is not None else type(found).__name__}",
                hint="stack one number for each "
                + ("output" if kind == "measured" else "state")
                + " with `jnp.stack`",
            )


@jax.custom_jvp
def root(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``√values`` of what is not negative, with a derivative of 0 at 0.

    The true derivative is infinite there, where a tank runs dry.
    """
    return jnp.sqrt(values)


@root.defjvp
def _root_derivative(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (values,), (change,) = primals, tangents
    found = root(values)
    positive = found > 0
    slope = 0.5 / jnp.where(positive, found, jnp.ones_like(found))
    return found, jnp.where(positive, slope, jnp.zeros_like(slope)) * change


def _unique(name: str, kind: str, names: list[str]) -> None:
    if not names:
        raise ConfigError(f"{name} needs at least one of its `{kind}`, got none")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(f"the `{kind}` of {name} must differ by name, got {twice}")


def _point(quantities: tuple[Quantity, ...], values: list[float]) -> list[str]:
    return [
        f"{q.name} = {value:g}{' ' if q.unit else ''}{q.unit}"
        for q, value in zip(quantities, values, strict=True)
    ]
