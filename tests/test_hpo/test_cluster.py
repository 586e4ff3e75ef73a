"""A run on a Ray cluster that is there already: nodes, tokens, faults, and equal numbers."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import clusters

from hpo.ledger.events import Interrupted
from hpo.testing import drivers
from hpo.testing import executors as suite
from hpo.testing.steady import trained
from hpo.trials.states import ENDINGS

sys.path.pop(0)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with clusters.Nodes(tmp_path_factory.mktemp("nodes"), cpus=(1, 1)) as cluster:
        yield cluster


@pytest.fixture
def attached(nodes, monkeypatch):
    """What is driven from here on is driven on the cluster."""
    for name, value in nodes.driver.items():
        monkeypatch.setenv(name, value)
    yield nodes
    drivers.wait_until(lambda: not nodes.workers(), 10)


def study_of(count, *, workers=2, pause=0.2, epochs=None):
    study = suite._study("ray", ("none",) * count, workers=workers, pause=pause)
    if epochs is None:
        return study
    from dataclasses import replace

    return study.replace(budget=replace(study.budget, epochs=epochs))


def locally(study, folder):
    """The story that the executor `local` tells of a study."""
    from dataclasses import replace

    local = study.replace(
        resources=replace(study.resources, executor="local", workers=1)
    )
    driver = drivers.start(folder, local)
    try:
        return drivers.story(driver.outcome()["folder"])
    finally:
        driver.end()


@pytest.fixture
def driven(tmp_path):
    """Starts drivers on a cluster and ends them."""
    begun = []

    def start(cluster, study=None, place="run", **options):
        driver = drivers.start(
            tmp_path / place, study, environment=cluster.driver, **options
        )
        begun.append(driver)
        return driver

    yield start
    for driver in begun:
        driver.end()


@pytest.mark.parametrize(
    "check", [c for c in suite.CHECKS if c.__name__ != "check_leaving"]
)
def test_the_suite_of_executors_holds_on_a_cluster(attached, tmp_path, check):
    check("ray", tmp_path)


def test_every_node_trains_what_local_would(nodes, driven, tmp_path):
    study = study_of(6)
    driver = driven(nodes, study)
    run = Path(driver.outcome()["folder"])
    events = drivers.events_of(run)
    capacity = [e for e in events if e.event == "capacity"]
    assert max(e.workers for e in capacity) == 2
    assert len(max((e.nodes for e in capacity), key=len)) == 2, "a node stood idle"
    for place in (0, 1):
        assert list((nodes.cache(place) / "code").iterdir()), f"node {place}: no code"
    assert drivers.story(run) == locally(study, tmp_path / "local")
    drivers.wait_until(lambda: not nodes.workers(), 10)
    token = Path(nodes.token["RAY_AUTH_TOKEN_PATH"]).read_text()
    for path in run.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()


def test_nodes_die_and_join_and_no_retry_is_spent(driven, tmp_path):
    study = study_of(6, workers=None, pause=0.4)
    with clusters.Nodes(tmp_path / "nodes", cpus=(0, 1, 1)) as cluster:
        driver = driven(cluster, study)
        for victim in (1, 2):
            so_far = len(trained(driver.folder)) if driver.folder else 0
            drivers.wait_until(
                lambda n=so_far: driver.folder and len(trained(driver.folder)) > n, 60
            )
            cluster.add(1)
            cluster.kill(victim)
        run = Path(driver.outcome()["folder"])
        events = drivers.events_of(run)
        lost = [e for e in events if isinstance(e, Interrupted)]
        assert lost and not any(e.death for e in lost), lost
        assert all("is gone" in e.reason for e in lost), lost
        assert len({n for e in events if e.event == "capacity" for n in e.nodes}) >= 3
    assert drivers.story(run) == locally(study, tmp_path / "local")


def test_a_killed_driver_leaves_no_worker_and_is_resumed(nodes, driven, tmp_path):
    study = study_of(4, pause=0.5)
    driver = driven(nodes, study)
    drivers.wait_until(
        lambda: sum(e.event in ENDINGS for e in driver.events()) >= 1, 90
    )
    time.sleep(1.2)
    assert nodes.workers()
    os.kill(driver.process.pid, 9)
    drivers.wait_until(lambda: not nodes.workers(), 10)
    run = driver.folder
    ended = {e.trial for e in driver.events() if e.event in ENDINGS}
    before = trained(run)
    again = driven(nodes, resume=run, place="again")
    assert again.outcome()["state"] == "finished"
    after = trained(run)
    for number in ended:
        assert after[number] == before[number], "trained again"
    for number, epochs in after.items():
        assert len(epochs) <= 6 + 5 / 0.5, f"trial {number} lost more than 5 s"
    assert drivers.story(run) == locally(study, tmp_path / "local")
