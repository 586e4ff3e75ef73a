"""What a cluster has to offer, found out before a run is begun on it.

The look itself is taken by a process of its own (`hpo.run.ray.probe`): whatever Ray does there,
this one goes on, with a message for a person.
"""

from __future__ import annotations

import hashlib
import json
import platform
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hpo import packages
from hpo.errors import RunError
from hpo.run.attach import AUTO, Attach
from hpo.worker.environment import compose, search_path

ALIKE = ("jax", "jaxlib", "flax", "optax", "numpy")  # numbers depend on them
_CONNECTED = 20.0  # seconds
_DONE = 60.0
_NO_TOKEN = "InvalidAuthToken"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A living node of a cluster.

    Attributes:
        id: Ray's name of it.
        name: Its host's name and address, for people.
        resources: All it has, as Ray names them.
        facts: What was found there; see `hpo.run.ray.slot.facts`.
        refused: Why it cannot be used; empty where it can.
    """

    id: str
    name: str
    resources: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""

    @property
    def level(self) -> str:
        """The widest instruction set that kernels could use there; empty for none."""
        return packages.kernel_level(self.facts.get("flags", ()))

    @property
    def behind(self) -> float:
        """Seconds by which its clock is behind this one's, roughly."""
        return float(self.facts.get("behind", 0.0))

    def places(self, request: Mapping[str, float]) -> int:
        """How many trials have room on it, were it empty.

        Args:
            request: What a trial takes.
        """
        return places(self.resources, request)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A cluster as it was found.

    Attributes:
        address: Of its head.
        nodes: Its living nodes.
    """

    address: str
    nodes: tuple[Node, ...]

    @property
    def usable(self) -> tuple[Node, ...]:
        """The nodes that are not refused."""
        return tuple(node for node in self.nodes if not node.refused)

    def room(self, request: Mapping[str, float]) -> int:
        """How many trials have room on all of them, were they empty."""
        return sum(node.places(request) for node in self.usable)

    def equal_bits(self) -> dict[str, str]:
        """Variables that make unequal processors compute the same; empty for equal ones."""
        return equal_bits([node.facts["flags"] for node in self.usable])

    def to_json(self) -> dict[str, Any]:
        """What a ledger says of it."""
        return {
            "address": self.address,
            "nodes": [
                {
                    "id": node.id,
                    "name": node.name,
                    "resources": {
                        k: v for k, v in node.resources.items() if ":" not in k
                    },
                    "cpu": node.facts.get("cpu"),
                    "level": node.level,
                    "instructions": instructions(node.facts.get("flags", ())),
                    "refused": node.refused,
                }
                for node in self.nodes
            ],
            "equal_bits": self.equal_bits(),
        }


def places(resources: Mapping[str, float], request: Mapping[str, float]) -> int:
    """How often a request fits into the resources of one node.

    Args:
        resources: All it has.
        request: What a trial takes; no fraction of a GPU lies on two.
    """
    fits = []
    for name, amount in request.items():
        has = resources.get(name, 0.0)
        if name == "GPU" and 0 < amount < 1:
            fits.append(int(has) * int(1 / amount + 1e-9))
        elif amount > 0:
            fits.append(int(has / amount + 1e-9))
    return min(fits, default=0)


def equal_bits(flags: Sequence[Sequence[str]]) -> dict[str, str]:
    """Variables under which processors with these flags compute the same.

    Args:
        flags: Those of each node.

    Returns:
        The lowest instruction set for the kernels and for XLA; empty where all are equal,
        so that a run on equal nodes computes what one of them does alone.
    """
    if len({tuple(found) for found in flags}) <= 1:
        return {}
    levels = [packages.kernel_level(found) for found in flags]
    lowest = min(levels, key=lambda level: ("", "x86-64-v3", "x86-64-v4").index(level))
    isa = {"": "SSE4_2", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512"}[lowest]
    return {
        "HPO_KERNELS": lowest or "off",
        "XLA_FLAGS": f"--xla_cpu_max_isa={isa}",
    }


def instructions(flags: Iterable[str]) -> str:
    """A short name of a processor's whole set of instructions; empty where nothing is known.

    Args:
        flags: As Linux names them.
    """
    text = " ".join(sorted(flags))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest() if text else ""


def unequal(cluster: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Why a node that joins a run would give it other bits; empty where it would not.

    Args:
        cluster: What the run found at its launch or resume; see `Survey.to_json`.
        facts: Of the node.
    """
    at_launch = [node for node in cluster["nodes"] if not node["refused"]]
    if instructions(facts["flags"]) in {n["instructions"] for n in at_launch}:
        return ""
    level = packages.kernel_level(facts["flags"])
    lowest = cluster["equal_bits"].get("HPO_KERNELS")
    if lowest is not None and (lowest == "off" or level >= lowest):
        return ""
    return (
        f"its processor ({facts['cpu']}) has other instructions than the nodes that the run "
        "began with: its numbers would differ in the last bits; a resume counts it in"
    )


def own_versions() -> dict[str, str]:
    """The versions that every node must have, too."""
    found = {}
    for name in ALIKE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def question(paths: Iterable[Path | str] = ()) -> dict[str, Any]:
    """What is asked of every node."""
    return {"packages": [*own_versions()], "paths": [str(p) for p in paths]}


