"""The Ray executor: the same story as local, private, and gone when it is over."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers
import run_processes as processes

from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.run.driver import STOP_FILE
from hpo.run.launch import launch
from hpo.testing.steady import PROCESSES

sys.path.pop(0)

ROOT = Path(__file__).parents[2]
TROUBLES = {
    "raises": "raise",
    "exits": "exit",
    "dies": "die",
    "recovers": "die once",
    "hangs": "hang",
    "diverges": "nan",
    "works": None,
    "also": None,
}


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


def events_of(folder):
    return read_events(Path(folder) / "events.jsonl")[0]


def in_python(code, folder):
    """What became of a process of its own that ran some code."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def private_folder(driver):
    found = list(Path(tempfile.gettempdir()).glob(f"hpo-ray-{driver.pid}-*"))
    return found[0] if found else None


def listeners(mark):
    """Every address on which a process of the run listens."""
    addresses = set()
    for process in processes.descendants(mark):
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return addresses


@pytest.fixture(scope="module")
def local_story(tmp_path_factory):
    answer = processes.outcome(processes.start(tmp_path_factory.mktemp("local")))
    return helpers.story(answer["folder"])


def test_ray_tells_the_story_of_local_in_private(tmp_path, local_story):
    """One study for: equality, actor reuse, sockets, token, files, leftovers."""
    driver = processes.start(tmp_path, executor="ray", constants={"pause": 0.1})
    processes.wait_until(lambda: processes.lines(tmp_path) >= 8, 60)
    heard = listeners(driver.mark)
    assert heard and all(
        ipaddress.ip_address(a.removeprefix("::ffff:")).is_loopback for a in heard
    )
    folder = private_folder(driver)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    workers = {
        p.pid for p in processes.descendants(driver.mark) if processes.is_worker(p)
    }
    answer = processes.outcome(driver)
    assert workers and answer["state"] == "finished"
    assert helpers.story(answer["folder"]) == local_story
    assert not processes.descendants(driver.mark)
    assert not folder.exists()
    names = {p.name for p in Path(answer["folder"]).iterdir()}
    assert names == {".lock", "study.json", "events.jsonl", "trials"}


@pytest.mark.slow
def test_two_workers_and_misbehaving_trials(tmp_path):
    options = {"troubles": TROUBLES, "stall": 3.0}
    ray = processes.outcome(
        processes.start(tmp_path / "ray", executor="ray", workers=2, **options)
    )
    local = processes.outcome(processes.start(tmp_path / "local", **options))
    assert ray["state"] == local["state"] == "finished"

    def by_family(answer):
        story = helpers.story(answer["folder"]).values()
        return {t["family"]: t for t in story}

    one, two = by_family(local), by_family(ray)
    assert one == two  # configurations, seeds, states, values to the last bit
    assert {name: t["state"][0] for name, t in two.items()} == {
        "raises": "failed",
        "exits": "failed",
        "dies": "failed",
        "recovers": "completed",
        "hangs": "failed",
        "diverges": "diverged",
        "works": "completed",
        "also": "completed",
    }
    events = events_of(ray["folder"])
    reasons = {e.reason for e in events if e.event == "failed"}
    assert reasons == {
        "ValueError: this configuration cannot work",
        "the code called sys.exit(7)",
        "stalled",
        "the worker process died",
    }


@pytest.mark.parametrize("kill_at", [9])
def test_killed_driver_resumes_to_the_story_of_local(tmp_path, local_story, kill_at):
    kill_and_compare(tmp_path, local_story, kill_at)


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", range(2, 42, 2))
def test_killed_at_twenty_moments(tmp_path, local_story, kill_at):
    kill_and_compare(tmp_path, local_story, kill_at)


def kill_and_compare(tmp_path, local_story, kill_at):
    driver = processes.start(tmp_path, executor="ray", kill_at=kill_at)
    processes.finish(driver)
    assert driver.returncode == -9
    processes.wait_until(lambda: no_worker(driver.mark), 10)
    folder = processes.run_folder(tmp_path)
    ended = {e.trial for e in events_of(folder) if e.event in helpers.ENDED}
    before = processes.trained(folder)
    answer = processes.outcome(processes.start(tmp_path, resume=str(folder)))
    assert answer["state"] == "finished"
    assert helpers.story(folder) == local_story
    after = processes.trained(folder)
    assert all(after[n] == before[n] for n in ended)
    assert all(len(t) - len(set(t)) <= 3 for t in after.values())


def no_worker(mark):
    return not any(processes.is_worker(p) for p in processes.descendants(mark))


