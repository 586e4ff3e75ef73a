"""Which cluster a person means, what a trial takes of it, and what is refused at once."""

from __future__ import annotations

import asyncio
import pickle
import socket
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import sample_run
from command_line import refused, run

from hpo.errors import RunError, StudyError
from hpo.run import survey
from hpo.run.attach import attach
from hpo.run.plan import plan
from hpo.run.ray import slot
from hpo.run.room import kinds, served, wanted
from hpo.study import Family, Resources, Study
from hpo.worker import epochs, located, mirror
from hpo.worker.assignment import Assignment
from hpo.worker.process import ChildDied

sys.path.pop(0)

TOKEN = {"RAY_AUTH_MODE": "token"}


def test_nothing_said_is_this_machine():
    assert attach(None, environment={}) is None
    assert attach("local", environment={"RAY_ADDRESS": "10.0.0.1:6379"}) is None


def test_the_variable_attaches_and_says_so():
    found = attach(None, environment={**TOKEN, "RAY_ADDRESS": "10.0.0.1:6379"})
    assert (found.address, found.told) == ("10.0.0.1:6379", "RAY_ADDRESS")
    assert attach("auto", environment=TOKEN).told == "--address"


@pytest.mark.parametrize(
    "address", ["ray://10.0.0.1:10001", "10.0.0.1", "10.0.0.1:0", "a:99999", ":1", ""]
)
def test_other_addresses_are_refused(address):
    with pytest.raises(RunError, match="names no cluster") as told:
        attach(address, environment=TOKEN)
    assert told.value.hint


def test_a_cluster_without_a_token_is_refused_unless_a_person_insists():
    with pytest.raises(RunError, match="RAY_AUTH_MODE is `not set`") as told:
        attach("auto", environment={})
    assert "--insecure-cluster" in told.value.hint
    assert attach("auto", insecure=True, environment={}).insecure


@pytest.fixture
def walk(tmp_path):
    path = tmp_path / "walk.py"
    path.write_text(sample_run.WALK)
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--address", "nowhere"), "HOST:PORT"),
        (("--address", "10.0.0.1:1", "--executor", "ray"), "RAY_AUTH_MODE"),
        (("--address", "10.0.0.1:1", "--insecure-cluster"), "--executor ray"),
        (
            ("--address", "auto", "--insecure-cluster", "--storage", "cloud"),
            "`driver` or `shared`",
        ),
        (("--patience", "soon", "--address", "auto"), "duration"),
        (("--set", 'resources.per_trial={"a100": 1}'), "a100"),
    ],
)
def test_refusals_come_before_there_is_a_folder(
    walk, tmp_path, monkeypatch, options, words
):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    result = run("launch", walk, *options, "--results", tmp_path / "out")
    refused(result, words)
    assert not (tmp_path / "out").exists()


