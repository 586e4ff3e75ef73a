"""The local executor: misbehaving trials, killed drivers, Ctrl-C, resume."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from optuna.distributions import FloatDistribution

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers
import run_processes as processes

from hpo.errors import ResumeRefused, RunError, RunLocked
from hpo.ledger.log import read_events
from hpo.run.executors import local
from hpo.run.launch import launch, resume
from hpo.study import Budget, Resources, Rule

sys.path.pop(0)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


def events_of(folder):
    return read_events(Path(folder) / "events.jsonl")[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run that killed ones are compared with."""
    results = tmp_path_factory.mktemp("undisturbed")
    answer = processes.outcome(processes.start(results))
    assert answer["state"] == "finished"
    return Path(answer["folder"])


def test_misbehaving_trials_end_as_documented_and_the_study_goes_on(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    troubles = {
        "raises": "raise",
        "exits": "exit",
        "dies": "die",
        "recovers": "die once",
        "hangs": "hang",
        "diverges": "nan",
        "works": None,
    }
    outcome = launch(
        helpers.study(
            families=helpers.families(**troubles),
            stopping=(Rule(name="divergence"),),
            budget=Budget(trials=7, epochs=6),
            resources=Resources(executor="local", stall=2.0),
        ),
        results=tmp_path,
    )
    assert outcome.state == "finished"
    events = events_of(outcome.folder)
    story = {t["family"]: t for t in helpers.story(outcome.folder).values()}
    states = {name: t["state"][0] for name, t in story.items()}
    assert states == {
        "raises": "failed",
        "exits": "failed",
        "dies": "failed",
        "recovers": "completed",
        "hangs": "failed",
        "diverges": "diverged",
        "works": "completed",
    }
    assert len(story["recovers"]["epochs"]) == 6
    number = {e.family: e.trial for e in events if e.event == "proposed"}
    failed = {e.trial: e.reason for e in events if e.event == "failed"}
    assert failed[number["raises"]] == "ValueError: this configuration cannot work"
    assert failed[number["exits"]] == "the code called sys.exit(7)"
    assert failed[number["hangs"]] == "stalled"
    assert "SIGKILL" in failed[number["dies"]]
    started = [
        e.attempt for e in events if e.event == "started" and e.trial == number["dies"]
    ]
    assert started == [1, 2, 3]  # two retries, then failed
    diverged = next(e for e in events if e.event == "diverged")
    assert diverged.epoch == 2  # NaN from epoch 2 on: stopped within one epoch
    text = (
        outcome.folder / "trials" / f"{number['raises']:04d}" / "error.txt"
    ).read_text()
    assert "Traceback" in text and "this configuration cannot work" in text
    # no orphans and no leftovers
    assert not [
        p for p in processes.psutil.Process().children() if processes.is_worker(p)
    ]
    assert not (outcome.folder / ".stopping").exists()


def at_once(folder):
    """The largest number of trials that ran at the same time, by the ledger."""
    running, most = set(), 0
    for event in events_of(folder):
        if event.event == "started":
            running.add(event.trial)
        elif event.event in (*helpers.ENDED, "interrupted", "paused"):
            running.discard(event.trial)
        most = max(most, len(running))
    return most


def test_two_workers_train_side_by_side_what_one_trains(tmp_path):
    options = {"constants": {"pause": 0.05}, "screening": [2, 6]}
    one = processes.start(tmp_path / "one", **options)
    two = processes.start(tmp_path / "two", workers=2, **options)
    workers = set()
    while two.poll() is None:
        workers |= {
            p.pid for p in processes.descendants(two.mark) if processes.is_worker(p)
        }
        time.sleep(0.05)
    one, two = (processes.outcome(p)["folder"] for p in (one, two))
    assert helpers.story(one) == helpers.story(two)
    assert at_once(one) == 1 and at_once(two) == 2
    assert len(workers) == 2, "processes are used again"


def test_foreign_learner_without_save_trains_and_its_prints_go_to_the_log(tmp_path):
    outcome = launch(
        helpers.study(create=helpers.create_foreign, budget=Budget(trials=2, epochs=4)),
        results=tmp_path,
    )
    story = helpers.story(outcome.folder)
    assert sorted(story[1]["epochs"]) == [1, 2, 3, 4]  # it counts from 0
    rate = story[1]["params"]["rate"]
    assert story[1]["epochs"][4] == repr({"loss": rate / 4, "rmse": rate / 4})
    log = (outcome.folder / "trials/0001/log.txt").read_text()
    assert log.splitlines() == ["training 0", "training 1", "training 2", "training 3"]
    config = json.loads((outcome.folder / "trials/0001/config.json").read_text())
    assert config["config"]["rate"] == rate and config["create"] is None


def test_a_function_defined_anywhere_travels_to_the_worker(tmp_path):
    factor = 3.0

    class Here:
        def fit_iter(self, epochs):
            for number in range(1, epochs + 1):
                yield {"rmse": factor / number}

    outcome = launch(
        helpers.study(
            create=lambda config, context: Here(), budget=Budget(trials=1, epochs=2)
        ),
        results=tmp_path,
    )
    assert helpers.story(outcome.folder)[1]["epochs"][2] == repr({"rmse": 1.5})


def kill_and_resume(results, kill_at, **options):
    """Kill the driver right after an event; the resumed run's folder and the losses."""
    killed = processes.start(results, kill_at=kill_at, **options)
    processes.finish(killed)
    assert killed.returncode == -9
    processes.wait_until(
        lambda: (
            not [
                p for p in processes.descendants(killed.mark) if processes.is_worker(p)
            ]
        ),
        5,
    )
    folder = processes.run_folder(results)
    ended = {e.trial for e in events_of(folder) if e.event in helpers.ENDED}
    before = {n: len(epochs) for n, epochs in processes.trained(folder).items()}
    again = processes.start(results, resume=str(folder))
    assert processes.outcome(again)["state"] == "finished"
    after = {n: len(epochs) for n, epochs in processes.trained(folder).items()}
    for number in ended:
        assert after[number] == before[number], "a finished trial was trained again"
    return folder, killed


def compare(folder, undisturbed):
    assert helpers.story(folder) == helpers.story(undisturbed)
    events = events_of(folder)
    assert not [e for e in events if e.event == "nondeterminism"]
    for number, epochs in processes.trained(folder).items():
        again = len(epochs) - len(set(epochs))
        assert again <= 3, f"trial {number} trained {again} epochs twice"


@pytest.mark.parametrize("kill_at", [3, 6, 17])
def test_killed_driver_resumes_to_the_undisturbed_run(tmp_path, undisturbed, kill_at):
    folder, killed = kill_and_resume(tmp_path, kill_at)
    compare(folder, undisturbed)
    assert not processes.descendants(killed.mark)


def test_killed_driver_of_two_workers_trains_nothing_finished_again(tmp_path):
    folder, killed = kill_and_resume(tmp_path, 17, workers=2)
    assert not processes.descendants(killed.mark)
    assert not [e for e in events_of(folder) if e.event == "nondeterminism"]


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", range(2, 42, 2))
def test_killed_at_twenty_moments(tmp_path, undisturbed, kill_at):
    folder, killed = kill_and_resume(tmp_path, kill_at)
    compare(folder, undisturbed)
    assert not processes.descendants(killed.mark)


def test_resume_after_a_kill_within_an_epoch_loses_at_most_five_seconds(tmp_path):
    options = {"constants": {"pause": 0.4}}
    driver = processes.start(tmp_path, **options)
    processes.wait_until(lambda: processes.lines(tmp_path) >= 6, 60)
    driver.kill()
    processes.finish(driver)
    processes.wait_until(lambda: not processes.descendants(driver.mark), 5)
    folder = processes.run_folder(tmp_path)
    known = {e.trial: e.epoch for e in events_of(folder) if e.event == "epoch"}
    count = {n: len(t) for n, t in processes.trained(folder).items()}
    assert all(count[n] - known.get(n, 0) <= 1 for n in count)  # one report on its way
    resumed = processes.start(tmp_path, resume=str(folder))
    assert processes.outcome(resumed)["state"] == "finished"
    trained = processes.trained(folder)
    again = {n: len(t) - len(set(t)) for n, t in trained.items()}
    assert sum(again.values()) * 0.4 <= 5.0 and max(again.values()) <= 3, again


def test_first_ctrl_c_finishes_the_epoch_and_saves(tmp_path):
    answer = processes.interrupted(tmp_path, 5, constants={"pause": 0.3})
    events = events_of(answer["folder"])
    running = next(e for e in events if e.event == "interrupted")
    assert "SIGINT" in running.reason
    saved = [e.epoch for e in events if e.event == "checkpoint"]
    assert saved[-1] == running.epoch
    resumed = processes.outcome(processes.start(tmp_path, resume=answer["folder"]))
    assert resumed["state"] == "finished"
    for epochs in processes.trained(answer["folder"]).values():
        assert len(epochs) == len(set(epochs)), "nothing is trained twice"


def test_first_ctrl_c_lets_every_worker_finish_its_epoch_and_save(tmp_path):
    options = {"workers": 2, "constants": {"pause": 0.4}, "screening": [5, 6]}
    answer = processes.interrupted(tmp_path, 8, **options)
    events = events_of(answer["folder"])
    epochs = {e.trial: e.epoch for e in events if e.event == "interrupted"}
    assert len(epochs) == 2
    resumed = processes.outcome(processes.start(tmp_path, resume=answer["folder"]))
    assert resumed["state"] == "finished"
    for trained in processes.trained(answer["folder"]).values():
        assert len(trained) == len(set(trained)), "what was done is saved"


def test_second_ctrl_c_leaves_at_once_and_sigterm_is_as_the_first(tmp_path):
    driver = processes.start(tmp_path, constants={"pause": 30.0})
    processes.wait_until(lambda: processes.lines(tmp_path) >= 3, 60)
    time.sleep(0.5)
    driver.terminate()
    time.sleep(0.5)
    assert driver.poll() is None  # the epoch in progress is waited for
    processes.interrupt(driver)
    begin = time.monotonic()
    answer = processes.outcome(driver)
    assert time.monotonic() - begin < 3
    assert answer["state"] == "interrupted"
    assert not processes.descendants(driver.mark)
    assert events_of(answer["folder"])[-1].event == "interrupted"


def test_a_second_driver_is_refused_and_a_finished_run_is_left_alone(tmp_path):
    driver = processes.start(tmp_path, constants={"pause": 0.2})
    processes.wait_until(lambda: processes.lines(tmp_path) >= 4, 60)
    folder = processes.run_folder(tmp_path)
    with pytest.raises(RunLocked):
        resume(folder)
    processes.outcome(driver)
    before = (folder / "events.jsonl").read_bytes()
    assert resume(folder).state == "finished"
    assert (folder / "events.jsonl").read_bytes() == before


def test_time_budget_cancels_what_runs(tmp_path):
    begin = time.monotonic()
    outcome = launch(
        helpers.study(
            constants={"pause": 20.0}, budget=Budget(trials=3, epochs=3, seconds=1.5)
        ),
        results=tmp_path,
    )
    assert outcome.state == "time" and time.monotonic() - begin < 10
    assert events_of(outcome.folder)[-2].event == "cancelled"
    assert resume(outcome.folder).state == "time"


def interrupted_run(tmp_path, monkeypatch, described, **options):
    """A run left unfinished, without a process of its own."""

    class Stopper:
        def event(self, event, director):
            if event.event == "epoch":
                os.kill(os.getpid(), 2)

        def tick(self, director):
            pass

        def message(self, text):
            pass

    outcome = launch(described, results=tmp_path, observer=Stopper(), **options)
    assert outcome.state == "interrupted"
    return outcome.folder


def test_resume_refuses_another_space_data_or_study_file(tmp_path, monkeypatch):
    file = tmp_path / "study.py"
    file.write_text("# as launched")
    described = helpers.study(data={"what": 1})
    folder = interrupted_run(
        tmp_path / "results", monkeypatch, described, study_file=file
    )
    file.write_text("# changed")
    with pytest.raises(ResumeRefused, match="study file .* changed"):
        resume(folder)
    file.write_text("# as launched")
    family = described.families[0]
    space = family.space.replace({"rate": FloatDistribution(0.1, 0.9)})
    other = described.replace(families=(dataclasses.replace(family, space=space),))
    with pytest.raises(ResumeRefused, match="space of family `steady` changed: `rate`"):
        resume(folder, current=other)
    with pytest.raises(ResumeRefused, match="data is not that"):
        resume(folder, prepare=lambda data, root: {"what": 2})
    count = len(events_of(folder))
    outcome = resume(folder, current=other, allow_different=True)
    assert outcome.state == "finished"
    later = events_of(folder)[count:]
    assert any("`rate`" in e.text for e in later if e.event == "note")


def test_a_create_that_cannot_be_found_is_named_before_anything_is_lost(tmp_path):
    with pytest.raises(RunError, match="cannot be imported"):
        launch(helpers.study(create="no_such_module:create"), results=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_ends_the_run_and_fails_no_trial(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    full = tmp_path / "full"
    full.touch()

    class NoRoom(helpers.Steady):
        def save(self, directory):
            if full.exists():
                raise OSError(errno.ENOSPC, "No space left on device", str(directory))
            super().save(directory)

    def create(config, context):
        return NoRoom(config, context)

    described = helpers.study(create=create, budget=Budget(trials=2, epochs=3))
    with pytest.raises(RunError, match="No space left"):
        launch(described, results=tmp_path)
    full.unlink()
    folder = processes.run_folder(tmp_path)
    assert events_of(folder)[-1].event == "interrupted"
    assert resume(folder, create=create).state == "finished"
    states = [t["state"][0] for t in helpers.story(folder).values()]
    assert "failed" not in states


def test_an_observer_that_raises_breaks_nothing(tmp_path):
    class Broken:
        def event(self, event, director):
            raise RuntimeError("display")

        tick = message = event

    outcome = launch(
        helpers.study(budget=Budget(trials=1, epochs=1)),
        results=tmp_path,
        observer=Broken(),
    )
    assert outcome.state == "finished"


def test_only_the_ten_best_of_a_family_keep_their_checkpoints(tmp_path):
    outcome = launch(
        helpers.study(budget=Budget(trials=13, epochs=2), stopping=()), results=tmp_path
    )
    trials = helpers.story(outcome.folder)
    values = {
        n: min(map(helpers.rmse, t["epochs"].values())) for n, t in trials.items()
    }
    best = sorted(values, key=values.__getitem__)[:10]
    kept = {int(p.parent.parent.name) for p in outcome.folder.glob("trials/*/*/saved")}
    assert kept == set(best)


def test_a_worker_killed_while_the_driver_decides_is_replaced(tmp_path, monkeypatch):
    """It dies idle, so that the order to begin is what tells of it: one retry, no more."""
    begun, act = [], local._Worker.act

    def killed_first(self):
        if self.due == "begin":
            begun.append(self.task.trial)
            if len(begun) == 3:
                os.kill(self.child.pid, signal.SIGKILL)
                child = psutil.Process(self.child.pid)
                processes.wait_until(lambda: child.status() == psutil.STATUS_ZOMBIE, 20)
        act(self)

    monkeypatch.setattr(local._Worker, "act", killed_first)
    study = helpers.study(sampler=Rule(name="random"), stopping=())
    outcome = launch(study, results=tmp_path)
    assert outcome.state == "finished"
    ends = [e for e in helpers.events_of(outcome.folder) if e.event == "interrupted"]
    assert [e.trial for e in ends] == [3] and ends[0].death
    assert begun == [1, 2, 3, 3, 4, 5, 6]
