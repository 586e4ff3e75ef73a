"""A run on a Ray cluster that is there already: nodes, tokens, faults, and equal numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import clusters
import sample_run
from test_ledger_lease import another_host

from hpo.chaos import Chaos
from hpo.ledger.events import Interrupted
from hpo.ledger.folder import RunFolder
from hpo.report.summary import load_summary
from hpo.testing import drivers
from hpo.testing import executors as suite
from hpo.testing.steady import PROCESSES, trained
from hpo.trials.states import ENDINGS

sys.path.pop(0)

ROOT = Path(__file__).parents[2]
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
    return study.replace(budget=replace(study.budget, epochs=epochs))


def locally(study, folder):
    """The story that the executor `local` tells of a study."""
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
        options.setdefault("environment", cluster.driver)
        driver = drivers.start(tmp_path / place, study, **options)
        begun.append(driver)
        return driver

    yield start
    for driver in begun:
        driver.end()


def hpo(cluster, *words, **variables):
    """What became of a command, as a person calls it."""
    environment = {**os.environ, **cluster.token, **variables}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", "hpo.cli.main", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.long
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
    audited = hpo(nodes, "verify", run)
    assert audited.returncode == 0, audited.stderr
    for place in (0, 1):
        assert list((nodes.cache(place) / "code").iterdir()), f"node {place}: no code"
    assert drivers.story(run) == locally(study, tmp_path / "local")
    drivers.wait_until(lambda: not nodes.workers(), 10)
    token = Path(nodes.token["RAY_AUTH_TOKEN_PATH"]).read_text()
    for process in nodes.processes():
        assert token not in " ".join(process.cmdline())
    for path in run.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()


def test_in_virtual_order_two_nodes_decide_what_one_process_does(
    nodes, driven, tmp_path
):
    study = suite._compared("ray", workers=2)
    study = study.replace(
        # Long enough for the second node to be there before all is trained.
        families=tuple(
            replace(f, space=f.space.replace({"pause": 0.2})) for f in study.families
        ),
        budget=replace(study.budget, trials=16),
        resources=replace(study.resources, order="virtual:8"),
    )
    alone = study.replace(
        resources=replace(study.resources, executor="local", workers=1)
    )
    found = []
    for place, a_study in (("two", study), ("one", alone)):
        driver = driven(nodes, a_study, place=place)
        found.append(driver.outcome()["folder"])
        events = driver.events()
        assert any(e.event == "stopped" for e in events), "nobody was compared"
    events = drivers.events_of(Path(found[0]))
    assert max(len(e.nodes) for e in events if e.event == "capacity") == 2
    audited = hpo(nodes, "verify", found[0], "--same-as", found[1])
    assert audited.returncode == 0, audited.stdout + audited.stderr


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


def test_nodes_that_are_taken_away_on_purpose_change_nothing(nodes, driven, tmp_path):
    """What a node reports next to it is lost; the ledger says when, and why."""
    study = suite._compared("ray", workers=2)
    local = replace(study.resources, executor="local", workers=1)
    alone = study.replace(resources=local)
    calm = driven(nodes, alone, place="one").outcome()["folder"]
    chaos = Chaos(seed=1, node=0.15)
    driver = driven(nodes, study, chaos=chaos)
    run = Path(driver.outcome()["folder"])
    events = drivers.events_of(run)
    notes = [e for e in events if e.event == "note" and e.trial]
    assert notes and all("taken away on purpose" in e.text for e in notes)
    lost = [
        e for e in events if isinstance(e, Interrupted) and "on purpose" in e.reason
    ]
    assert lost and not any(e.death for e in lost)
    due = {(e.trial, e.epoch) for e in events if e.event == "epoch"}
    assert len(notes) == sum(chaos.takes_node(*place) for place in due)
    audited = hpo(nodes, "verify", run, "--same-as", calm)
    assert audited.returncode == 0, audited.stdout + audited.stderr


def test_nodes_that_are_taken_away_as_time_goes_by_change_nothing(
    nodes, driven, tmp_path
):
    study = study_of(2, pause=0.5)
    run = driven(nodes, study, chaos=Chaos(node_every=8.0)).outcome()["folder"]
    notes = [e for e in drivers.events_of(run) if e.event == "note" and e.trial]
    assert any("taken away on purpose" in e.text for e in notes)
    assert drivers.story(run) == locally(study, tmp_path / "local")


@pytest.mark.long
def test_a_lost_head_ends_a_run_that_another_cluster_goes_on_with(driven, tmp_path):
    study = study_of(2, pause=1.0, epochs=40)
    with clusters.Nodes(tmp_path / "nodes", cpus=(0, 1, 1)) as cluster:
        driver = driven(cluster, study)
        drivers.wait_until(
            lambda: sum(e.event == "epoch" for e in driver.events()) >= 3, 90
        )
        for process in cluster.processes():
            if process.name() == "gcs_server":
                process.kill()
        assert driver.outcome()["state"] == "interrupted"
        events = driver.events()
        lost = [e for e in events if isinstance(e, Interrupted)]
        assert {e.reason for e in lost} == {"the head of the cluster is gone"}
        assert not any(e.death for e in lost)
    with clusters.Nodes(tmp_path / "others", cpus=(2,)) as other:
        again = driven(other, resume=driver.folder, place="again")
        assert again.outcome()["state"] == "finished"
    for epochs in trained(driver.folder).values():
        assert len(epochs) <= 40 + 5, "more than 5 s were lost"


def with_options(cluster, **options):
    """Variables of a driver that works on a cluster in another way."""
    told = json.loads(cluster.driver[drivers.CLUSTER])
    return {**cluster.driver, drivers.CLUSTER: json.dumps({**told, **options})}


def test_workers_write_into_a_folder_that_all_share(nodes, driven, tmp_path):
    study = study_of(4, pause=0.1)
    driver = driven(nodes, study, environment=with_options(nodes, storage="shared"))
    run = Path(driver.outcome()["folder"])
    assert drivers.story(run) == locally(study, tmp_path / "local")
    assert len([*run.glob("trials/*/attempt-1/saved")]) == 4
    assert len({pid for pids in trained(run, PROCESSES).values() for pid in pids}) == 2
    assert not [*run.glob(".probe-*")], "what nodes were probed with"
    for place in (0, 1):
        assert not [*nodes.cache(place).glob("attached/*/0*")], "nothing was mirrored"


@pytest.mark.long
def test_a_node_that_drains_saves_and_hands_its_trial_on(driven, tmp_path):
    study = study_of(2, workers=None, pause=0.6, epochs=30)
    with clusters.Nodes(tmp_path / "nodes", cpus=(0, 1, 1)) as cluster:
        driver = driven(cluster, study)
        drivers.wait_until(
            lambda: sum(e.event == "epoch" for e in driver.events()) >= 8, 90
        )
        cluster.drain(1)
        drivers.wait_until(
            lambda: any(isinstance(e, Interrupted) for e in driver.events()), 30
        )
        cluster.add(1)
        assert driver.outcome()["state"] == "finished"
        events = driver.events()
    (lost,) = [e for e in events if isinstance(e, Interrupted)]
    assert not lost.death and "about to leave" in lost.reason
    epochs = trained(driver.folder)[lost.trial]
    assert len(epochs) == 30, "what the node had trained was saved before it left"
    assert drivers.story(driver.folder) == locally(study, tmp_path / "local")


@pytest.mark.long
def test_without_workers_trials_wait_and_then_the_run_ends(driven, tmp_path):
    study = study_of(3, workers=None, pause=0.5)
    with clusters.Nodes(tmp_path / "nodes", cpus=(0, 1)) as cluster:
        impatient = with_options(cluster, patience=6.0)
        driver = driven(cluster, study, environment=impatient)
        drivers.wait_until(
            lambda: sum(e.event == "epoch" for e in driver.events()) >= 2, 90
        )
        cluster.kill(1)
        assert driver.outcome()["state"] == "interrupted"
        events = driver.events()
        (lost,) = [e for e in events if isinstance(e, Interrupted)]
        assert not lost.death
        after = events[events.index(lost) :]
        assert [e.workers for e in after if e.event == "capacity"] == [0]
        assert not any(e.event == "started" for e in after), "started without a worker"


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
    under = another_host("elsewhere")
    again = driven(nodes, resume=run, place="again", under=under)
    assert again.outcome()["state"] == "finished"
    hosts = [e.host for e in drivers.events_of(run) if e.event == "run" and e.host]
    assert hosts[1:] == ["elsewhere"] != hosts[:1]
    after = trained(run)
    for number in ended:
        assert after[number] == before[number], "trained again"
    for number, epochs in after.items():
        assert len(epochs) <= 6 + 5 / 0.5, f"trial {number} lost more than 5 s"
    assert drivers.story(run) == locally(study, tmp_path / "local")


# -- refused ------------------------------------------------------------------------------


@pytest.fixture
def walk(tmp_path):
    path = tmp_path / "walk.py"
    path.write_text(sample_run.WALK)
    return path


def launch(cluster, walk, *options, **variables):
    place = walk.parent / "out"
    words = ("--executor", "ray", "--address", cluster.address, "--results", place)
    return hpo(cluster, "launch", walk, *words, *options, **variables)


def refused(done, *words):
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\nerror: " in done.stderr and "\nhint: " in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_the_doctor_has_a_line_a_node(nodes, tmp_path):
    words = ("--address", nodes.address, "--results", tmp_path, "--format", "json")
    done = hpo(nodes, "doctor", *words, "--data", "/nowhere")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = [f["found"] for f in found if "#" in f["check"]]
    assert len(rows) == 2
    for row in rows:
        assert "1 CPU" in row and "jax " in row and "clock " in row
        assert f"; reads {tmp_path}" in row and "does not read /nowhere" in row
    assert found[-1]["check"] == "instructions" and found[-1]["status"] == "ok"


def test_a_study_file_is_launched_by_the_variable(nodes, walk):
    """Its learner cannot be imported: it travels by value, with the study's folder."""
    results = walk.parent / "out"
    words = ("--executor", "ray", "--results", results, "--workers", "auto")
    done = hpo(nodes, "launch", walk, *words, RAY_ADDRESS=nodes.address)
    assert done.returncode == 0, done.stderr
    assert f"attaching to Ray at {nodes.address} (RAY_ADDRESS)" in done.stderr
    (run,) = results.glob("walks/*")
    (first,) = [e for e in drivers.events_of(run) if e.event == "run" and e.host]
    attached = first.provenance["attached"]
    assert attached["address"] == nodes.address and len(attached["nodes"]) == 2
    assert attached["workers"] == "auto" and attached["equal_bits"] == {}


