"""The nodes of a cluster as they are now, looked at by a thread: Ray may keep a look waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_EVERY = 1.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A node at the last look.

    Attributes:
        id: Ray's name of it.
        name: Its host's name and address, for people.
        resources: All it has.
        draining: Whether it is about to leave.
    """

    id: str
    name: str
    resources: Mapping[str, float] = field(default_factory=dict)
    draining: bool = False


class View:
    """Looks once a second, for as long as it is open."""

    def __init__(self) -> None:
        self._nodes: dict[str, Seen] = look()
        self._looked = time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    @property
    def nodes(self) -> Mapping[str, Seen]:
        """The living nodes at the last look, by Ray's name."""
        return self._nodes

    @property
    def age(self) -> float:
        """Seconds since Ray last answered."""
        return time.monotonic() - self._looked

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _follow(self) -> None:
        while not self._closed.wait(_EVERY):
            try:
                self._nodes = look()
            except Exception:
                continue  # the head does not answer: `age` grows
            self._looked = time.monotonic()


def look() -> dict[str, Seen]:
    """The living nodes now, by Ray's name."""
    import ray
    from ray._private.state import state

    draining = state.get_draining_nodes()
    everyone: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    living = [node for node in everyone if node["Alive"]]
    return {
        node["NodeID"]: Seen(
            id=node["NodeID"],
            name=name_of(node, living),
            resources=node["Resources"],
            draining=node["NodeID"] in draining,
        )
        for node in living
    }


def name_of(node: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> str:
    """A node's name for people: its host and address, and where these are not its alone, more.

    Args:
        node: As Ray describes it.
        nodes: All of them.
    """
    host, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    there = sum(n["NodeManagerAddress"] == address for n in nodes)
    which = f" #{node['NodeID'][:6]}" if there > 1 else ""
    return (host if host == address else f"{host} ({address})") + which
