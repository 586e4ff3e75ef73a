"""Training on a cluster that is there already: slots on its nodes, which come and go.

Ray places slots and tells of their end; Ray Tune has no part in it. That one asks for a
configuration before there is a worker for it, keeps the error of a lost one to itself, counts
on storage that all nodes share, and has one number of workers for a whole run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray

from hpo.director.decisions import Continue, Done
from hpo.errors import RunError
from hpo.ledger.events import Capacity, Note
from hpo.run.executor import Plan
from hpo.run.loop import TrialLoop
from hpo.run.ray.archive import archive
from hpo.run.ray.orders import Orders
from hpo.run.ray.slots import Doing, Loss, Slot, loss, take
from hpo.run.ray.view import Seen, View
from hpo.run.room import Kind, wanted
from hpo.run.survey import objection, unequal
from hpo.trials.states import ENDINGS
from hpo.worker import mirror, session
from hpo.worker.assignment import Assignment, Report

_TICK = 0.1  # seconds between two looks at the clock
_SETTLE = 0.5  # seconds after which a change of capacity is written down
_HEAD = 20.0  # seconds without an answer of the head
_LEAVE = 5.0  # seconds in which slots save and leave
_CLUMSY = (
    3  # slots of a node that may be lost one after the other before they do anything
)


class Pool:
    """The slots of a run.

    Args:
        loop: Asked for work and told what came of it.
        plan: How to use the cluster.
    """

    def __init__(self, loop: TrialLoop, plan: Plan) -> None:
        assert plan.attach is not None, "a private Ray has other workers"
        self._loop, self._plan, self._attach = loop, plan, plan.attach
        code = archive(loop.creates)
        self._orders = Orders(loop, plan, code)
        self._code = ray.put(code.content)
        self._view = View()
        self._slots: list[Slot] = []
        self._refused = {
            node["id"]: f"{node['name']}: {node['refused']}"
            for node in plan.cluster["nodes"]
            if node["refused"]
        }
        self._clumsy: Counter[str] = Counter()
        self._told: dict[str, int] = {}
        self._faults: set[tuple[int, int]] = set()
        self._taken = self._nodes_due()
        self._changed = self._recruited = 0.0
        self._why = "the first workers are there"
        self._empty_since = time.monotonic()

    def train(self) -> None:
        """Train until nothing is left to do, a budget is used up, or a stop is asked for.

        Raises:
            RunError: No node can be used, or nothing can be written any more.
        """
        try:
            while self._goes_on():
                pass
        except BaseException:
            for slot in self._slots:
                slot.kill()
            raise
        finally:
            self._view.close()
            self._orders.close()
            self._leave()

    # -- one turn -----------------------------------------------------------------------

    def _goes_on(self) -> bool:
        loop = self._loop
        if loop.expire():
            for slot in [s for s in self._slots if s.task is not None]:
                self._drop(slot)
            return False
        self._recruit()
        heard = self._heard()
        with loop.gathered():  # what is decided inside is on the disk behind it
            for slot, value in heard:
                if slot not in self._slots:
                    continue  # its node was taken away just now
                if isinstance(value, Loss):
                    self._lose(slot, value)
                else:
                    self._hear(slot, value)
            self._tell_capacity()
            done = self._deal()
        for slot in self._slots:
            self._act(slot)
        busy = [s for s in self._slots if s.task is not None]
        if busy:
            self._empty_since = time.monotonic()
        if not busy and (done or loop.stop.requested or self._finished()):
            return False
        if loop.stop.requested:
            for slot in busy:
                slot.save_soon()
        loop.tick()
        self._endure()
        return True

    def _deal(self) -> bool:
        """Give every free slot its next task; whether there is nothing more to do."""
        if self._loop.stop.requested:
            return False
        alike = len(self._plan.kinds) == 1
        free = [s for s in self._slots if s.doing is Doing.FREE]
        for slot in sorted(free, key=lambda s: len(s.kind.serves)):
            task = self._loop.next(None if alike else slot.kind.serves)
            if isinstance(task, Assignment):
                slot.task, slot.doing, slot.due = task, Doing.BEGIN, Doing.BEGIN
            elif alike or isinstance(task, Done):
                return isinstance(task, Done)  # the others would hear the same
        return False

    def _act(self, slot: Slot) -> None:
        """Ask a slot for what is due."""
        due, slot.due = slot.due, None
        if due is Doing.BEGIN:
            assert slot.task is not None, "just dealt"
            self._begin(slot, slot.task)
        elif due is Doing.STEP:
            slot.step()
        elif due is Doing.RELEASE:
            slot.release()

    def _finished(self) -> bool:
        """Whether nothing is left to do, or nobody left to do it."""
        idle = any(slot.ready for slot in self._slots)
        if idle and len(self._plan.kinds) == 1:
            return False  # those are asked
        if not self._view.nodes.keys() - self._refused.keys() and self._refused:
            told = "; ".join(sorted(set(self._refused.values())))
            raise RunError(
                f"no node of the cluster can be used: {told}",
                hint="mend that, then `hpo resume` goes on where it stopped",
            )
        waited = time.monotonic() - self._empty_since
        if waited > self._attach.patience:
            what = " that serves what is left" if idle else ""
            self._loop.stop.request(
                f"no worker{what} for {self._attach.patience:g} s: the cluster has no room"
            )
        return self._loop.over()

    def _recruit(self) -> None:
        """Take slots on nodes that have room; leave those on nodes that are gone."""
        now = time.monotonic()
        if now - self._recruited < 1.0 or self._loop.stop.requested:
            return
        self._recruited = now
        if self._view.age > _HEAD:
            self._loop.stop.request("the head of the cluster does not answer any more")
            for slot in [*self._slots]:
                self._lose(slot, Loss(reason="the head of the cluster is gone"))
            return
        nodes = self._view.nodes
        for slot in [s for s in self._slots if s.node not in nodes]:
            self._lose(slot, Loss(reason=f"node {slot.name} is gone"))
        for slot in self._slots:
            if nodes[slot.node].draining:
                self._drain(slot)
        for node, kinds in self._wanted(nodes).items():
            self._furnish(node, nodes[node].name, kinds)

    def _furnish(self, node: str, name: str, kinds: Counter[Kind]) -> None:
        """Take the slots that a node lacks; one of another kind makes room where it is free."""
        mine = [slot for slot in self._slots if slot.node == node]
        have = Counter(slot.kind for slot in mine)
        missing = kinds - have
        for slot in mine:
            if (
                missing
                and slot.doing is Doing.FREE
                and have[slot.kind] > kinds[slot.kind]
            ):
                have[slot.kind] -= 1
                self._drop(slot)
        for kind in missing.elements():
            slot = take(node, name, kind)
            slot.prepare(self._orders.order(kind.request), self._code)
            self._slots.append(slot)

    def _wanted(self, nodes: Mapping[str, Seen]) -> dict[str, Counter[Kind]]:
        director = self._loop.director
        states = director.counts()
        ended = sum(states.get(s, 0) for s in ENDINGS)
        return wanted(
            {
                name: node.resources
                for name, node in nodes.items()
                if name not in self._refused and not node.draining
            },
            self._plan.kinds,
            workers=self._attach.workers,
            useful=director.total
            if self._loop.study.evaluate
            else max(1, director.total - ended),
        )

    def _drain(self, slot: Slot) -> None:
        """A node is about to leave: what is trained there is saved and goes on elsewhere."""
        if slot.task is not None:
            slot.save_soon()
        elif slot.doing is Doing.FREE:
            self._drop(slot)

    # -- what slots say -----------------------------------------------------------------

    def _heard(self) -> list[tuple[Slot, Any]]:
        """What slots have answered, or how they were lost; waits a moment for the first."""
        asked = {s.answer: s for s in self._slots if s.answer is not None}
        if not asked:
            time.sleep(_TICK)
            return []
        first, _ = ray.wait([*asked], num_returns=1, timeout=_TICK)
        if not first:
            return []
        there, _ = ray.wait([*asked], num_returns=len(asked), timeout=0)
        found: list[tuple[Slot, Any]] = []
        for answer in there:
            slot, slot_lost = asked[answer], None
            try:
                value = ray.get(answer)
            except ray.exceptions.RayError as error:
                slot_lost = loss(slot, error)
            slot.answer = None
            found.append((slot, value if slot_lost is None else slot_lost))
        return found

    def _hear(self, slot: Slot, value: Any) -> None:
        slot.since = time.monotonic()
        if slot.doing is Doing.PREPARE:
            self._prepared(slot, value)
        elif slot.doing is Doing.FETCH:
            slot.missing.pop(0)
            self._fetch(slot)
        elif slot.doing is Doing.BEGIN:
            slot.due = Doing.STEP
        elif slot.doing is Doing.STEP:
            self._stepped(slot, *value)
        else:
            assert slot.task is not None, "only an attempt is released"
            self._store(slot.task, value, ended=True)
            self._rest(slot)

    def _prepared(self, slot: Slot, facts: Mapping[str, Any]) -> None:
        refused = facts["refused"] or objection(facts)
        refused = refused or unequal(self._plan.cluster, facts)
        if not refused and not self._orders.seen_from(facts["host"], facts["pid"]):
            refused = "what it writes into the run's folder is not seen by the driver"
        if refused:
            self._refuse(slot.node, f"{slot.name}: {refused}")
            self._drop(slot)
            return
        slot.missing = [*facts["missing"]]
        self._fetch(slot)

    def _fetch(self, slot: Slot) -> None:
        """Send the next data that the node lacks; free where it has all."""
        if not slot.missing:
            slot.free()
            self._change(f"a worker on {slot.name} is there")
            return
        digest = slot.missing[0]
        slot.fetch(digest, self._orders.pieces(digest))

    def _begin(self, slot: Slot, task: Assignment) -> None:
        if not task.evaluate and session.has_checkpoint(task.directory):
            session.drop(task.directory)  # of an attempt that no ledger knows
        task.directory.mkdir(parents=True, exist_ok=True)
        self._clumsy[slot.node] = 0
        slot.begin(
            replace(task, create="", stopping=None),
            shared=self._attach.storage == "shared",
        )

    def _stepped(
        self, slot: Slot, report: Report | str, changes: mirror.Changes | None
    ) -> None:
        task = slot.task
        assert task is not None, "only an attempt is stepped"
        if isinstance(report, str):  # the child is gone, the slot is not
            self._store(task, changes)
            self._loop.lost(task.trial, task.attempt, report)
            self._rest(slot)
            return
        if changes is not None and changes.too_large and not report.obstacle:
            report = replace(
                report,
                obstacle=f"what it saves has {changes.too_large / 2**20:.1f} MB, and at "
                f"most {mirror.LIMIT / 2**20:.0f} MB travel with a report: a folder that "
                "all nodes share takes more (`--storage shared`)",
            )
        self._store(task, changes)
        goes_on = isinstance(self._loop.report(report), Continue)
        if self._takes_node(report):
            self._take_away(slot, report)
            return
        draining = self._draining(slot)
        if goes_on and not self._loop.stop.requested and not draining:
            slot.due = Doing.STEP
            return
        if goes_on and draining:
            why = f"node {slot.name} is about to leave"
            self._loop.displaced(task.trial, task.attempt, why)
        slot.due = Doing.RELEASE

    def _rest(self, slot: Slot) -> None:
        slot.free()
        if self._draining(slot):
            self._drop(slot)

    def _draining(self, slot: Slot) -> bool:
        node = self._view.nodes.get(slot.node)
        return node is not None and node.draining

    def _store(
        self, task: Assignment, changes: mirror.Changes | None, *, ended: bool = False
    ) -> None:
        """Write what a report brought along; nothing of an attempt that counts no more."""
        if changes is None:
            return
        if not (ended or self._loop.awaits(task.trial, task.attempt)):
            return
        try:
            mirror.store(self._loop.place(task.trial), changes, ended=ended)
        except OSError as error:
            raise RunError(
                f"trial {task.trial} cannot be saved: {error.strerror} "
                f"({error.filename or self._loop.place(task.trial)})",
                hint="mend that, then `hpo resume` goes on where it stopped",
            ) from error

    def _endure(self) -> None:
        """Kill what has been silent for too long; its slot is as good as new."""
        now = time.monotonic()
        for slot in [s for s in self._slots if s.task is not None]:
            silent = now - slot.since
            if silent > self._plan.stall:
                task = slot.task
                assert task is not None, "just looked"
                self._loop.stalled(task.trial, task.attempt, silent)
                self._drop(slot)

    # -- who is there -------------------------------------------------------------------

    def _lose(self, slot: Slot, how: Loss) -> None:
        """A slot is gone, and what it trained goes on elsewhere."""
        task = slot.task
        if how.node:
            self._refuse(slot.node, f"{slot.name}: {how.node}")
        elif not slot.ready:
            self._clumsy[slot.node] += 1
            if self._clumsy[slot.node] >= _CLUMSY:
                self._refuse(slot.node, f"{slot.name}: {how.reason}")
        self._drop(slot, why=how.reason)
        if task is None:
            return
        if how.death:
            self._loop.lost(task.trial, task.attempt, how.reason)
        else:
            self._loop.displaced(task.trial, task.attempt, how.reason)

    def _takes_node(self, report: Report) -> bool:
        """Whether a node is lost on purpose behind this epoch: once for it, or as it is time."""
        chaos, epoch = self._loop.chaos, report.epoch
        if chaos is None or epoch is None:
            return False
        place = (report.trial, epoch.number)
        first = place not in self._faults
        self._faults.add(place)
        # What was due while nothing trained is over: else a run might never get on.
        before, self._taken = self._taken, self._nodes_due()
        return self._taken > before or (first and chaos.takes_node(*place))

    def _nodes_due(self) -> int:
        chaos = self._loop.chaos
        return 0 if chaos is None else chaos.nodes_due(self._loop.elapsed)

    def _take_away(self, slot: Slot, report: Report) -> None:
        """Lose every slot of a node; it gets new ones as a node that joins does."""
        text = f"node {slot.name} is taken away on purpose"
        self._loop.tell(Note(trial=report.trial, attempt=report.attempt, text=text))
        lost = Loss(reason=f"node {slot.name} was taken away on purpose")
        for other in [s for s in self._slots if s.node == slot.node]:
            if other.ready:
                self._lose(other, lost)
            else:
                self._drop(other)  # it is not to be counted against the node

    def _drop(self, slot: Slot, why: str = "") -> None:
        was_ready = slot.ready
        self._slots.remove(slot)
        slot.task = None
        slot.kill()
        if was_ready:
            self._change(why or f"a worker on {slot.name} has left")

    def _refuse(self, node: str, why: str) -> None:
        if node not in self._refused:
            self._refused[node] = why
            text = f"not used: {why}"
            self._loop.observer.message(text)
            self._loop.tell(Note(text=text))

    def _change(self, why: str) -> None:
        self._changed, self._why = time.monotonic(), why

    def _tell_capacity(self) -> None:
        """Write down who is there, once that has settled; at once where nobody was."""
        now = Counter(slot.name for slot in self._slots if slot.ready)
        if now == self._told:
            return
        settled = time.monotonic() - self._changed > _SETTLE
        if settled or not self._told or not now:
            self._told = dict(now)
            self._loop.tell(
                Capacity(workers=now.total(), nodes=dict(now), reason=self._why)
            )

    def _leave(self) -> None:
        """Let all leave at the same time; whatever they trained is here already."""
        slots, self._slots = self._slots, []
        leaving = {s.actor.leave.remote(): s for s in slots if s.answer is None}
        if leaving:
            ray.wait([*leaving], num_returns=len(leaving), timeout=_LEAVE)
        for slot in slots:
            ray.kill(slot.actor)
