"""Two nodes in network and mount namespaces of their own: no disk in common, and a cable to cut."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_cluster import MINE, locally, study_of

from hpo.ledger.events import Interrupted
from hpo.testing import drivers
from hpo.trials.states import ENDINGS

sys.path.pop(0)

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.long]
_MARK = "HPO_TEST_APART"
_NODES = {"near": "10.213.77.1", "far": "10.213.77.2"}
_PORT = 6399


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Apart:
    """A head with the driver's disk, and a node that has another network and another disk.

    Args:
        folder: For token and caches.
        hidden: What the far node does not see.
    """

    def __init__(self, folder, hidden):
        self.folder, self._hidden = folder, hidden
        self._name = f"hpo{os.getpid()}"
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        token = folder / "token"
        token.write_text(secrets.token_hex(16))
        token.chmod(0o600)
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.address = f"{_NODES['near']}:{_PORT}"
        self._nodes = []

    def __enter__(self):
        self._temporary = Path(tempfile.mkdtemp(prefix="hpoa-", dir="/tmp"))
        try:
            self._wire()
            self._start(
                "near", "--head", f"--port={_PORT}", "--include-dashboard=false"
            )
            self._start("far", f"--address={self.address}", hide=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes():
            process.kill()
        for node in self._nodes:
            node.wait()
        for place in _NODES:
            subprocess.run(
                ["ip", "netns", "del", self._space(place)], capture_output=True
            )
        shutil.rmtree(self._temporary, ignore_errors=True)

    def cache(self, place):
        """A node's own cache."""
        return self.folder / f"cache-{place}"

    def under(self):
        """The first words of a driver's command: it runs on the head."""
        return ["ip", "netns", "exec", self._space("near")]

    def driver(self, *, storage="driver", **more):
        """Variables of a driver."""
        told = json.dumps({"address": self.address, "storage": storage})
        own = {"HPO_CACHE": str(self.cache("near"))}
        return {**self.token, **own, drivers.CLUSTER: told, **more}

    def cut(self):
        """Pull the cable."""
        ip("-n", self._space("near"), "link", "set", "cable", "down")

    def processes(self):
        """Every living process of its nodes."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _space(self, place):
        return f"{self._name}-{place}"

    def _wire(self):
        for place in _NODES:
            ip("netns", "add", self._space(place))
        near, far = map(self._space, _NODES)
        ends = (("cable", "netns", near), ("peer", "name", "cable", "netns", far))
        ip("link", "add", *ends[0], "type", "veth", *ends[1])
        for place, address in _NODES.items():
            for words in (
                ("addr", "add", f"{address}/24", "dev", "cable"),
                ("link", "set", "cable", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", self._space(place), *words)

    def _start(self, place, *words, hide=False):
        script = '"$@"'
        if hide:
            folders = " ".join(f'"{p}"' for p in (self._hidden, self._temporary))
            script = f'for f in {folders}; do mount -t tmpfs tmpfs "$f"; done; "$@"'
        environment = {
            **os.environ,
            **self.token,
            _MARK: self.mark,
            "HPO_CACHE": str(self.cache(place)),
            "PYTHONPATH": "",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self._temporary),
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "3",
        }
        with (self.folder / f"{place}.log").open("w") as log:
            self._nodes.append(
                subprocess.Popen(
                    [
                        *("ip", "netns", "exec", self._space(place)),
                        *("unshare", "--mount", "sh", "-c", script, "sh"),
                        *("ray", "start", "--block", "--num-cpus=1", *words),
                        f"--node-ip-address={_NODES[place]}",
                        "--object-store-memory=83886080",
                    ],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        said = self.folder / f"{place}.log"
        drivers.wait_until(lambda: "Ray runtime started" in said.read_text(), 40)


@pytest.fixture
def apart(tmp_path):
    """The two nodes, and a folder that only the near one and the driver see."""
    private = tmp_path / "private"
    (private / "data").mkdir(parents=True)
    (private / "mine.py").write_text(MINE)
    (private / "data" / "train.txt").write_text("seven")
    probe = ["unshare", "--mount", "--net", "mount", "-t", "tmpfs", "tmpfs", private]
    tools = all(map(shutil.which, ("ip", "unshare")))
    if not tools or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this kernel or user allows no namespaces (unshare --mount --net)")
    try:
        with Apart(tmp_path, private) as nodes:
            yield nodes, private
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network between namespaces here: {error.stderr.decode()}")


def test_a_node_without_the_disk_trains_and_is_cut_off(apart, tmp_path):
    nodes, private = apart
    study = study_of(6, workers=None, pause=0.3)
    mine = replace(study.families[0], create="mine:create")
    reference = {"mine": {"path": str(private / "data"), "hashes": {"train": "7"}}}
    driver = drivers.start(
        private / "results",
        study.replace(families=(mine,), data=reference),
        environment=nodes.driver(
            PYTHONPATH=os.pathsep.join([str(private), str(ROOT)]),
        ),
        under=nodes.under(),
    )
    try:
        far = str(nodes.cache("far"))

        def trained_far():
            told = (driver.folder or private).glob("trials/*/read.txt")
            return [p for p in told if p.read_text().startswith(far)]

        ended = 2
        drivers.wait_until(
            lambda: (
                trained_far()
                and sum(e.event in ENDINGS for e in driver.events()) >= ended
            ),
            90,
        )
        nodes.cut()
        assert driver.outcome()["state"] == "finished"
        events = driver.events()
        lost = [e for e in events if isinstance(e, Interrupted)]
        assert not any(e.death for e in lost), lost
        assert all("is gone" in e.reason for e in lost), lost
        assert [e.workers for e in events if e.event == "capacity"][-1] == 1
        told = [p.read_text().split() for p in driver.folder.glob("trials/*/read.txt")]
        assert {word for _, word in told} == {"seven"}
        # The near node reads the data where it lies, the far one has its own copy.
        places = {path.partition("/data/")[0] for path, _ in told}
        assert places == {str(private), far}
        assert drivers.story(driver.folder) == locally(study, tmp_path / "local")
    finally:
        driver.end()


def test_a_node_that_does_not_share_the_folder_is_not_used(apart):
    nodes, private = apart
    driver = drivers.start(
        private / "results",
        study_of(3, workers=None, pause=0.3),
        environment=nodes.driver(storage="shared"),
        under=nodes.under(),
    )
    try:
        assert driver.outcome()["state"] == "finished"
        events = driver.events()
        (note,) = [e.text for e in events if e.event == "note"]
        assert note.startswith("not used: ") and "it does not share" in note
        assert _NODES["far"] in note and str(private) in note
        assert max(e.workers for e in events if e.event == "capacity") == 1
    finally:
        driver.end()
