"""The paragraph of a paper that says how a run was done, from what the run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.confirmation.record import Confirmation
from hpo.confirmation.sentences import about, verdict_sentence
from hpo.report import citations, latex, numbers
from hpo.report.page import sentences, verdict, words
from hpo.report.page.content import Content
from hpo.report.page.told import Told

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
            *data(content),
            *machine(content.provenance),
        ]
    )


def _search(content: Content) -> list[str]:
    summary = content.summary
    study = summary.study
    families = ", ".join(
        f"{s.family} ({words.many(s.trials, 'trial')} of up to "
        f"{words.many(s.epoch_budget, 'epoch')}, {words.many(s.epochs, 'epoch')} "
        f"and {numbers.seconds(s.seconds)} s in all)"
        for s in content.families
    )
    rules = ", ".join(r.name for r in study.stopping) or "no rule"
    return [
        f"We tuned {families} by {words.tuned_by(study)} over the validation part, "
        "at the best epoch of each trial.",
        f"Configurations were proposed by `{study.sampler.name}` and trials ended early by "
        f"{rules}; the seed of every random choice was {study.seed}.",
    ]


def _again(content: Content) -> list[str]:
    if content.verdict is not None:
        return _confirmed(content.verdict)
    told = [s for s in content.families if s.fresh]
    if not told:
        return ["Every configuration was trained once; no value has a spread."]
    counts = ", ".join(f"{s.family} {len(s.fresh)}" for s in told)
    return [f"The best trials were trained again with fresh seeds ({counts})."]


def _confirmed(found: Confirmation) -> list[str]:
    """What the confirmation did, and what it found."""
    count = found.contenders[0].count if found.contenders else 0
    tried = max(
        (len(w.candidates) for c in found.contenders for w in c.winners), default=1
    )
    chosen = (
        f"Each family's candidate was chosen from its best {tried} by fresh seeds over the "
        "validation part. "
        if tried > 1
        else ""
    )
    looks = "one look" if found.look == 1 else f"{found.look} looks"
    pairs = [verdict_sentence(found, pair) for pair in found.pairs]
    return [
        f"{chosen}The candidates were trained with {count} new seeds each, disjoint from all "
        f"seeds of the search, and compared over the {found.part} part at {looks}: Welch's "
        "t intervals, simultaneous over all pairs and looks (95 %), on logarithms where "
        f"errors are compared; differences below {found.matters} do not matter.",
        *pairs,
        *about(found),
    ]


def data(content: Told) -> list[str]:
    """The data with their hashes, in a sentence."""
    hashes = content.data.get("hashes")
    if not isinstance(hashes, Mapping) or not hashes:
        return [f"The data were {words.data_name(content)}."]
    parts = ", ".join(f"{p} {str(h)[:12]}" for p, h in hashes.items())
    return [f"The data were {words.data_name(content)} (SHA-256: {parts})."]


def machine(provenance: Mapping[str, Any]) -> list[str]:
    """Versions and machine, in sentences."""
    versions = provenance.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    told = [f"{n} {known[n]}" for n in _TOLD if known.get(n)]
    if python := known.get("python"):
        told.append(f"Python {python}")
    gpus = provenance.get("gpus") or []
    parts = ", ".join(
        str(x)
        for x in (provenance.get("cpu"), *(gpus if isinstance(gpus, list) else ()))
        if x
    )
    out = [f"Software: {', '.join(told)}."] if told else []
    return [*out, f"Machine: {parts}."] if parts else out


def table(content: Content) -> str:
    """The families' table for LaTeX: confirmed values where there is a verdict.

    Args:
        content: What the report tells.
    """
    found = content.verdict
    about_them = ""
    if found is not None:
        about_them = "candidates trained with new seeds"
    return latex.families(
        content.summary,
        verdict.standings(content.summary, content.families, found),
        winners=verdict.winners(found),
        about=about_them,
    )


def bibtex(content: Told) -> str:
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
        data={"name": words.data_name(content), **content.data},
        rules=[r.name for r in content.summary.study.stopping],
    )
