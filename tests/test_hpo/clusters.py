"""Ray clusters for tests: several nodes on this machine, each with a cache of its own.

As a program it holds such a cluster and does what it reads: ``add CPUS``, ``kill N``, ``end``.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

_MARK = "HPO_TEST_NODES"
_PRETEND = "HPO_TEST_RAY_VERSION"


class Nodes:
    """A cluster at work; a context that leaves nothing behind.

    Args:
        folder: For its token and the nodes' caches.
        cpus: Cores of each node, the head first.
        pretend: A version of Ray that the cluster says it has.
    """

    def __init__(self, folder, cpus=(1, 1), pretend=""):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        token = self.folder / "token"
        token.write_text(secrets.token_hex(16))
        token.chmod(0o600)
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self._cpus, self._pretend = cpus, pretend
        self._count = 0

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="hpoc-", dir="/tmp")
        environment = {
            **os.environ,
            **self.token,
            _MARK: self.mark,
            _PRETEND: self._pretend,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": self.temporary.name,
            "PYTHONPATH": "",  # whatever is installed there, the run's own code counts
            # A node's death is told within seconds.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
        environment.pop("RAY_ADDRESS", None)
        self._log = (self.folder / "cluster.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), self.temporary.name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        try:
            for cpus in self._cpus:
                self.add(cpus)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for process in self.processes():
            process.kill()
        for file in (self.process.stdin, self.process.stdout, self._log):
            file.close()
        self.temporary.cleanup()

    def add(self, cpus=1, resources=None, **variables):
        """One more node, with so many cores, other resources and variables; its place."""
        own = {"HPO_CACHE": str(self.cache(self._count)), **variables}
        self.address = self._do("add", cpus, own, resources or {})["address"]
        self._count += 1
        return self._count - 1

    def kill(self, place):
        """End a node as a power cut does."""
        self._do("kill", place)

    def drain(self, place):
        """Let a node know that it is about to be preempted."""
        self._do("drain", place)

    def cache(self, place):
        """A node's own cache."""
        return self.folder / f"cache-{place}"

    @property
    def driver(self):
        """Variables of a driver that works on it."""
        from hpo.testing.drivers import CLUSTER  # not for the nodes

        return {**self.token, CLUSTER: json.dumps({"address": self.address})}

    def workers(self):
        """Processes of ours on its nodes that train."""
        found = []
        for process in self.processes():
            try:
                if "hpo.worker.process" in process.cmdline():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def processes(self):
        """Every living process of its nodes."""
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get(_MARK) == self.mark
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _do(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, (self.folder / "cluster.log").read_text()[-3000:]
        return json.loads(line)


def main():
    """Hold a cluster and do what is read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints
    import ray
    from ray.cluster_utils import Cluster

    ray.__version__ = os.environ[_PRETEND] or ray.__version__
    cluster, nodes = None, []
    for line in sys.stdin:
        verb, *words = json.loads(line)
        if verb == "add":
            cpus, variables, resources = words
            about = {
                "num_cpus": cpus,
                "resources": resources,
                "env_vars": variables,
                "object_store_memory": 80 * 2**20,
                "include_dashboard": False,
            }
            if cluster is None:
                cluster = Cluster(initialize_head=True, head_node_args=about)
                nodes.append(cluster.head_node)
            else:
                nodes.append(cluster.add_node(**about))
            answer = {"address": cluster.address}
        elif verb == "drain":
            words = (
                *("drain-node", "--address", cluster.address),
                *("--node-id", nodes[words[0]].node_id),
                *("--reason", "DRAIN_NODE_REASON_PREEMPTION"),
                *("--reason-message", "spot", "--deadline-remaining-seconds", "300"),
            )
            subprocess.run(["ray", *words], check=True)
            answer = {}
        else:
            cluster.remove_node(nodes[words[0]], allow_graceful=False)
            answer = {}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
