"""Simulators of simulation-based inference: numpy alone, one a file, found by its name.

A module has ``simulator(options) -> Simulator``: pure functions that draw parameters from a
prior, simulate observations of them and, where it is known, draw from the exact posterior.
"""

from __future__ import annotations

from importlib import import_module

from models.data.options import Draws
from models.data.simulators.inference.base import Simulator

__all__ = ["Simulator", "simulator"]


def simulator(name: str, options: Draws | None = None) -> Simulator:
    """The simulator of a dataset that `models.data.options` knows.

    Args:
        name: The dataset's name.
        options: How it is set up; the default options where it is None.
    """
    from models.data.options import SIMULATED

    module = import_module(f"{__name__}.{name}")
    found: Simulator = module.simulator(options or SIMULATED[name].options)
    return found