def test_another_token_is_refused(nodes, walk, tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 2)
    done = launch(nodes, walk, RAY_AUTH_TOKEN_PATH=str(token))
    refused(done, nodes.address, "token", "RAY_AUTH_TOKEN_PATH")
    assert token.read_text() not in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_no_node_has_is_refused(nodes, walk, tmp_path):
    done = launch(nodes, walk, "--set", 'resources.per_trial={"a100": 1}')
    refused(done, "1 a100", "1 CPU", "per_trial")
    assert not (tmp_path / "out").exists()


def test_another_version_of_ray_is_refused(walk, tmp_path):
    with clusters.Nodes(tmp_path / "nodes", cpus=(1,), pretend="1.2.3") as cluster:
        done = launch(cluster, walk)
    refused(done, "Ray: 1.2.3", "Python: ", "the same Ray")


@pytest.mark.long
def test_nodes_that_cannot_be_used_are_named(walk, tmp_path):
    """One has another JAX, one no cache; with a good one beside them a run does without."""
    other = tmp_path / "other" / "jax-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: jax\nVersion: 0.0.1\n"
    )
    (tmp_path / "file").touch()
    with clusters.Nodes(tmp_path / "nodes", cpus=(0,)) as cluster:
        cluster.add(1, PYTHONPATH=str(other.parent))
        cluster.add(1, HPO_CACHE=str(tmp_path / "file" / "cache"))
        done = launch(cluster, walk)
        refused(done, "it has jax 0.0.1", "Not a directory", "HPO_CACHE", "no node")
        assert not (tmp_path / "out").exists()
        cluster.add(1)
        done = launch(cluster, walk)
        assert done.returncode == 0, done.stderr
        assert "not used: " in done.stderr and "it has jax 0.0.1" in done.stderr
        (run,) = (tmp_path / "out").glob("walks/*")
        events = drivers.events_of(run)
        assert max(e.workers for e in events if e.event == "capacity") == 1


