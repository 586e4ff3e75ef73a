"""Sequence models that can be fitted, usable without any tuning.

>>> from models import StatefulRNN

One family per file (`models.rnn`, `models.tcn`, …): its `Config`, its `Model`, how its
learner is made (`create`) and a tiny `example`. This package never imports ray, optuna,
`hpo`, `search_spaces` or `studies`, and importing it loads nothing heavy: public names are
loaded when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.stateful import StatefulRNN as StatefulRNN

__all__ = ["StatefulRNN"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import models` stays instant."""
    if name != "StatefulRNN":
        raise AttributeError(f"module 'models' has no attribute {name!r}")
    from importlib import import_module

    return import_module("models.stateful").StatefulRNN
