"""A process that looks at a cluster once: which nodes it has, and what is on them.

Ray ends a process that it cannot connect, or keeps it waiting for minutes; so the first look
is taken by this one, which says in lines of JSON how far it came (`hpo.run.survey` reads
them). It is asked in JSON on its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from typing import Any

_REACHABLE = 3.0  # seconds for a connection
_ANSWER = 40.0  # seconds in which every node must have answered


def main() -> None:
    """Look, and write down what is found."""
    question = json.load(sys.stdin)
    import ray
    from ray._private import services

    address = services.canonicalize_bootstrap_address(question["address"])
    if address is None:
        _say(stage="no cluster")
        return
    _say(stage="address", address=address)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHABLE).close()
    except OSError as error:
        _say(stage="unreachable", why=str(error))
        return
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            configure_logging=False,
        )
    except Exception as error:
        _say(stage="refused", kind=type(error).__name__, why=str(error))
        return
    _say(stage="connected")
    _say(stage="nodes", nodes=_nodes(question))
    sys.stdout.flush()
    os._exit(0)  # Ray's own goodbye takes a second


def _nodes(question: dict[str, Any]) -> list[dict[str, Any]]:
    """Every living node, and what a task on it found; ``silent`` where none answered."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from hpo.run.ray import slot
    from hpo.run.ray.view import name_of

    cloudpickle.register_pickle_by_value(slot)  # type: ignore[no-untyped-call]
    look = ray.remote(num_cpus=0, max_retries=0)(slot.facts).options
    clock = ray.remote(num_cpus=0, max_retries=0)(_now).options
    everyone: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node for node in everyone if node["Alive"]]
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = look(scheduling_strategy=there).remote(question)
        asked[task] = node["NodeID"]
    answered, _ = ray.wait([*asked], num_returns=len(asked), timeout=_ANSWER)
    found: dict[str, Any] = {}
    for task in answered:
        name = asked[task]
        there = NodeAffinitySchedulingStrategy(name, soft=False)
        try:
            found[name] = ray.get(task)
            # A second question, to a process that is there: what it takes is on the way.
            begin = time.time()
            now = ray.get(clock(scheduling_strategy=there).remote(), timeout=5.0)
            found[name]["behind"] = round((begin + time.time()) / 2 - now, 2)
        except Exception as error:
            found[name] = {"silent": str(error).strip().splitlines()[-1]}
    return [
        {
            "id": node["NodeID"],
            "name": name_of(node, nodes),
            "resources": node["Resources"],
            "found": found.get(node["NodeID"], {"silent": "no answer"}),
        }
        for node in nodes
    ]


def _now() -> float:
    return time.time()


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