SAVES = sample_run.WALK.replace(
    """    def evaluate(""",
    """    def save(self, directory):
        (directory / "state").write_bytes(b"x" * BYTES)

    def restore(self, directory):
        pass

    def evaluate(""",
)


def test_more_than_travels_is_refused_with_another_way(nodes, walk):
    walk.write_text(SAVES.replace("BYTES)", "9_000_000)"))
    done = launch(nodes, walk, "--trials", "1")
    refused(done, "has 8.6 MB", "--storage shared")
    assert "cannot be saved" in done.stderr


@pytest.mark.long
def test_a_full_disk_of_a_node_is_told_with_its_name(walk, tmp_path):
    cache = tmp_path / "small"
    cache.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(cache)]
    if subprocess.run(size, capture_output=True).returncode:
        pytest.skip("no disk can be made small here (mount -t tmpfs)")
    try:
        walk.write_text(SAVES.replace("BYTES)", "40_000_000)"))
        with clusters.Nodes(tmp_path / "nodes", cpus=(0,)) as cluster:
            cluster.add(1, HPO_CACHE=str(cache))
            done = launch(cluster, walk, "--trials", "1")
            drivers.wait_until(lambda: not cluster.workers(), 10)
        refused(done, "No space left on device", "on node ", "hpo resume")
    finally:
        subprocess.run(["umount", "--lazy", str(cache)], check=True)


