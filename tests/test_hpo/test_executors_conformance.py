"""The shipped suite for executors, on ours and on one that a person adds in one file."""

from __future__ import annotations

import pytest

from hpo.errors import StudyError
from hpo.run import executor as registry
from hpo.run import executors
from hpo.study import Resources
from hpo.testing import executors as suite

# A whole executor: a thread waits for each child, the driver's own thread does the rest.
THREADS = '''"""Children of this process, each waited for by a thread."""

import queue
import threading
import time

from hpo.director.decisions import Continue
from hpo.worker.assignment import Assignment
from hpo.worker.environment import worker_environment
from hpo.worker.process import Child, ChildDied


class Executor:
    def workers(self, places):
        return places

    def execute(self, loop, plan):
        heard = queue.SimpleQueue()
        busy, free, children = {}, [], []
        room = plan.workers
        try:
            while not loop.expire():
                while len(busy) < room and not loop.stop.requested:
                    task = loop.next()
                    if not isinstance(task, Assignment):
                        break
                    if free:
                        child = free.pop()
                    else:
                        child = Child(
                            worker_environment(
                                gpus_per_trial=plan.gpus_per_trial,
                                kernels=loop.kernels,
                                place=len(children),
                            )
                        )
                        children.append(child)
                    child.assign(task)
                    busy[child] = [task, time.monotonic()]
                    self.step(child, heard)
                if not busy:
                    return
                self.listen(loop, plan, heard, busy, free, children)
            for child in busy:
                child.kill()
                children.remove(child)
        except BaseException:
            for child in children:
                child.kill()
            raise
        finally:
            for child in children:
                child.leave()
            for child in children:
                child.close()

    def listen(self, loop, plan, heard, busy, free, children):
        loop.tick()
        now = time.monotonic()
        for child, (task, since) in list(busy.items()):
            if now - since > plan.stall:
                loop.stalled(task.trial, task.attempt, now - since)
                del busy[child]
                children.remove(child)
                child.kill()
        try:
            child, report = heard.get(timeout=0.1)
        except queue.Empty:
            return
        if child not in busy:
            return
        task = busy[child][0]
        if isinstance(report, ChildDied):
            loop.lost(task.trial, task.attempt, str(report))
            del busy[child]
            children.remove(child)
        elif (
            isinstance(loop.report(report), Continue) and not loop.stop.requested
        ):
            busy[child][1] = time.monotonic()
            self.step(child, heard)
        else:
            del busy[child]
            free.append(child)

    def step(self, child, heard):
        def wait():
            try:
                child.step()
                heard.put((child, child.poll(None)))
            except ChildDied as error:
                heard.put((child, error))

        threading.Thread(target=wait, daemon=True).start()
'''


@pytest.fixture
def threads(tmp_path, monkeypatch):
    """An executor in a folder of its own, found like any other."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "threads.py").write_text(THREADS)
    monkeypatch.setattr(executors, "__path__", [*executors.__path__, str(folder)])
    return "threads"


@pytest.mark.parametrize("executor", registry.names())
def test_executors_are_found_by_their_files(executor):
    suite.check_found(executor)


@pytest.mark.parametrize("check", suite.CHECKS)
def test_local_conforms(check, tmp_path):
    check("local", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("check", suite.CHECKS)
def test_ray_conforms(check, tmp_path):
    if check is suite.check_budget:
        check("ray", tmp_path, seconds=20.0)  # Ray alone takes some of them to start
    else:
        check("ray", tmp_path)


@pytest.mark.parametrize(
    "check",
    [
        suite.check_evaluation,
        *(
            pytest.param(check, marks=pytest.mark.slow)
            for check in suite.CHECKS
            if check is not suite.check_evaluation
        ),
    ],
)
def test_an_executor_from_elsewhere_conforms(check, tmp_path, threads):
    suite.check_found(threads)
    check(threads, tmp_path / "runs")


@pytest.mark.slow
def test_local_killed_at_every_event(tmp_path):
    suite.check_kill("local", tmp_path, moments=range(2, 32, 2))


def test_an_unknown_executor_is_refused_with_near_matches():
    from hpo.run.plan import plan

    with pytest.raises(StudyError, match="unknown executor `rey`") as caught:
        plan(Resources(executor="rey"))
    assert "`ray`" in caught.value.hint
