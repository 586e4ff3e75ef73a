"""Stopping rules by name: a file in `hpo.stopping.rules` with a class `StoppingRule` is one.

A rule is a pure function of its options and the `Evidence`; it keeps no state of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hpo.options import build
from hpo.stopping import rules
from hpo.stopping.rung import Rung
from hpo.study import Objective, Rule
from models.training.protocol import Epoch


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a verdict on one epoch of one trial may depend on.

    Attributes:
        trial: The trial's number in the run.
        budget: Its epoch budget.
        epoch: The epoch in question, the trial's last one.
        values: The trial's objective by epoch, this epoch included, in order.
        best: The best finite value of the epochs before this one, or None.
        rung: The family's trials at this epoch, or None where no rule has a rung.
        objective: What trials are ranked by.
    """

    trial: int
    budget: int
    epoch: Epoch
    values: Mapping[int, float]
    best: float | None
    rung: Rung | None
    objective: Objective

    @property
    def value(self) -> float:
        """The objective at this epoch."""
        return self.values[self.epoch.number]


@dataclass(frozen=True)
class Verdict:
    """End the trial.

    Attributes:
        state: ``stopped``, ``converged`` or ``diverged``.
        reason: Why, in words.
    """

    state: str
    reason: str


class StoppingRule(Protocol):
    """Judges epochs; frozen, its fields are the options."""

    def rungs(self, budget: int) -> tuple[int, ...]:
        """Epochs at which the rule compares trials of a family."""
        ...

    def judge(self, evidence: Evidence) -> Verdict | None:
        """End the trial after this epoch, or None to let it go on."""
        ...


def names() -> tuple[str, ...]:
    """Every stopping rule's name."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(rules.__path__)))


def make(rule: Rule) -> StoppingRule:
    """The stopping rule that a study asks for.

    Raises:
        StudyError: The name or an option is unknown, or an option's value breaks a rule.
    """
    made: StoppingRule = build("stopping rule", rule, names(), _load)
    return made


def _load(name: str) -> type:
    module = importlib.import_module(f"{rules.__name__}.{name}")
    found: type = module.StoppingRule
    return found
