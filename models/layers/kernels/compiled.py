"""Loads the C++ kernels and calls them through XLA's foreign functions.

`models.layers.kernels.build` compiles them on first use. Whatever stands in the
way (no compiler, an older processor, another platform) only means that the layers compute
in pure JAX; `reason` says what it was. Results of the two differ in the last bits, and so
do those of two instruction sets, which is why `choice` belongs to what identifies a result.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from models.layers import derivatives
from models.layers.kernels import build
from models.layers.kernels.build import LEVELS, OFF, Unavailable

# The handlers of handlers.cpp.
TARGETS = (
    "gru_forward",
    "gru_backward",
    "lstm_forward",
    "lstm_backward",
    "convolution_forward",
    "convolution_backward",
)


@dataclass(frozen=True)
class _Kernels:
    """The kernels found for one value of the variable.

    Attributes:
        choice: See `choice`.
        reason: Why it is off; empty when it is not.
    """

    choice: str
    reason: str = ""


def choice() -> str:
    """Which kernels there are: ``off``, or instruction set and hash of the object.

    For example ``x86-64-v3:0f3a9c41d2be``. The first call in a process may compile; later
    ones are a look into a table. ``HPO_KERNELS`` switches them off, or names the widest
    instruction set that may be used.

    Raises:
        ConfigError: ``HPO_KERNELS`` has a value that is not known.
    """
    return _kernels().choice


def reason() -> str:
    """Why `choice` is off; empty when it is not.

    Raises:
        ConfigError: ``HPO_KERNELS`` has a value that is not known.
    """
    return _kernels().reason


def in_force() -> str:
    """The kernels that programs traced now compute with: `choice`, or off where not `usable`.

    Raises:
        ConfigError: ``HPO_KERNELS`` has a value that is not known.
    """
    single = jnp.result_type(float) == jnp.float32
    return choice() if single and jax.default_backend() == "cpu" else OFF


def padded(size: int) -> int:
    """The number of channels that are computed for `size` of them: whole vectors."""
    lanes = LEVELS[choice().partition(":")[0]].width // 4
    return -(-size // lanes) * lanes


def usable(*arrays: Array) -> bool:
    """Whether kernels may compute with these: single precision, on the CPU, and not off.

    Not where forward derivatives are wanted, which kernels do not have.

    Decided while tracing, by the default backend: `jax.lax.platform_dependent` would trace
    and differentiate both forms, with residuals that differ.
    """
    if derivatives.wanted() or any(a.dtype != jnp.float32 for a in arrays):
        return False
    return jax.default_backend() == "cpu" and choice() != OFF


def call(
    target: str,
    shapes: Sequence[tuple[int, ...] | jax.ShapeDtypeStruct],
    *arguments: Array,
    **attributes: Any,
) -> list[Array]:
    """Call a kernel; under `vmap` it is called once a lane.

    Args:
        target: One of `TARGETS`.
        shapes: Of the results, of single precision unless a type is given with them.
        *arguments: Of the kernel.
        **attributes: Static numbers the kernel wants by name (`numpy` scalars).
    """
    results = [
        jax.ShapeDtypeStruct(shape, jnp.float32) if isinstance(shape, tuple) else shape
        for shape in shapes
    ]
    name = _name(target, choice())
    function = jax.ffi.ffi_call(name, results, vmap_method="sequential")
    return list(function(*arguments, **attributes))


def _kernels() -> _Kernels:
    wanted = build.wanted()
    if wanted == OFF:
        return _Kernels(OFF, f"{build.VARIABLE} is off")
    return _found(wanted, os.environ.get("HPO_CACHE", ""))


@lru_cache(maxsize=16)
def _found(wanted: str, cache: str) -> _Kernels:
    del cache  # only tells the entries apart
    try:
        level = build.choose_level(wanted)
        path = build.shared_object(level)
        found = f"{level}:{path.stem.rpartition('-')[2]}"
        _register(path, found)
    except build.FAILURES as error:
        return _Kernels(OFF, str(error).partition("\n")[0])
    return _Kernels(found)


_REGISTERED: dict[str, ctypes.CDLL] = {}
_REGISTERING = threading.Lock()


def _register(path: Path, found: str) -> None:
    """Load the object and make its kernels known to XLA, once in a process."""
    with _REGISTERING:
        if found in _REGISTERED:
            return
        library = ctypes.CDLL(str(path))
        try:
            handlers = {t: jax.ffi.pycapsule(getattr(library, t)) for t in TARGETS}
        except AttributeError as error:
            raise Unavailable(f"{path.name} lacks a kernel: {error}") from error
        for target, handler in handlers.items():
            jax.ffi.register_ffi_target(_name(target, found), handler, platform="cpu")
        _REGISTERED[found] = library


def _name(target: str, found: str) -> str:
    """Names carry the choice: a cached program never meets another kernel than its own."""
    return f"hpo_{target}_{found.replace(':', '_')}"
