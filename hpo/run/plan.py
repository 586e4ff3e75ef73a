"""The plan by which an executor uses the machine: places for trials and their GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpo.errors import RunError
from hpo.run.attach import Attach
from hpo.run.executor import Plan, find
from hpo.run.room import kinds, served, wanted
from hpo.run.survey import Survey, survey
from hpo.study import Resources
from hpo.worker import environment

_ALIKE = (
    "every node needs the driver's Python, Ray and JAX, and a cache that can be written "
    "(HPO_CACHE)"
)


def plan(
    resources: Resources,
    *,
    requests: Mapping[str, Mapping[str, float]] | None = None,
    gpus: int | None = None,
    attach: Attach | None = None,
) -> Plan:
    """Fit a study's resources to this machine, or to a cluster.

    Args:
        resources: What the study asks for.
        requests: What a trial of each family takes (`Study.requests`), which may differ on a
            cluster only; None where all take what the study says.
        gpus: How many GPUs there are; None counts them.
        attach: The cluster to work on; None for this machine.

    Raises:
        StudyError: There is no such executor.
        RunError: The machine has no GPU, or not enough of them, for what is asked; the
            cluster cannot be used, or none of its nodes can serve a trial.
    """
    executor = find(resources.executor)
    if attach is not None:
        return _on_cluster(resources, requests or {"": resources.request}, attach)
    for family, request in (requests or {}).items():
        if request != resources.request:
            raise RunError(
                f"family `{family}` takes {_told(request)} a trial, the study "
                f"{_told(resources.request)}: on one machine all trials take the same",
                hint="`--address` attaches to a cluster, whose slots may differ; or leave "
                "`per_trial` of the family out",
            )
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


def _on_cluster(
    resources: Resources, requests: Mapping[str, Mapping[str, float]], attach: Attach
) -> Plan:
    if resources.executor != "ray":
        raise RunError(
            f"`{attach.told}` needs the executor `ray`, the study names "
            f"`{resources.executor}`",
            hint="`--executor ray`, or `--address local`",
        )
    found = survey(attach)
    several = kinds(requests)
    for family, request in requests.items():
        if found.room(request) < 1:
            raise _no_room(found, request, family if len(several) > 1 else "")
    nodes = {node.id: node.resources for node in found.usable}
    slots = wanted(nodes, several, workers=attach.workers)
    if missing := requests.keys() - served(slots):
        raise _no_slot(found, requests, [f for f in requests if f in missing], attach)
    return Plan(
        workers=attach.workers or sum(given.total() for given in slots.values()),
        gpus_per_trial=resources.gpus_per_trial,
        gpus=int(sum(n.resources.get("GPU", 0) for n in found.usable)),
        stall=resources.stall,
        request=resources.request,
        kinds=several,
        attach=attach,
        cluster=found.to_json(),
    )


def _no_room(found: Survey, request: Mapping[str, float], family: str) -> RunError:
    refused = _refused(found)
    if refused and not found.usable:
        return RunError(
            f"no node of the cluster at {found.address} can be used: "
            + "; ".join(refused),
            hint=_ALIKE,
        )
    whose = f"a trial of family `{family}`" if family else "a trial"
    where = "`per_trial` of the family" if family else "`resources.per_trial`"
    return RunError(
        f"no node of the cluster at {found.address} can serve {whose}, which takes "
        f"{_told(request)}: " + "; ".join([*_has(found), *refused]),
        hint="start nodes that have it (`ray start --address … --num-cpus N`), or change "
        + where
        + (f"; {_ALIKE}" if refused else ""),
    )


def _no_slot(
    found: Survey,
    requests: Mapping[str, Mapping[str, float]],
    missing: Sequence[str],
    attach: Attach,
) -> RunError:
    """Each family has room, but not all of them at a time."""
    takes = "; ".join(f"`{f}` takes {_told(requests[f])}" for f in requests)
    limit = f" with {attach.workers} workers" if attach.workers else ""
    return RunError(
        f"the cluster at {found.address} has no slot left for family `{missing[0]}`{limit}, "
        f"where each family needs one that serves it: {takes}; "
        + "; ".join([*_has(found), *_refused(found)]),
        hint="start more nodes, allow more `--workers`, or let the families take the same",
    )


def _has(found: Survey) -> list[str]:
    """What each node has."""
    has = [
        f"{node.name} has {_amounts(node.resources)}"
        for node in found.usable
        if _amounts(node.resources)
    ]
    return has or ["it has no workers"]


def _refused(found: Survey) -> list[str]:
    return [f"{node.name}: {node.refused}" for node in found.nodes if node.refused]


def _told(request: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in request.items())


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