def test_the_variable_says_nothing_to_another_executor(walk, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:1")
    result = run("launch", walk, "--trials", 1, "--results", tmp_path / "out")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_an_unreachable_head_is_told_within_seconds(walk, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    call = ("launch", walk, "--executor", "ray", "--address", address)
    refused(run(*call, "--results", tmp_path / "out"), address, "cannot be reached")
    assert not (tmp_path / "out").exists()


# -- what a trial takes -------------------------------------------------------------------


def test_what_a_trial_takes():
    assert Resources().request == {"CPU": 1.0}
    assert Resources(gpus_per_trial=0.5).request == {"CPU": 1.0, "GPU": 0.5}
    given = Resources(per_trial={"cpu": 2, "gpu": 1, "a100": 1})
    assert given.request == {"CPU": 2.0, "GPU": 1.0, "a100": 1.0}
    assert given.gpus_per_trial == 1
    assert Resources(**given.to_json()) == given
    assert "per_trial" not in Resources().to_json()


@pytest.mark.parametrize(
    "per_trial", [{"cpu": -1}, {"a100": True}, {3: 1}, "cpu", {"cpu": float("nan")}]
)
def test_amounts_that_are_none(per_trial):
    with pytest.raises(StudyError, match="per_trial"):
        Resources(per_trial=per_trial)


def test_two_words_on_gpus_that_differ():
    with pytest.raises(StudyError, match="gpus_per_trial"):
        Resources(gpus_per_trial=1, per_trial={"gpu": 0.5})


def test_two_cores_a_trial_halve_the_places(monkeypatch):
    monkeypatch.setattr("hpo.worker.environment.cores", lambda: 9)
    assert plan(Resources(per_trial={"cpu": 2})).workers == 4


def test_places_on_a_node():
    node = {"CPU": 8.0, "GPU": 2.0, "a100": 1.0}
    assert survey.places(node, {"CPU": 1.0}) == 8
    assert survey.places(node, {"CPU": 3.0}) == 2
    assert survey.places(node, {"CPU": 1.0, "GPU": 0.4}) == 4, "no share on two GPUs"
    assert survey.places(node, {"CPU": 1.0, "a100": 1.0}) == 1
    assert survey.places(node, {"tpu": 1.0}) == 0


def spread(nodes, requests, **limits):
    """How many slots of each kind each node gets, by the families that a kind serves."""
    given = wanted(nodes, kinds(requests), **limits)
    return {
        node: {"".join(sorted(kind.serves)): n for kind, n in slots.items()}
        for node, slots in given.items()
    }


def test_slots_are_spread_over_the_nodes():
    nodes = {"a": {"CPU": 4.0}, "b": {"CPU": 1.0}}
    one = {"f": {"CPU": 1.0}}
    assert spread(nodes, one) == {"a": {"f": 4}, "b": {"f": 1}}
    assert spread(nodes, one, workers=2) == {"a": {"f": 1}, "b": {"f": 1}}
    assert spread(nodes, one, useful=1) == {"a": {"f": 1}, "b": {}}
    assert spread({}, one, workers=3) == {}
    thirds = {"f": {"CPU": 0.1, "GPU": 0.4}}
    assert spread({"a": {"CPU": 8.0, "GPU": 2.0}}, thirds) == {"a": {"f": 4}}


def test_families_that_take_the_same_share_their_slots():
    same = {"f": {"CPU": 1.0}, "g": {"CPU": 1.0}}
    (kind,) = kinds(same)
    assert kind.serves == {"f", "g"} and kind.request == {"CPU": 1.0}


def test_a_slot_serves_whoever_takes_no_more():
    requests = {"f": {"CPU": 1.0}, "g": {"CPU": 1.0, "a100": 1.0}}
    small, large = kinds(requests)
    assert small.serves == {"f"} and large.serves == {"f", "g"}
    nodes = {"a": {"CPU": 8.0, "a100": 1.0}, "b": {"CPU": 2.0}}
    assert spread(nodes, requests) == {"a": {"fg": 1, "f": 7}, "b": {"f": 2}}
    assert spread(nodes, requests, workers=1) == {"a": {"fg": 1}, "b": {}}
    on_gpu = {"f": {"CPU": 1.0}, "g": {"CPU": 1.0, "GPU": 1.0}}
    assert {kind.serves for kind in kinds(on_gpu)} == {frozenset("f"), frozenset("g")}


def test_every_family_has_a_slot_where_that_is_possible():
    """The one that fewest nodes could serve is placed first."""
    requests = {"y": {"CPU": 1.0, "a100": 1.0}, "x": {"CPU": 1.0, "tpu": 1.0}}
    nodes = {"a": {"CPU": 1.0, "tpu": 1.0, "a100": 1.0}, "b": {"CPU": 1.0, "a100": 1.0}}
    assert spread(nodes, requests) == {"a": {"x": 1}, "b": {"y": 1}}
    assert served(wanted(nodes, kinds(requests), useful=1)) == {"x", "y"}
    assert served(wanted(nodes, kinds(requests), workers=1)) == {"x"}


def test_what_a_family_takes_is_recorded_and_refused_on_one_machine():
    family = Family(name="f", space={}, per_trial={"CPU": 1, "a100": 1})
    other = Family(name="g", space={})
    study = Study(
        name="s", families=(family, other), resources=Resources(gpus_per_trial=0.5)
    )
    assert study.request_of("f") == {"CPU": 1.0, "a100": 1.0}, "and no GPU"
    assert study.request_of("g") == {"CPU": 1.0, "GPU": 0.5}
    recorded = study.to_json()
    assert Study.from_json(recorded) == study
    assert ["per_trial" in f for f in recorded["families"]] == [True, False]
    with pytest.raises(RunError, match="family `f` takes 1 CPU, 1 a100") as told:
        plan(study.resources, requests=study.requests, gpus=1)
    assert "--address" in told.value.hint
    with pytest.raises(StudyError, match="per_trial"):
        Family(name="f", space={}, per_trial={"cpu": -1})
    alike = study.replace(families=(Family(name="f", space={}, per_trial={"cpu": 1}),))
    alike = alike.replace(resources=Resources(executor="local"))
    assert plan(alike.resources, requests=alike.requests).workers == 1


V3 = ("avx2", "fma", "bmi1", "bmi2", "f16c", "movbe")
V4 = (*V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


def test_the_lowest_instruction_set_of_unequal_nodes():
    assert survey.equal_bits([V3, V3]) == {}, "equal nodes compute as one alone"
    lowest = survey.equal_bits([V4, V3])
    assert lowest["HPO_KERNELS"] == "x86-64-v3"
    assert lowest["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX2"
    assert survey.equal_bits([V4, ("sse2",)])["HPO_KERNELS"] == "off"
    wider = survey.equal_bits([V4, (*V4, "avx512_bf16")])
    assert wider["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX512"


def test_a_node_that_joins_must_compute_what_the_others_do():
    def of(flags, **variables):
        node = {"refused": "", "instructions": survey.instructions(flags)}
        return {"nodes": [node], "equal_bits": variables}

    wide, narrow = ({"flags": f, "cpu": "a CPU"} for f in (V4, V3))
    assert not survey.unequal(of(V3), narrow)
    assert "a CPU" in survey.unequal(of(V4), narrow)
    assert "a CPU" in survey.unequal(of(V3), wide)
    assert not survey.unequal(of(("x",), HPO_KERNELS="x86-64-v3"), wide)
    assert not survey.unequal(of(("x",), HPO_KERNELS="x86-64-v3"), narrow)
    assert survey.unequal(of(("x",), HPO_KERNELS="x86-64-v4"), narrow)


def test_a_node_with_other_packages_is_named_by_them():
    mine = survey.own_versions()
    good = {
        "versions": mine,
        "python": ".".join(map(str, sys.version_info[:3])),
        "no_cache": "",
        "cache": "/c",
    }
    assert survey.objection(good) == ""
    old = {**good, "versions": {**mine, "jax": "0.1"}}
    assert "jax 0.1" in survey.objection(old)
    assert "Python 2.7" in survey.objection({**good, "python": "2.7"})
    assert "No space" in survey.objection({**good, "no_cache": "No space"})
    assert survey.objection({"silent": "it died"}).endswith("it died")


# -- data and folders ---------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "a.bin").write_bytes(b"a" * 5000)
    (tmp_path / "data" / "b.bin").write_bytes(b"b")
    return {"name": "d", "path": str(tmp_path / "data"), "hashes": {"train": "x"}}


def copy(manifest):
    with located.lock(manifest["digest"]), located.draft(manifest) as draft:
        for name, path in located.sizes(manifest).items():
            with draft.file(name) as file:
                file.write(path.read_bytes())
        return draft.finish()


def test_data_is_read_where_path_and_hash_agree(data):
    (manifest,) = located.manifests([data, {"other": data}])
    assert located.find(manifest) == data["path"]
    (Path(data["path"]) / "b.bin").write_bytes(b"c")
    assert located.find(manifest) is None, "another byte is other data"


@pytest.mark.parametrize("single", [False, True])
def test_data_that_is_elsewhere_is_copied_once_and_whole(data, tmp_path, single):
    if single:
        data["path"] += "/b.bin"
    (manifest,) = located.manifests(data)
    place = copy(manifest)
    moved = tmp_path / "moved"
    (tmp_path / "data").rename(moved)
    assert located.find(manifest) == place
    here = located.placed(data, [manifest], {manifest["digest"]: place})
    assert here == {**data, "path": place}
    (moved / "b.bin").replace(tmp_path / "b.bin")
    damaged = Path(place) if single else Path(place) / "b.bin"
    time.sleep(0.01)
    damaged.write_bytes(b"x")
    assert located.find(manifest) is None


def test_data_that_arrives_damaged_does_not_appear(data):
    (manifest,) = located.manifests(data)
    with located.lock(manifest["digest"]), located.draft(manifest) as draft:
        for name in manifest["files"]:
            with draft.file(name) as file:
                file.write(b"?")
        with pytest.raises(OSError, match="damaged"):
            draft.finish()
    Path(data["path"]).rename(data["path"] + "-gone")
    assert located.find(manifest) is None


def test_a_folder_travels_there_and_back(tmp_path):
    run = tmp_path / "run" / "0001"
    (run / "attempt-1").mkdir(parents=True)
    (run / "attempt-1" / "state").write_bytes(b"1")
    (run / "notes.txt").write_bytes(b"mine")
    (run / "log.txt").write_bytes(b"before\n")
    given = mirror.holdings(run, ("attempt-1", run / "attempt-1"))
    assert given == {"attempt-1/state": b"1", "notes.txt": b"mine"}
    there = tmp_path / "there"
    node = mirror.Mirror(there)
    node.take(given)
    assert node.changes() == mirror.Changes()
    (there / "attempt-2").mkdir()
    (there / "attempt-2" / "state").write_bytes(b"2")
    (there / "attempt-2" / ".draft").write_bytes(b"half")
    (there / "log.txt").write_bytes(b"said\n")
    changes = node.changes()
    assert changes.files == {"attempt-2/state": b"2"}
    mirror.store(run, changes)
    assert (run / "attempt-2" / "state").read_bytes() == b"2"
    assert (run / "log.txt").read_bytes() == b"before\nsaid\n"
    assert node.changes() == mirror.Changes(), "once"


def test_what_was_pruned_does_not_come_back(tmp_path):
    late = mirror.Changes(files={"attempt-1/state": b"1", "notes.txt": b"n"})
    mirror.store(tmp_path, late, ended=True)
    assert not (tmp_path / "attempt-1").exists()
    assert (tmp_path / "notes.txt").exists()


def test_a_worker_writes_nowhere_else(tmp_path):
    (tmp_path / "trial").mkdir()
    bad = mirror.Changes(files={"../x": b"1", "/tmp/hpo-x": b"1", "a/../../x": b"1"})
    mirror.store(tmp_path / "trial", bad)
    assert [p.name for p in tmp_path.iterdir()] == ["trial"]
    assert not [*(tmp_path / "trial").iterdir()]


def test_more_than_travels_is_said_and_not_sent(tmp_path):
    node = mirror.Mirror(tmp_path)
    (tmp_path / "large").write_bytes(b"x" * (mirror.LIMIT + 1))
    changes = node.changes()
    assert changes.too_large == mirror.LIMIT + 1 and not changes.files


def test_a_log_that_is_too_long_loses_its_beginning(tmp_path):
    node = mirror.Mirror(tmp_path)
    (tmp_path / "log.txt").write_bytes(b"a" * 3_000_000 + b"end")
    log = node.changes().log
    assert log.startswith(b"[") and log.endswith(b"aend") and len(log) < 1_100_000


def test_folders_within_a_checkpoint_travel_both_ways(tmp_path):
    here, there, back = (tmp_path / name for name in ("here", "there", "back"))
    first = mirror.Mirror(there)
    state = there / "attempt-1" / "state"
    state.mkdir(parents=True)
    (state / "weights").write_bytes(b"w")
    (state / ".draft").write_bytes(b"half")
    epochs.end_save(there / "attempt-1", 3)
    mirror.store(here, first.changes())
    given = mirror.holdings(here, ("attempt-1", here / "attempt-1"))
    mirror.Mirror(back).take(given)
    assert (back / "attempt-1" / "state" / "weights").read_bytes() == b"w"
    assert epochs.reached(back / "attempt-1") == 3
    assert not [n for n in given if "draft" in n]


def test_what_travels_half_is_not_believed(tmp_path, monkeypatch):
    """The driver dies between the files of a newer checkpoint: nobody knows its epoch."""
    place = tmp_path / "attempt-1"
    place.mkdir()
    (place / "weights").write_bytes(b"old")
    epochs.end_save(place, 2)
    names = ("epochs.json", "weights", "saved")
    new = {f"attempt-1/{name}": b"[]" for name in names}
    write, written = mirror.write_atomically, []

    def dies(path, content):
        written.append(path.name)
        if path.name == "saved":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(mirror, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        mirror.store(tmp_path, mirror.Changes(files=new))
    assert written == [*names] and epochs.reached(place) is None


# -- a slot ---------------------------------------------------------------------------------


def test_scratch_of_other_machines_is_theirs(tmp_path, monkeypatch):
    """Nodes may share a cache: a process's number says nothing on another one."""
    mine = slot._own_name("word")
    monkeypatch.setattr(slot.socket, "gethostname", lambda: "another")
    theirs = slot._own_name("word")
    monkeypatch.undo()
    dead = "4194305"  # beyond the largest number of a process
    names = {mine: True, f"{mine.split('-')[0]}-{dead}-word": False}
    names |= {f"{theirs.split('-')[0]}-{dead}-word": True, "12-older": True}
    for name in names:
        (tmp_path / name).mkdir()
    slot._remove_abandoned(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        n for n, kept in names.items() if kept
    }


class Waiting:
    """A child process, of which the first was killed while it waited."""

    made: ClassVar[list[Waiting]] = []

    def __init__(self, environment):
        self.tasks = []
        self.made.append(self)

    def assign(self, task):
        if self is self.made[0]:
            raise ChildDied("it was killed")
        self.tasks.append(task)


def test_a_child_that_was_killed_while_it_waited_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr("hpo.worker.process.Child", Waiting)
    monkeypatch.setattr(Waiting, "made", [])
    place = slot.Slot()
    place._order, place._stopping = {"data": []}, tmp_path / "stopping"
    place._creates = {"steady": "hpo.testing.steady:create"}
    task = Assignment(
        trial=1, attempt=1, family="steady", create="", config={}, seed=1, epochs=2,
        folder=tmp_path, data=None,
    )  # fmt: skip
    place._child = Waiting({})
    asyncio.run(place.begin(pickle.dumps(task), pickle.dumps(None)))
    assert Waiting.made[1:] == [place._child]
    assert [t.create for t in place._child.tasks] == ["hpo.testing.steady:create"]
