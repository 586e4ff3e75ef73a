"""Which derivatives a model is traced for.

Recurrent layers and compiled kernels have a gradient of their own, which is fast and cannot be
differentiated forwards. Inside `forward` they are traced without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FORWARD = ContextVar("forward", default=False)


@contextmanager
def forward() -> Iterator[None]:
    """Trace what is inside the block so that `jax.jvp` and `jax.linearize` can be used."""
    token = _FORWARD.set(True)
    try:
        yield
    finally:
        _FORWARD.reset(token)


def wanted() -> bool:
    """Whether what is traced now must have forward derivatives."""
    return _FORWARD.get()
