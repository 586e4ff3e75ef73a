"""The nodes of a Ray cluster, a finding each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpo.doctor.finding import Finding, judged
from hpo.run.attach import Attach
from hpo.run.survey import Node, survey

_CLOCK = 5.0  # seconds by which one may differ


def nodes(
    attach: Attach, *, results: Path, data_root: Path | None
) -> Iterator[Finding]:
    """Every living node: what it has, and whether it can train.

    Args:
        attach: The cluster.
        results: Where runs would lie.
        data_root: Where real datasets lie, or None.

    Raises:
        RunError: The cluster cannot be reached, refuses the token, or is of another version.
    """
    paths = [p.absolute() for p in (results, data_root) if p is not None]
    found = survey(attach, paths=paths)
    for node in found.nodes:
        yield _node(node)
    unlike = found.equal_bits()
    if len(found.usable) > 1:
        yield judged(
            "instructions",
            "those of all nodes are the same"
            if not unlike
            else f"they differ: runs hold to {unlike['HPO_KERNELS']}, {unlike['XLA_FLAGS']}",
            problem="warning" if unlike else None,
            remedy="nodes of one kind compute faster, and what one of them computes alone",
        )


def _node(node: Node) -> Finding:
    has = ", ".join(
        f"{amount:g} {name}"
        for name, amount in sorted(node.resources.items())
        if ":" not in name and "memory" not in name
    )
    if node.refused:
        return Finding(
            check=node.name,
            status="error",
            found=f"{has or 'no cores'}; it is not used: {node.refused}",
            remedy="install there what the driver has, or set its HPO_CACHE; runs do without",
        )
    facts = node.facts
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    reads = "; ".join(
        f"{'reads' if can else 'does not read'} {path}"
        for path, can in facts["reads"].items()
    )
    ahead = -node.behind
    return judged(
        node.name,
        f"{has or 'no cores'}; Python {facts['python']}, {versions}; {facts['cpu']} "
        f"({node.level or 'no kernels'}); clock {ahead:+.1f} s; {reads}; cache {facts['cache']}",
        problem="warning" if abs(ahead) > _CLOCK else None,
        remedy="set its clock (NTP): the times in logs are its own",
    )
