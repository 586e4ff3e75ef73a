"""The machine or the cluster of a launch, a resume, an extension, a re-run or a confirmation."""

from __future__ import annotations

from typing import Any

from hpo.ledger.provenance import provenance
from hpo.run.attach import Attach
from hpo.run.executor import Plan
from hpo.run.observer import Observer
from hpo.run.plan import plan
from hpo.study import Study


def machine_for(
    study: Study,
    observer: Observer,
    *,
    gpus: int | None = None,
    attach: Attach | None = None,
) -> Plan:
    """The plan of a study, with a word on the cluster that it attaches to.

    Args:
        study: What is to be trained.
        observer: Is told that word.
        gpus: How many GPUs there are; None counts them.
        attach: The cluster to work on; None for this machine.

    Raises:
        UserError: The machine or the cluster does not fit.
    """
    if attach is not None:
        observer.message(f"attaching to Ray at {attach.address} ({attach.told})")
    machine = plan(study.resources, requests=study.requests, gpus=gpus, attach=attach)
    for node in machine.cluster.get("nodes", ()):
        if node["refused"]:
            observer.message(f"not used: {node['name']}: {node['refused']}")
    return machine


def about(machine: Plan) -> dict[str, Any]:
    """The provenance of this process on a machine, or of what it found on a cluster.

    Args:
        machine: How it is used.
    """
    found = provenance()
    if machine.attach is not None:
        found["attached"] = {**machine.attach.to_json(), **machine.cluster}
    return found
