"""A real family through every executor: equal to the last bit, killed or not."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from hpo.run.rerun import opened

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers
import run_processes as processes

sys.path.pop(0)


@pytest.fixture(scope="module", autouse=True)
def compiled_as_for_people():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS", raising=False)
        yield


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


def run(results, **options):
    driver = processes.start(results, real=True, **options)
    return processes.outcome(driver, timeout=240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four trials, two shapes: the worker that trains the later ones is a used one."""
    return run(tmp_path_factory.mktemp("local"))["folder"]


@pytest.fixture(scope="module")
def local(folder):
    story = helpers.story(folder)
    assert [t["state"][0] for t in story.values()] == ["completed"] * 4
    return story


@pytest.mark.parametrize(
    ("executor", "workers"),
    [("local", 2), pytest.param("ray", 1, marks=pytest.mark.slow), ("ray", 2)],
)
def test_every_executor_equals_one_child(tmp_path, local, executor, workers):
    answer = run(tmp_path, executor=executor, workers=workers)
    assert helpers.story(answer["folder"]) == local


def test_a_fresh_worker_equals_a_used_one(folder):
    """Trial 4 came last in its worker; an exact re-run starts a process of its own."""
    with opened(folder) as workshop:
        (again,) = workshop.exact([workshop.summary.row(4)]).results
    assert again.equal and again.max_difference == 0, again


def test_an_interrupted_trial_goes_on_bit_for_bit_in_a_fresh_process(tmp_path, local):
    answer = run(tmp_path, kill_at=4, signal=signal.SIGINT)
    assert answer["state"] == "interrupted"
    processes.outcome(processes.start(tmp_path, resume=answer["folder"]), timeout=240)
    assert helpers.story(answer["folder"]) == local
    events = helpers.events_of(answer["folder"])
    assert "nondeterminism" not in [e.event for e in events]
    resumed = [e.details().get("resumed_from") for e in events if e.event == "epoch"]
    assert resumed[:2] == [0, 1]  # epoch 2 is the first of an attempt that was restored