def test_a_run_is_extended_on_a_cluster_and_then_on_one_machine(nodes, walk):
    done = launch(nodes, walk, "--workers", "auto", "--trials", "3")
    assert done.returncode == 0, done.stderr
    (run,) = (walk.parent / "out").glob("walks/*")
    on_both = ("--workers", "auto", "--address", nodes.address)
    for where in on_both, ("--address", "local"):
        before = len(drivers.events_of(run))
        done = hpo(nodes, "extend", run, "--trials", "+2", *where)
        assert done.returncode == 0, done.stderr
        added = drivers.events_of(run)[before:]
        (driver,) = [e for e in added if e.event == "run" and e.host]
        assert ("attached" in driver.provenance) == (where is on_both)
        capacity = [e for e in added if e.event == "capacity"]
        assert capacity and capacity[-1].workers, "nobody says who is there"
        assert sum(e.event in ENDINGS for e in added) == 2
        audited = hpo(nodes, "verify", run)
        assert audited.returncode == 0, audited.stdout + audited.stderr
    assert RunFolder(run).read_study()["study"]["resources"]["workers"] is None
    done = hpo(nodes, "extend", run, "--trials", "+2", "--workers", "2")
    assert done.returncode == 1 and "--address" in done.stderr


def test_trials_are_trained_again_on_a_cluster(nodes, walk):
    """A run of one machine: the same numbers there, those of the test part, too."""
    out = walk.parent / "out"
    done = hpo(nodes, "launch", walk, "--trials", "3", "--results", out)
    assert done.returncode == 0, done.stderr
    (run,) = out.glob("walks/*")
    copied = shutil.copytree(run, walk.parent / "copied" / "walks" / run.name)
    there = ("--address", nodes.address)
    assert hpo(nodes, "rerun", run, "--exact", "--top", "2", *there).returncode == 0
    found = []
    for folder, where in (run, there), (copied, ("--workers", "2")):
        done = hpo(nodes, "confirm", folder, "--seeds", "2", "--top", "1", *where)
        assert done.returncode == 0, done.stderr
        told = [e for e in drivers.events_of(folder) if e.event == "rerun"]
        found.append([(e.trial, e.seeds, e.values, e.tests) for e in told][-1])
    assert found[0] == found[1] and all(found[0][-1])
    for again in (run / "reruns").iterdir():
        begun = [e for e in drivers.events_of(again) if e.event == "run" and e.host]
        assert [len(e.provenance["attached"]["nodes"]) for e in begun] == [2]
        assert hpo(nodes, "verify", again).returncode == 0


# -- families that take different things --------------------------------------------------

TWO = (
    sample_run.WALK.replace(
        "        self.configuration =",
        """        place = context.directory.parent / "where.txt"
        place.write_text(os.environ["HPO_CACHE"])
        self.configuration =""",
    )
    .replace("import random", "import os\nimport random")
    .replace(
        "STUDY = Study(",
        """LARGE = Family(
    name="large",
    create=Walk,
    per_trial={"cpu": 1, "a100": 1},
    space=Space({"optimizer.rate": FloatDistribution(0.01, 1.0), "model.size": 9}),
)
STUDY = Study(""",
    )
    .replace("    families=(", "    families=(\n        LARGE,")
    .replace("trials=5", "trials=8")
)


def test_a_family_is_trained_where_it_can_be(walk, tmp_path):
    walk.write_text(TWO)
    with clusters.Nodes(tmp_path / "nodes", cpus=(1,)) as cluster:
        done = launch(cluster, walk)
        refused(done, "family `large`, which takes 1 CPU, 1 a100", "has 1 CPU")
        assert not (tmp_path / "out").exists()
        cluster.add(1, resources={"a100": 1})
        done = launch(cluster, walk)
        assert done.returncode == 0, done.stderr
        (run,) = (tmp_path / "out").glob("walks/*")
        audited = hpo(cluster, "verify", run)
        assert audited.returncode == 0, audited.stderr
        families = {row.trial: row.family for row in load_summary(run).rows}
        folder = RunFolder(run)
        where = {n: (folder.trial(n) / "where.txt").read_text() for n in families}
        large = {where[n] for n, family in families.items() if family == "large"}
        assert large == {str(cluster.cache(1))}
        walked = {where[n] for n, family in families.items() if family == "walk"}
        assert str(cluster.cache(0)) in walked


