"""Reports are gathered where nothing can be decided between them, and nowhere else."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers

from hpo.run.places import Places
from hpo.stopping import registry
from hpo.study import Rule
from hpo.worker import batch
from hpo.worker.assignment import Assignment, Report
from models.training.protocol import Epoch

sys.path.pop(0)


class Steps:
    """Epochs one after the other, each `seconds` long, and then what is asked for."""

    def __init__(self, *, seconds=0.0, end=10, **changes):
        self.assignment = Assignment(
            **{"trial": 1, "attempt": 1, "family": "any", "create": "", "config": {}}
            | {"folder": Path(), "epochs": 8, "ahead": True}
            | changes
        )
        self.seconds, self.end, self.now = seconds, end, 0.0
        self.numbers = count(1)

    def step(self):
        self.now += self.seconds
        number = next(self.numbers)
        epoch = (
            Epoch(number, {}, {"rmse": 1.0}, 0.0, 0.0) if number <= self.end else None
        )
        return Report(trial=1, attempt=1, epoch=epoch)


def gathered(monkeypatch, steps, *, first=0):
    monkeypatch.setattr(batch, "FIRST", first)
    monkeypatch.setattr(batch.time, "monotonic", lambda: steps.now)
    return [r.epoch.number if r.epoch else None for r in batch.reports(steps)]


def test_a_batch_ends_where_something_can_be_decided(monkeypatch):
    steps = Steps(rungs=(3, 4))
    assert gathered(monkeypatch, steps) == [1, 2, 3]
    assert gathered(monkeypatch, steps) == [4]
    assert gathered(monkeypatch, steps) == [5, 6, 7, 8]  # the last one of the budget
    assert gathered(monkeypatch, Steps(end=2)) == [1, 2, None]


def test_the_first_epochs_of_an_attempt_are_told_one_by_one(monkeypatch):
    steps = Steps(end=20, epochs=20)
    told = [gathered(monkeypatch, steps, first=4) for _ in range(4)]
    assert told == [[1], [2], [3], [*range(4, 21)]]
    steps = Steps(end=20, epochs=20, known=7)
    for _ in range(7):
        steps.step()
    assert gathered(monkeypatch, steps, first=2) == [8]
    assert gathered(monkeypatch, steps, first=2) == [*range(9, 21)]


def test_slow_epochs_are_told_one_by_one(monkeypatch):
    assert gathered(monkeypatch, Steps(seconds=batch.SECONDS)) == [1]
    quick = gathered(monkeypatch, Steps(seconds=batch.SECONDS / 3.5))
    assert quick == [1, 2, 3, 4]


def test_an_obstacle_is_told_at_once(monkeypatch):
    steps = Steps()
    steps.step = lambda: Report(
        trial=1,
        attempt=1,
        epoch=Epoch(1, {}, {}, 0.0, 0.0),
        obstacle="no space left on device",
    )
    assert len(batch.reports(steps)) == 1


@pytest.mark.parametrize(
    "stopping,ahead",
    [
        ((), True),
        (("divergence", "halving"), True),
        (("divergence", "asha"), True),
        (("patience",), False),
        (("asha", "patience"), False),
    ],
)
def test_nothing_ranked_is_trained_ahead(stopping, ahead):
    study = helpers.study(stopping=tuple(Rule(name=name) for name in stopping))
    places = Places(study, None, {}, None, SimpleNamespace(file=None), None)
    assert places._ahead is ahead


def test_a_rule_that_says_nothing_is_taken_to_converge():
    assert registry.converges(SimpleNamespace())
    assert not registry.converges(registry.make(Rule(name="halving")))