@pytest.mark.slow
def test_nothing_is_left_seventy_seconds_after_a_kill(tmp_path):
    driver = processes.start(tmp_path, executor="ray", constants={"pause": 30.0})
    processes.wait_until(lambda: processes.lines(tmp_path) >= 3, 60)
    time.sleep(4)  # a worker is within its epoch
    folder = private_folder(driver)
    driver.kill()
    processes.finish(driver)
    processes.wait_until(lambda: no_worker(driver.mark), 10)
    processes.wait_until(lambda: not processes.descendants(driver.mark), 70, step=1.0)
    from hpo.run.ray import cluster

    cluster.remove_abandoned()  # as the next run does
    assert not folder.exists()


@pytest.mark.slow
def test_ctrl_c_saves_what_both_workers_have_done(tmp_path):
    """A report may be on its way when it comes: what is saved then, no event says."""
    options = {"executor": "ray", "workers": 2, "constants": {"pause": 0.5}}
    driver = processes.start(tmp_path, **options)
    processes.wait_until(lambda: len(processes.trained_in(tmp_path)) >= 2, 150)
    processes.interrupt(driver)
    answer = processes.outcome(driver)
    assert answer["state"] == "interrupted"
    assert not processes.descendants(driver.mark)
    events = events_of(answer["folder"])
    assert any(e.epoch for e in events if e.event == "interrupted")
    again = processes.outcome(processes.start(tmp_path, resume=answer["folder"]))
    assert again["state"] == "finished"
    for epochs in processes.trained(answer["folder"]).values():
        assert len(epochs) == len(set(epochs)), "what was done is saved"
    told = [
        (e.trial, e.epoch) for e in events_of(answer["folder"]) if e.event == "epoch"
    ]
    assert len(told) == len(set(told))


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_epoch(tmp_path):
    """An epoch takes ten minutes, and `outcome` waits for two."""
    options = {"executor": "ray", "workers": 2, "constants": {"pause": 600.0}}
    driver = processes.start(tmp_path, **options)
    made = f"*/*/trials/*/{PROCESSES}"
    processes.wait_until(lambda: len(list(tmp_path.glob(made))) == 2, 150)
    processes.interrupt(driver)
    stopping = processes.run_folder(tmp_path) / STOP_FILE
    processes.wait_until(stopping.exists, 30)  # the first one was heard
    assert driver.poll() is None
    processes.interrupt(driver)
    answer = processes.outcome(driver)
    assert answer["state"] == "interrupted"
    assert not processes.descendants(driver.mark)
    events = events_of(answer["folder"])
    assert [e.trial for e in events if e.event == "interrupted"] == [1, 2]
    assert not any(e.event == "epoch" for e in events)


_LEAVING_WHILE_TIDYING_UP = """
import os, pathlib, signal
from hpo.run.executor import Plan
from hpo.run.ray.cluster import cluster
from hpo.run.signals import Stop

def press():
    os.kill(os.getpid(), signal.SIGINT)

plan = Plan(workers=1, gpus=0, gpus_per_trial=0.0, stall=60.0)
heard = False
with Stop(pathlib.Path("stop"), lambda text: None) as stop:
    press()
    try:
        with cluster(plan, shielded=stop.shielded) as place:
            import ray
            shutdown = ray.shutdown
            ray.shutdown = lambda: (press(), shutdown())
    except KeyboardInterrupt:
        heard = True
print(heard, ray.is_initialized(), place.folder.exists())
"""


@pytest.mark.slow
def test_a_second_ctrl_c_cuts_no_tidying_up_in_two(tmp_path):
    done = in_python(_LEAVING_WHILE_TIDYING_UP, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "False", "False"]


@pytest.mark.slow
def test_memory_that_runs_out_costs_an_attempt_and_not_the_study(tmp_path, monkeypatch):
    """Ray's monitor kills the worker, which aborts Tune's whole `fit`: it is fitted again."""
    memory = psutil.virtual_memory()
    threshold = 1 - memory.available / memory.total + 1.5 * 2**30 / memory.total
    if threshold > 0.8:
        pytest.skip("too little memory is free here to run out of it on purpose")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{threshold:.3f}")
    answer = processes.outcome(
        processes.start(
            tmp_path, executor="ray", troubles={"hogs": "hog once", "works": None}
        )
    )
    states = {
        t["family"]: t["state"][0] for t in helpers.story(answer["folder"]).values()
    }
    assert states == {"hogs": "completed", "works": "completed"}
    lost = [e for e in events_of(answer["folder"]) if e.event == "interrupted"]
    assert len(lost) == 1 and lost[0].death


