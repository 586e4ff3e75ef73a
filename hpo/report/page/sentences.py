"""What a reader must know first, in words: what was compared, who leads, how sure that is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from hpo.confirmation import sentences as confirmed
from hpo.ledger.folder import RunFolder
from hpo.pasted import pasted
from hpo.report import numbers, table
from hpo.report.families import Standing, mean_and_spread, scale_of
from hpo.report.importance import LEAST, Importance
from hpo.report.page import verdict
from hpo.report.page.content import Content
from hpo.report.page.headline import Headline
from hpo.report.page.words import compared, many, on
from hpo.report.summary import Summary


def headline(content: Content) -> Headline:
    """The first screen of a report.

    Args:
        content: What it tells.
    """
    if content.verdict is not None:
        return verdict.headline(content, content.verdict)
    began = content.confirmation
    first = unsettled(content.summary)
    if began is not None and content.summary.finished:
        first = confirmed.headline(began)
    return Headline(
        first=(first,),
        settled=False,
        facts=(
            ("Compared", compared(content)),
            ("On", on(content)),
            ("Ahead", ahead(content)),
            ("By", margin(content)),
            ("How sure", surety(content)),
        ),
        commands=commands(content),
    )


def unsettled(summary: Summary) -> str:
    """Why nothing is settled."""
    counts = summary.counts()
    ended = sum(
        n for s, n in counts.items() if s not in ("running", "paused", "pending")
    )
    if not summary.finished:
        return (
            f"Nothing is settled: the search is unfinished, {ended} of {summary.planned} "
            "trials ended."
        )
    if summary.best is None:
        return f"Nothing is settled: none of {many(ended, 'trial')} is ranked."
    return (
        "Nothing is settled: this is a search, one lucky training per configuration, and "
        "no fresh seeds have confirmed it."
    )


def ahead(content: Content) -> str:
    """The family with the best trial."""
    first = content.families[0]
    if first.best is None:
        return "nobody: no trial has completed or converged with a finite value."
    scale = scale_of(content.summary, content.families)
    value = f"{scale.format(first.best.objective)} {scale.unit}".strip()
    return (
        f"{first.family}, {content.summary.objective.metric} {value} "
        f"(trial {first.best.trial}, epoch {first.best.best_epoch})."
    )


def margin(content: Content) -> str:
    """How far the first family is before the second."""
    ranked = [s for s in content.families if s.best]
    if not ranked:
        return "nothing can be said."
    if len(ranked) == 1:
        return "no other family has a ranked trial."
    scale = scale_of(content.summary, content.families)
    one, two = (s.best for s in ranked[:2])
    assert one is not None and two is not None, "they are ranked"
    first, second = one.objective, two.objective
    assert first is not None and second is not None, "ranked trials have values"
    objectives = content.summary.study.objectives
    if table.goals(objectives):
        value = f"{scale.format(second)} {scale.unit}".strip()
        over = "".join(f"; {text}" for text in table.over_limits(two, objectives))
        return (
            "no one number: limits come first, then fronts. Next is "
            f"{ranked[1].family}, {objectives[0].metric} {value} (trial {two.trial}{over})."
        )
    gap = f"{scale.format(abs(second - first))} {scale.unit}".strip()
    share = f" ({abs(second - first) / abs(second):.1%})".replace("%", " %")
    return f"{gap}{share if second else ''} before {ranked[1].family}."


def surety(content: Content) -> str:
    """How sure that is."""
    first = content.families[0]
    if first.best is None:
        return "not at all."
    scale = scale_of(content.summary, content.families)
    unit = f" {scale.unit}" if scale.unit else ""
    if not first.fresh:
        chosen = f", and the best of {first.ranked} ranked trials flatters itself"
        return f"unknown: one seed each{chosen if first.ranked > 1 else ''}."
    spread = mean_and_spread(first.fresh, scale)
    text = f"trial {first.best.trial} with fresh seeds: {spread}{unit} over validation"
    if first.tested:
        text += f", {mean_and_spread(first.tested, scale)}{unit} over the test part"
    good = [v for v in first.fresh if v is not None]
    worse = content.summary.objective.better
    if good and worse(first.best.objective or 0.0, statistics.fmean(good)):
        text += "; the search promised more"
    return f"{text}. A re-run of one trial compares no families."


def commands(content: Content) -> tuple[tuple[str, str], ...]:
    """What to do next."""
    run = content.run
    if not content.summary.finished:
        return ((pasted("resume", run), "goes on with the search"),)
    if content.summary.best is None:
        return ((pasted("results", run), "says where and why each trial ended"),)
    return (
        (
            pasted("confirm", run),
            "trains each family's winner with new seeds, and reads the test part once",
        ),
    )


def important(found: Importance) -> str:
    """What can be said of a family's hyperparameters."""
    left = [
        f"{many(count, 'more trial')} {why}"
        for count, why in (
            (found.outside, "outside the space of today"),
            (found.changed, "whose values changed in training"),
        )
        if count
    ]
    return " ".join([_mattered(found), *(f"Left out: {x}." for x in left)])


def _mattered(found: Importance) -> str:
    if found.trials < LEAST:
        return (
            f"{found.family}: cannot be told from noise at {many(found.trials, 'trial')} "
            f"with the whole budget; at least {LEAST} are needed."
        )
    if not found.told:
        return (
            f"{found.family}: no hyperparameter can be told from noise at "
            f"{many(found.trials, 'trial')} with the whole budget."
        )
    names = ", ".join(found.told)
    rest = len(found.values) - len(found.told)
    return (
        f"{found.family}: {names} mattered for being among the best {found.best} of "
        f"{many(found.trials, 'trial')} with the whole budget"
        + (f"; the other {rest} cannot be told from noise." if rest else ".")
    )


def looks(reads: Sequence[str]) -> str:
    """How often the test part was read."""
    if not reads:
        return "The test part was not read."
    times = {1: "once", 2: "twice"}.get(len(reads), f"{len(reads)} times")
    return f"The test part was read {times}: {'; '.join(reads)}."


def row_command(content: Content, trial: int) -> str:
    """The command that shows a trial."""
    return pasted("show", content.run, trial)


def state_of(standing: Standing) -> str:
    """A family's trials in a few words."""
    return f"{standing.ranked} of {many(standing.trials, 'trial')} ranked"


def counted(content: Content) -> str:
    """How many trials ended how, in what time."""
    summary = content.summary
    counts = ", ".join(f"{n} {state}" for state, n in summary.counts().items())
    return (
        f"{counts or 'no trials yet'}; {summary.planned} planned. "
        f"Active time {numbers.duration(summary.elapsed)}. Ranked are completed and "
        f"converged trials, by {_ranking(summary)}."
    )


def _ranking(summary: Summary) -> str:
    """What the ranks of the table go by."""
    if not table.goals(summary.study.objectives):
        return "the value of their best epoch"
    return (
        "the values of their best epoch: by front (of 1 none is beaten in one objective and "
        f"equalled in the others), then by {summary.objective.metric}; what is beyond a limit "
        "comes last"
    )


def title(content: Content) -> str:
    """The title of the page."""
    return f"{content.summary.study.name} · {RunFolder(content.summary.folder).name}"
