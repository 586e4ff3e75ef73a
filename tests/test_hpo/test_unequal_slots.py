"""Families that take different things of a node: each slot trains what it can serve."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hpo.audit.decided import Decisions
from hpo.director.decisions import Done, Start, Wait
from hpo.run.room import kinds
from hpo.study import Resources
from hpo.trials.states import State
from tests.test_hpo.seated import SeatedLoop, decided
from tests.test_hpo.simulated import Killed, SimulatedLoop, study
from tests.test_hpo.test_virtual_order import RULES

TAKES = {"tcn": {"cpu": 1, "a100": 1}, "linear": {"cpu": 2}}
BY_RULE = pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules[-1].name)


def unequal(rules, order="arrival"):
    a_study = study(stopping=rules, resources=Resources(order=order, workers=4))
    families = (replace(f, per_trial=TAKES.get(f.name, {})) for f in a_study.families)
    return a_study.replace(families=tuple(families))


def slots_of(a_study):
    """Two slots that serve `rnn` alone, one that also serves `tcn`, one that serves `linear`."""
    found = {kind.serves for kind in kinds(a_study.requests)}
    assert found == {
        frozenset(s) for s in (("rnn",), ("rnn", "tcn"), ("rnn", "linear"))
    }
    return [frozenset(["rnn"]), *found]


class Unequal:
    """Slots that serve some families each; a simulated loop beside it does the rest."""

    def begin(self, slots):
        self.slots, self.at = slots, {}
        return self

    def fill(self):
        self.at = {n: slot for n, slot in self.at.items() if n in self.active}
        free = [*self.slots]
        for slot in self.at.values():
            free.remove(slot)
        for slot in sorted(free, key=len):
            decision = self.asked(slot)
            if isinstance(decision, Done):
                break
            if isinstance(decision, Start):
                assert self.director.trials[decision.trial].family in slot
                self.active[decision.trial] = decision, self.epochs(decision)
                self.at[decision.trial] = slot
            else:
                assert isinstance(decision, Wait)
        if not self.active:
            decision, _ = self.director.next(self.time)
            assert isinstance(decision, Done), "nobody can go on"
        return bool(self.active)


class Arriving(Unequal, SimulatedLoop):
    """In the order in which reports arrive."""

    def asked(self, slot):
        decision, events = self.director.next(self.time, serves=slot)
        self.write(events)
        return decision


class Seated(Unequal, SeatedLoop):
    """In virtual order."""

    def asked(self, slot):
        return self.order.next(slot)


@BY_RULE
def test_every_trial_is_trained_where_it_can_be_and_the_ledger_verifies(rules):
    a_study = unequal(rules)
    slots = slots_of(a_study)
    for seed in range(3):
        loop = Arriving(a_study, workers=len(slots)).begin(slots)
        loop.ledger.last = 40
        choose = random.Random(seed).choice
        with pytest.raises(Killed):
            loop.run(choose)
        loop.resume()
        loop.run(choose)
        assert all(t.ended for t in loop.director.trials.values())
        assert {t.family for t in loop.director.trials.values()} == {
            *("rnn", "tcn", "linear")
        }
        assert not [*Decisions(a_study, loop.ledger.events).findings()]


@BY_RULE
def test_in_virtual_order_slots_decide_nothing(rules):
    a_study = unequal(rules, order="virtual:6")
    alone = SeatedLoop(a_study)
    alone.run()
    loop = Seated(a_study, workers=4, deaths=0.05, seed=2).begin(slots_of(a_study))
    loop.run()
    assert decided(loop.ledger.events) == decided(alone.ledger.events)


def test_a_slot_waits_for_what_it_cannot_serve():
    """What is left is of another family; that one has to be asked for by another slot."""
    a_study = unequal(RULES[0])
    loop = Arriving(a_study, workers=1).begin([frozenset(["rnn"])])
    with pytest.raises(AssertionError, match="nobody can go on"):
        loop.run()
    trials = loop.director.trials.values()
    assert {t.family for t in trials if t.state is not State.PENDING} == {"rnn"}
    decision, events = loop.director.next(loop.time, serves={"rnn"})
    assert isinstance(decision, Wait) and not events
    decision, _ = loop.director.next(loop.time, serves={"linear"})
    assert isinstance(decision, Start) and decision.family == "linear"