def test_what_a_worker_could_not_find_is_told(tmp_path):
    """Ray keeps the error in a file; without one it is a process that died."""
    from ray import cloudpickle
    from ray.exceptions import ActorDiedError, RayTaskError

    from hpo.run.ray.adapter import told

    missing = FileNotFoundError(2, "No such file or directory", "/run/creates")
    raised = RayTaskError("setup", "Traceback", missing)
    for name, error, words in (
        ("raised", raised, "FileNotFoundError: [Errno 2] No such file or directory"),
        ("died", ActorDiedError(), "the worker process died"),
    ):
        path = tmp_path / name
        path.write_bytes(cloudpickle.dumps(error))
        assert words in told(str(path))
    assert told(str(tmp_path / "none")) == told(None) == "the worker process died"


def test_fractions_of_pretended_gpus(tmp_path):
    answer = processes.outcome(
        processes.start(
            tmp_path,
            executor="ray",
            workers=None,
            gpus=1,
            share=0.5,
            trials=3,
            create="run_helpers:create_environment",
        )
    )
    study = json.loads((Path(answer["folder"]) / "study.json").read_text())["study"]
    assert study["resources"]["workers"] == 2
    seen = [
        json.loads(p.read_text())
        for p in Path(answer["folder"]).glob("trials/*/seen.json")
    ]
    assert len(seen) == 3
    for environment in seen:
        assert environment["CUDA_VISIBLE_DEVICES"] == "0"
        assert environment["XLA_CLIENT_MEM_FRACTION"] == "0.45"
        assert (
            environment["JAX_PLATFORMS"] is None
        )  # the driver's own cpu is not handed on
        assert environment["NPROC"] == environment["OMP_NUM_THREADS"] == "1"
        assert (
            stat.S_IMODE(Path(environment["JAX_COMPILATION_CACHE_DIR"]).stat().st_mode)
            == 0o700
        )
        assert environment["jax"] is False


_WAITING_CLUSTER = """
import psutil, time
from hpo.run.executor import Plan
from hpo.run.ray.cluster import cluster
with cluster(Plan(workers=2, gpus=0, gpus_per_trial=0.0, stall=60.0)):
    time.sleep(5)
    for child in psutil.Process().children(recursive=True):
        print(" ".join(child.cmdline()))
"""


@pytest.mark.slow
def test_ray_starts_no_workers_ahead_that_nobody_can_use(tmp_path):
    done = in_python(_WAITING_CLUSTER, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "raylet" in done.stdout
    assert "ray::IDLE" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_confirmation_under_ray_is_that_of_local(tmp_path):
    """Chosen, trained, scored once and illustrated by workers of Ray, to the same bits."""
    from hpo.confirmation.reading import load_confirmation
    from hpo.run.rerun_folder import command
    from tests.test_hpo.test_confirm import SMALL, kinds, numbers, pictures

    local = launch(SMALL, results=tmp_path / "local").folder
    ray = tmp_path / "ray" / local.parent.name / local.name
    shutil.copytree(local, ray)
    for folder, executor in ((local, "local"), (ray, "ray")):
        call = ["confirm", folder, "--top", "2", "--seeds", "2", "--workers", "2"]
        done = subprocess.run(
            [sys.executable, "-m", "hpo.cli.main", *call, "--executor", executor],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=800,
        )
        assert done.returncode == 0, done.stderr
    assert numbers(ray) == numbers(local)
    assert pictures(ray) == pictures(local) and len(pictures(ray)) == 2
    assert load_confirmation(ray).part == "test" and kinds(ray).count("test_read") == 1
    (look,) = ray.glob("reruns/*-confirm-*")
    record = json.loads((look / "study.json").read_text())
    assert record["study"]["resources"]["executor"] == "ray"
    assert kinds(look).count("test_read") == 1 and kinds(look).count("evaluated") == 2
    assert command(RunFolder(look)) == f"hpo confirm {ray}"


@pytest.mark.slow
def test_epochs_that_were_gathered_are_judged_one_by_one(tmp_path):
    """A budget of epochs is kept to, and ends and values are those of `local`."""
    stories = {}
    for executor in ("ray", "local"):  # drivers of their own: Ray must not fork JAX
        driver = processes.start(
            tmp_path / executor,
            executor=executor,
            trials=5,
            epochs=60,
            total_epochs=130,
        )
        answer = processes.outcome(driver)
        assert answer["state"] == "time"
        events = events_of(answer["folder"])
        assert sum(e.event == "epoch" for e in events) == 130
        stories[executor] = helpers.story(answer["folder"])
    assert stories["ray"] == stories["local"]
