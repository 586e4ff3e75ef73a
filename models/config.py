"""Configurations: frozen dataclasses that validate themselves and refuse unknown keys.

Keys are dotted and reach into nested dataclasses: ``optimizer.learning_rate``. A field made
with `traced` becomes an array in the training state, so changing it never recompiles; every
other field is static and part of the static signature.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Self

from models.errors import ConfigError, near_matches


def traced(
    default: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    off: float | None = None,
    start: bool = False,
) -> Any:
    """A float field that changes no shape: it lives in the training state as an array.

    Args:
        default: The field's default value.
        low: Smallest value allowed (inclusive).
        high: Largest value allowed (inclusive).
        off: The value at which what the field scales is not there at all: it is then not
            traced, nothing is compiled for it, and the static signature is as if the field
            did not exist. At any other value the signature says that it is on.
        start: Whether it acts where training begins alone, so that no schedule changes it.
    """
    return dataclasses.field(
        default=default,
        metadata={"traced": True, "low": low, "high": high, "off": off, "start": start},
    )


def static(
    default: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """A field that changes shapes or code; trials that differ in it compile separately.

    Args:
        default: The field's default value.
        low: Smallest value allowed (inclusive), for numbers.
        high: Largest value allowed (inclusive), for numbers.
        choices: The only values allowed, where they can be listed.
    """
    return dataclasses.field(
        default=default,
        metadata={"traced": False, "low": low, "high": high, "choices": choices},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration. Subclass as a frozen keyword-only dataclass.

    Raises:
        ConfigError: A value has the wrong type or lies outside its field's limits.
    """

    def __post_init__(self) -> None:
        """Check every field against its type, limits and choices, then `validate`."""
        hints = _hints(type(self))
        for item in dataclasses.fields(self):
            value = _coerce(hints[item.name], getattr(self, item.name), item.name)
            _check_limits(item, value)
            object.__setattr__(self, item.name, value)
        self.validate()

    def validate(self) -> None:
        """Check rules that span several fields; raise `ConfigError` to refuse."""

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """Build from dotted keys; whatever is not named keeps its default.

        Raises:
            ConfigError: A key is unknown (near matches are listed) or a value is refused.
        """
        known = set(cls.keys())
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"unknown configuration key `{key}`", hint=near_matches(key, known)
                )
        return cls(**_nested(cls, values))

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Every dotted key this configuration knows, in declaration order."""
        return tuple(key for key, _ in _walk(cls))

    @classmethod
    def traced_keys(cls) -> tuple[str, ...]:
        """The dotted keys whose values are traced."""
        return tuple(k for k, item in _walk(cls) if item.metadata.get("traced"))

    @classmethod
    def start_keys(cls) -> tuple[str, ...]:
        """The dotted keys of traced values that act where training begins alone."""
        return tuple(k for k, item in _walk(cls) if item.metadata.get("start"))

    def flat(self) -> dict[str, Any]:
        """Every dotted key with its value; tuples become lists (JSON-able)."""
        return {key: _plain(_get(self, key)) for key in self.keys()}

    def unused(self) -> frozenset[str]:
        """Own fields that mean nothing beside the values of the others.

        They are neither traced nor part of the static signature, so that a field that only
        one choice reads leaves the signatures of all other choices alone.
        """
        return frozenset()

    def on(self, name: str) -> bool:
        """Whether an own field made with ``traced(…, off=…)`` has another value than that."""
        (item,) = (f for f in dataclasses.fields(self) if f.name == name)
        return bool(getattr(self, name) != item.metadata["off"])

    def traced(self) -> dict[str, float]:
        """The traced keys with their values: what goes into the training state."""
        silent = set(_silent(self))
        return {k: float(_get(self, k)) for k in self.traced_keys() if k not in silent}

    def static_signature(self) -> tuple[tuple[str, Any], ...]:
        """A hashable value, equal exactly for configurations that share a compilation."""
        left_out = {*self.traced_keys(), *_silent(self)}
        return (
            (("config", f"{type(self).__module__}.{type(self).__qualname__}"),)
            + tuple(
                (key, _hashable(_get(self, key)))
                for key in self.keys()
                if key not in left_out
            )
            + tuple(
                (key, "on") for key in self.traced() if key in _switched(type(self))
            )
        )


@functools.cache  # a learner asks dozens of times, and every pause makes one anew
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _walk(cls: type[Any]) -> tuple[tuple[str, dataclasses.Field[Any]], ...]:
    """Every dotted key with its field, those of nested configurations included."""
    found: list[tuple[str, dataclasses.Field[Any]]] = []
    for item in dataclasses.fields(cls):
        kind = _hints(cls)[item.name]
        if isinstance(kind, type) and issubclass(kind, Config):
            found += ((f"{item.name}.{key}", inner) for key, inner in _walk(kind))
        else:
            found.append((item.name, item))
    return tuple(found)


@functools.cache
def _switched(cls: type[Any]) -> frozenset[str]:
    """The dotted keys that have a value at which they are off."""
    every = _walk(cls)
    return frozenset(k for k, item in every if item.metadata.get("off") is not None)


def _silent(config: Config, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all fields that are unused or off, nested ones included."""
    yield from (prefix + name for name in config.unused())
    for item in dataclasses.fields(config):
        inner = getattr(config, item.name)
        if isinstance(inner, Config):
            yield from _silent(inner, f"{prefix}{item.name}.")
        elif item.metadata.get("off") is not None and inner == item.metadata["off"]:
            yield prefix + item.name