@pytest.mark.long
def test_a_family_whose_node_is_gone_waits_for_another(driven, tmp_path):
    """The others are trained meanwhile; then the run ends, to go on where there is such a node."""
    study = study_of(1, workers=None, pause=0.3)
    small = study.families[0]
    large = replace(small, name="large", per_trial={"cpu": 1, "a100": 1})
    trials = [
        replace(study.fixed[0], family=family, seed=seed)
        for seed, family in enumerate(("large", "steady", "steady"))
    ]
    study = study.replace(families=(small, large), fixed=tuple(trials))
    with clusters.Nodes(tmp_path / "nodes", cpus=(1,)) as cluster:
        cluster.add(1, resources={"a100": 1})
        impatient = with_options(cluster, patience=5.0)
        driver = driven(cluster, study, environment=impatient)
        drivers.wait_until(lambda: any(e.trial == 1 for e in driver.events()), 90)
        cluster.kill(1)
        assert driver.outcome()["state"] == "interrupted"
        run = driver.folder
        ended = {e.trial for e in driver.events() if e.event in ENDINGS}
        assert ended == {2, 3}
        cluster.add(1, resources={"a100": 1})
        again = driven(cluster, resume=run, place="again", environment=impatient)
        assert again.outcome()["state"] == "finished"
        (reason,) = [
            e.reason for e in drivers.events_of(run) if isinstance(e, Interrupted)
        ]
        assert "is gone" in reason
        audited = hpo(cluster, "verify", run)
        assert audited.returncode == 0, audited.stdout + audited.stderr


# -- without a shared disk ----------------------------------------------------------------

MINE = """
from pathlib import Path
from hpo.testing.steady import Steady

def create(config, context):
    read = Path(context.data["mine"]["path"]) / "train.txt"
    Path(context.directory.parent, "read.txt").write_text(f"{read} {read.read_text()}")
    print("made on this node")
    return Steady(config, context)
"""


def test_nothing_of_the_driver_s_disk_is_needed(driven, tmp_path):
    """Its results, data and code lie where no node sees them: all of it travels."""
    private, source, out = (tmp_path / n for n in ("private", "source", "out"))
    for folder in (private, source / "data", out):
        folder.mkdir(parents=True)
    (source / "mine.py").write_text(MINE)
    (source / "data" / "train.txt").write_text("seven")
    script = (
        f'mount -t tmpfs tmpfs "{private}" && cp -r "{source}/." "{private}" && "$@"; '
        f'code=$?; cp -r "{private}/." "{out}"; exit $code'
    )
    under = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*under, "true"]).returncode:
        pytest.skip("this kernel or user allows no namespaces (unshare --mount)")
    shutil.rmtree(out)
    out.mkdir()
    study = study_of(4, pause=0.1)
    family = study.families[0]
    mine = replace(family, create="mine:create")
    reference = {"mine": {"path": str(private / "data"), "hashes": {"train": "7"}}}
    with clusters.Nodes(tmp_path / "nodes", cpus=(1, 1)) as cluster:
        driver = drivers.start(
            private / "results",
            study.replace(families=(mine,), data=reference),
            environment={
                **cluster.driver,
                "PYTHONPATH": os.pathsep.join([str(private), str(ROOT)]),
                "HPO_CACHE": str(private / "cache"),
            },
            under=under,
        )
        try:
            driver.outcome()
        finally:
            driver.end()
        drivers.wait_until(lambda: not cluster.workers(), 10)
        (run,) = (out / "results").glob("*/*")
        caches = {str(cluster.cache(n)) for n in (0, 1)}
        told = [p.read_text().split() for p in run.glob("trials/*/read.txt")]
        assert len(told) == 4 and {word for _, word in told} == {"seven"}
        assert {path.partition("/data/")[0] for path, _ in told} == caches
    for place in run.glob("trials/*"):
        config = json.loads((place / "config.json").read_text())
        assert config["data"] == reference, "the driver's path is what is written down"
        assert "made on this node" in (place / "log.txt").read_text()
        assert (place / "attempt-1" / "saved").exists()
    assert drivers.story(run) == locally(study, tmp_path / "local")
