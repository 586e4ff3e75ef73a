"""The paragraph of a paper that says how a run was done, from what the run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.report import citations, numbers
from hpo.report.page import sentences
from hpo.report.page.content import Content

_TOLD = ("hpo-harness", "jax", "jaxlib", "flax", "optax", "optuna", "ray")


def paragraph(content: Content) -> str:
    """Budgets, seeds, test part, looks, versions and data, in sentences.

    Args:
        content: What the report tells.
    """
    return " ".join(
        [
            *_search(content),
            *_again(content),
            sentences.looks(content.history.reads),
            *_data(content),
            *_machine(content.provenance),
        ]
    )


def _search(content: Content) -> list[str]:
    summary = content.summary
    study, goal = summary.study, summary.objective
    families = ", ".join(
        f"{s.family} ({sentences.many(s.trials, 'trial')} of up to "
        f"{sentences.many(s.epoch_budget, 'epoch')}, {sentences.many(s.epochs, 'epoch')} "
        f"and {numbers.seconds(s.seconds)} s in all)"
        for s in content.families
    )
    good = "smallest" if goal.direction == "minimize" else "largest"
    unit = f" [{goal.unit}]" if goal.unit else ""
    rules = ", ".join(r.name for r in study.stopping) or "no rule"
    return [
        f"We tuned {families} by the {good} {goal.metric}{unit} over the validation part, "
        "at the best epoch of each trial.",
        f"Configurations were proposed by `{study.sampler.name}` and trials ended early by "
        f"{rules}; the seed of every random choice was {study.seed}.",
    ]


def _again(content: Content) -> list[str]:
    told = [s for s in content.families if s.fresh]
    if not told:
        return ["Every configuration was trained once; no value has a spread."]
    counts = ", ".join(f"{s.family} {len(s.fresh)}" for s in told)
    return [f"The best trials were trained again with fresh seeds ({counts})."]


def _data(content: Content) -> list[str]:
    hashes = content.data.get("hashes")
    if not isinstance(hashes, Mapping) or not hashes:
        return [f"The data were {sentences.data_name(content)}."]
    parts = ", ".join(f"{p} {str(h)[:12]}" for p, h in hashes.items())
    return [f"The data were {sentences.data_name(content)} (SHA-256: {parts})."]


def _machine(provenance: Mapping[str, Any]) -> list[str]:
    versions = provenance.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    told = [f"{n} {known[n]}" for n in _TOLD if known.get(n)]
    if python := known.get("python"):
        told.append(f"Python {python}")
    gpus = provenance.get("gpus") or []
    machine = ", ".join(
        str(x)
        for x in (provenance.get("cpu"), *(gpus if isinstance(gpus, list) else ()))
        if x
    )
    out = [f"Software: {', '.join(told)}."] if told else []
    return [*out, f"Machine: {machine}."] if machine else out


def bibtex(content: Content) -> str:
    """The entries for what the run used.

    Args:
        content: What the report tells.
    """
    versions = content.provenance.get("versions")
    git = content.provenance.get("git")
    commit = git.get("commit") if isinstance(git, Mapping) else None
    return citations.bibtex(
        versions=versions if isinstance(versions, Mapping) else {},
        commit=commit if isinstance(commit, str) else None,
        data={"name": sentences.data_name(content), **content.data},
        rules=[r.name for r in content.summary.study.stopping],
    )