def objection(facts: Mapping[str, Any]) -> str:
    """Why a node with these facts cannot be used; empty where it can.

    Args:
        facts: See `hpo.run.ray.slot.facts`.
    """
    if "silent" in facts:
        return f"nothing can be started there: {facts['silent']}"
    for name, mine in own_versions().items():
        theirs = facts["versions"].get(name)
        if theirs != mine:
            return f"it has {name} {theirs or 'not at all'}, the driver has {mine}"
    if facts["python"] != platform.python_version():
        return f"it has Python {facts['python']}, not {platform.python_version()}"
    if facts["no_cache"]:
        return f"its cache {facts['cache']} cannot be used: {facts['no_cache']}"
    return ""


def survey(attach: Attach, *, paths: Iterable[Path | str] = ()) -> Survey:
    """Look at a cluster.

    Args:
        attach: Which.
        paths: What its nodes might read.

    Raises:
        RunError: It cannot be reached, refuses the token, or is of another version.
    """
    asked = {**question(paths), "address": attach.address}
    found = _Look(asked).found()
    address = found.get("address", attach.address)
    nodes = []
    for node in found["nodes"]:
        facts = dict(node["found"])
        why = objection(facts)
        nodes.append(
            Node(
                id=node["id"],
                name=node["name"],
                resources=node["resources"],
                facts=facts,
                refused=why,
            )
        )
    return Survey(address=address, nodes=tuple(nodes))


class _Look:
    """The process that looks, and what it has said so far."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._asked = asked
        self._said: dict[str, Any] = {}
        self._heard: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._last = ""

    def found(self) -> dict[str, Any]:
        """All it has found, once it has ended well."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hpo.run.ray.probe"],
            env=compose({"PYTHONPATH": search_path(), "RAY_USAGE_STATS_ENABLED": "0"}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin and process.stdout and process.stderr
        threads = [
            threading.Thread(target=self._listen, args=(name, stream), daemon=True)
            for name, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        try:
            for thread in threads:
                thread.start()
            with process.stdin:
                json.dump(dict(self._asked), process.stdin)
            self._follow()
        except BrokenPipeError:
            self._follow()
        finally:
            process.kill()
            process.wait()
            for thread in threads:
                thread.join(1.0)
            for stream in (process.stdout, process.stderr):
                stream.close()
        return self._said

    def _listen(self, name: str, stream: Iterable[str]) -> None:
        for line in stream:
            self._heard.put((name, line))
        self._heard.put((name, ""))

    def _follow(self) -> None:
        begin, ends = time.monotonic(), 0
        while ends < 2:
            limit = _DONE if "nodes" in self._said or self._connected else _CONNECTED
            left = begin + limit - time.monotonic()
            try:
                name, line = self._heard.get(timeout=max(left, 0.01))
            except queue.Empty:
                raise self._unreachable(f"no answer within {limit:g} s") from None
            if not line:
                ends += 1
            elif name == "err":
                self._last = line.strip() or self._last
                if _NO_TOKEN in line:
                    raise self._wrong_token()
            else:
                self._hear(line)
            if "nodes" in self._said:
                return
        raise self._unreachable(self._last or "the look ended early")

    @property
    def _connected(self) -> bool:
        return self._said.get("stage") == "connected"

    def _hear(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return  # Ray's own words
        self._said |= said
        stage, why = said.get("stage"), str(said.get("why", ""))
        if stage == "no cluster":
            raise RunError(
                "there is no Ray cluster on this machine to attach to",
                hint="start one with `ray start --head`, or name it: --address HOST:PORT",
            )
        if stage == "unreachable":
            raise self._unreachable(why)
        if stage == "refused":
            raise self._refused(why)

    @property
    def _where(self) -> str:
        address = self._said.get("address") or self._asked["address"]
        return f"the Ray cluster at {address}"

    def _unreachable(self, why: str) -> RunError:
        named = self._asked["address"]
        return RunError(
            f"{self._where} cannot be reached: {why}",
            hint="is its head running (`ray status`), and is the port open? "
            + ("`--address HOST:PORT` names another" if named == AUTO else ""),
        )

    def _wrong_token(self) -> RunError:
        return RunError(
            f"{self._where} does not accept this driver's token",
            hint="let RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) hold the token that its nodes "
            "were started with",
        )

    def _refused(self, why: str) -> RunError:
        if "Version mismatch" in why:
            lines = [line.strip() for line in why.splitlines() if ":" in line]
            told = [line for line in lines if line.startswith(("Ray:", "Python:"))]
            theirs, mine = " ".join(told[:2]), " ".join(told[2:])
            return RunError(
                f"{self._where} has {theirs}; this driver has {mine}",
                hint="use the same Ray and the same Python on every node",
            )
        if "token" in why.lower():
            return self._wrong_token()
        first = why.strip().splitlines()[0] if why.strip() else "no reason given"
        hint = "`ray status` on a node says how the cluster is"
        if "raylet" in why.lower() or "node" in why.lower():
            hint = (
                "the driver itself must run on a node; on a login host: "
                "`ray start --address HOST:PORT --num-cpus 0`"
            )
        return RunError(f"{self._where} refuses this driver: {first}", hint=hint)
