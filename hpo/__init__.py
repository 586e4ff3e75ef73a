"""A hyperparameter-optimisation research harness for sequence models.

>>> from hpo import HPOptimizer, Study

Importing `hpo` loads neither jax nor ray; the public names are loaded when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.optimizer import HPOptimizer as HPOptimizer
    from hpo.plots import plot_batch as plot_batch
    from hpo.plots import plot_results as plot_results
    from hpo.run.trained_model import load_model as load_model
    from hpo.study import Family as Family
    from hpo.study import Study as Study

__version__ = "0.1.0"
__all__ = [
    "Family",
    "HPOptimizer",
    "Study",
    "load_model",
    "plot_batch",
    "plot_results",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import hpo` stays instant."""
    homes = {
        "HPOptimizer": "hpo.optimizer",
        "Study": "hpo.study",
        "Family": "hpo.study",
        "load_model": "hpo.run.trained_model",
        "plot_batch": "hpo.plots",
        "plot_results": "hpo.plots",
    }
    if name not in homes:
        raise AttributeError(f"module 'hpo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(homes[name]), name)