def _nested(cls: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    hints = _hints(cls)
    out: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        kind = hints[item.name]
        if isinstance(kind, type) and issubclass(kind, Config):
            head = item.name + "."
            inner = {k[len(head) :]: v for k, v in values.items() if k.startswith(head)}
            if inner:
                base = _default(item)
                out[item.name] = dataclasses.replace(base, **_nested_onto(base, inner))
        elif item.name in values:
            out[item.name] = values[item.name]
    return out


def _nested_onto(base: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Like `_nested`, but nested defaults come from `base` (a family may preset them)."""
    out: dict[str, Any] = {}
    for item in dataclasses.fields(base):
        current = getattr(base, item.name)
        if isinstance(current, Config):
            head = item.name + "."
            inner = {k[len(head) :]: v for k, v in values.items() if k.startswith(head)}
            if inner:
                out[item.name] = dataclasses.replace(
                    current, **_nested_onto(current, inner)
                )
        elif item.name in values:
            out[item.name] = values[item.name]
    return out


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _hashable(value: Any) -> Any:
    return (
        tuple(_hashable(v) for v in value)
        if isinstance(value, (tuple, list))
        else value
    )


def _coerce(kind: Any, value: Any, name: str) -> Any:
    """Accept what JSON and Optuna give for a type (1 for 1.0, lists for tuples)."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [a for a in arguments if a is not type(None)]
        for option in options:
            try:
                return _coerce(option, value, name)
            except ConfigError:
                continue
        raise _wrong_type(kind, value, name)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(
                f"`{name}` must be one of {_listed(arguments)}, got {value!r}",
                hint=near_matches(str(value), map(str, arguments)),
            )
        return value
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            raise _wrong_type(kind, value, name)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_coerce(arguments[0], v, name) for v in value)
        if len(arguments) != len(value):
            raise _wrong_type(kind, value, name)
        return tuple(_coerce(a, v, name) for a, v in zip(arguments, value, strict=True))
    if kind is bool or isinstance(value, bool):
        if kind is bool and isinstance(value, bool):
            return value
        raise _wrong_type(kind, value, name)
    if kind is int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not _is_integer(value):
            raise _wrong_type(kind, value, name)
        return int(value)
    if kind is float:
        if not (isinstance(value, float) or _is_integer(value)):
            raise _wrong_type(kind, value, name)
        return float(value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise _wrong_type(kind, value, name)
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, typing.SupportsIndex) and not isinstance(value, bool)


def _wrong_type(kind: Any, value: Any, name: str) -> ConfigError:
    words = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
    }
    wanted = words.get(kind) or (kind.__name__ if isinstance(kind, type) else str(kind))
    return ConfigError(f"`{name}` must be {wanted}, got {value!r}")


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(repr(v) for v in values)


def _check_limits(item: dataclasses.Field[Any], value: Any) -> None:
    choices = item.metadata.get("choices")
    if choices is not None and value not in choices:
        raise ConfigError(
            f"`{item.name}` must be one of {_listed(choices)}, got {value!r}",
            hint=near_matches(str(value), map(str, choices)),
        )
    low = item.metadata.get("low", -math.inf)
    high = item.metadata.get("high", math.inf)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not low <= number <= high:
            raise ConfigError(
                f"`{item.name}` must be {_between(low, high)}, got {number!r}"
            )


def _between(low: float, high: float) -> str:
    if high == math.inf:
        return "a number" if low == -math.inf else f"at least {low:g}"
    return f"at most {high:g}" if low == -math.inf else f"from {low:g} to {high:g}"
