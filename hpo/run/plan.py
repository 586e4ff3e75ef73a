"""The plan by which an executor uses the machine: places for trials and their GPUs."""

from __future__ import annotations

from collections.abc import Mapping

from hpo.errors import RunError
from hpo.run.attach import Attach
from hpo.run.executor import Plan, find
from hpo.run.survey import Survey, survey
from hpo.study import Resources
from hpo.worker import environment

_ALIKE = (
    "every node needs the driver's Python, Ray and JAX, and a cache that can be written "
    "(HPO_CACHE)"
)


def plan(
    resources: Resources, *, gpus: int | None = None, attach: Attach | None = None
) -> Plan:
    """Fit a study's resources to this machine, or to a cluster.

    Args:
        resources: What the study asks for.
        gpus: How many GPUs there are; None counts them.
        attach: The cluster to work on; None for this machine.

    Raises:
        StudyError: There is no such executor.
        RunError: The machine has no GPU, or not enough of them, for what is asked; the
            cluster cannot be used, or none of its nodes can serve a trial.
    """
    executor = find(resources.executor)
    if attach is not None:
        return _on_cluster(resources, attach)
    others = [name for name in resources.per_trial if name != "cpu"]
    if others:
        raise RunError(
            f"a trial takes `{others[0]}`, which a machine of its own has not",
            hint="`--address` attaches to a cluster whose nodes name what they have",
        )
    share = resources.gpus_per_trial
    available = _available(share, gpus)
    room = places(resources, gpus=gpus)
    workers = resources.workers or executor.workers(room)
    if share > 0 and workers > room:
        raise RunError(
            f"{workers} workers with {share:g} GPU each do not fit on {available} GPU(s)",
            hint=f"take at most {room} workers, or a smaller `--gpus-per-trial`",
        )
    return Plan(
        workers=workers,
        gpus_per_trial=share,
        gpus=available,
        stall=resources.stall,
        request=resources.request,
    )


def _on_cluster(resources: Resources, attach: Attach) -> Plan:
    if resources.executor != "ray":
        raise RunError(
            f"`{attach.told}` needs the executor `ray`, the study names "
            f"`{resources.executor}`",
            hint="`--executor ray`, or `--address local`",
        )
    found = survey(attach)
    room = found.room(resources.request)
    if room < 1:
        raise _no_room(found, resources)
    return Plan(
        workers=attach.workers or room,
        gpus_per_trial=resources.gpus_per_trial,
        gpus=int(sum(n.resources.get("GPU", 0) for n in found.usable)),
        stall=resources.stall,
        request=resources.request,
        attach=attach,
        cluster=found.to_json(),
    )


def _no_room(found: Survey, resources: Resources) -> RunError:
    asked = ", ".join(
        f"{amount:g} {name}" for name, amount in resources.request.items()
    )
    refused = [f"{node.name}: {node.refused}" for node in found.nodes if node.refused]
    if refused and not found.usable:
        return RunError(
            f"no node of the cluster at {found.address} can be used: "
            + "; ".join(refused),
            hint=_ALIKE,
        )
    has = [
        f"{node.name} has {_amounts(node.resources)}"
        for node in found.usable
        if _amounts(node.resources)
    ]
    return RunError(
        f"no node of the cluster at {found.address} can serve a trial, which takes {asked}: "
        + "; ".join([*(has or ["it has no workers"]), *refused]),
        hint="start nodes that have it (`ray start --address … --num-cpus N`), or change "
        "`resources.per_trial`" + (f"; {_ALIKE}" if refused else ""),
    )


def _amounts(resources: Mapping[str, float]) -> str:
    """What a node has, without what Ray counts for itself."""
    return ", ".join(
        f"{amount:g} {name}"
        for name, amount in sorted(resources.items())
        if ":" not in name and "memory" not in name
    )


def places(resources: Resources, *, gpus: int | None = None) -> int:
    """How many trials have room on this machine: a core each, or their share of a GPU.

    Args:
        resources: What a trial needs.
        gpus: How many GPUs there are; None counts them.

    Raises:
        RunError: There is no GPU, or none with such a share.
    """
    share = resources.gpus_per_trial
    if not share > 0:
        return max(1, int(environment.cores() // max(resources.request["CPU"], 1e-3)))
    available = _available(share, gpus)
    found = environment.gpu_places(available, share)
    if found < 1:
        raise RunError(
            f"gpus_per_trial = {share:g} needs a GPU; {available} can be seen here",
            hint="train on the CPU with `--gpus-per-trial 0`",
        )
    return found


def _available(share: float, gpus: int | None) -> int:
    if not share > 0:
        return 0
    return environment.gpus() if gpus is None else gpus
