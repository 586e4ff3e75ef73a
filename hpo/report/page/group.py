"""The page of a group of searches: the families over all of them, with the search as unit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpo.confirmation.reach import more_searches_tell
from hpo.confirmation.reading import load_confirmation
from hpo.confirmation.record import DECIDED, LEAST, Confirmation, Contender
from hpo.confirmation.sentences import about, verdict_sentence
from hpo.confirmation.sentences import headline as first_line
from hpo.errors import RunError
from hpo.ledger.group import RunGroup
from hpo.pasted import pasted
from hpo.report import numbers
from hpo.report.families import Standing, mean_and_spread, standings
from hpo.report.page import words
from hpo.report.page.excerpts import Shown, shown
from hpo.report.page.headline import Headline
from hpo.report.page.told import Recorded
from hpo.report.summary import Summary, load_summary

_MOST = 3  # verdicts on the first screen


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search of a group.

    Attributes:
        place: Its place in the group, from 1.
        run: Its name as commands take it.
        summary: The run.
        families: Where its families stand.
    """

    place: int
    run: str
    summary: Summary
    families: tuple[Standing, ...]

    def value(self, family: str) -> float | None:
        """The value of a family's best trial; None before there is one."""
        found = next((s.best for s in self.families if s.family == family), None)
        return None if found is None else found.objective


@dataclass(frozen=True, kw_only=True)
class GroupContent(Recorded):
    """All that the report of a group tells; see `Told`.

    Attributes:
        run: The group's name.
        planned: How many searches it has in all.
        searches: Those that have begun.
        families: The families, the one with the best mean of its searches' values first.
        windows: What a winner of each family predicts.
    """

    run: str
    planned: int
    searches: tuple[Search, ...]
    families: tuple[Standing, ...]
    windows: tuple[Shown, ...]

    @property
    def summary(self) -> Summary:
        """The first search."""
        return self.searches[0].summary

    @property
    def finished(self) -> bool:
        """Whether every search has ended."""
        ended = [s.summary.finished for s in self.searches]
        return len(ended) == self.planned and all(ended)

    def values(self, family: str) -> list[float | None]:
        """The value of a family's winner in each search."""
        return [search.value(family) for search in self.searches]


def load(group: RunGroup) -> GroupContent:
    """Read the searches of a group; nothing of them is changed.

    Args:
        group: The group.

    Raises:
        RunError: None of its searches has begun, or one is damaged.
    """
    members = group.members()
    if not members:
        raise RunError(
            f"no search of group `{group.name}` has begun",
            hint=f"`{pasted('resume', group.path)}` begins with it",
        )
    searches = []
    for index in sorted(members):
        run = members[index]
        summary = load_summary(run.path)
        name = f"{run.study_name}/{run.name}"
        found = standings(summary)
        search = Search(place=index + 1, run=name, summary=summary, families=found)
        searches.append(search)
    confirmation = load_confirmation(group.path)
    return GroupContent(
        run=group.name,
        planned=len(group.seeds),
        searches=tuple(searches),
        families=_families(searches),
        confirmation=confirmation,
        windows=shown(confirmation),
        record=members[min(members)].read_study(),
    )


def _families(searches: Sequence[Search]) -> tuple[Standing, ...]:
    """What each family spent in all searches; `best` is that of its first one."""
    objective = searches[0].summary.objective
    found = []
    for family in (f.name for f in searches[0].summary.study.families):
        mine = [s for x in searches for s in x.families if s.family == family]
        whole = replace(
            mine[0],
            trials=sum(s.trials for s in mine),
            ranked=sum(s.ranked for s in mine),
            epochs=sum(s.epochs for s in mine),
            seconds=sum(s.seconds for s in mine),
        )
        values = [v for x in searches if (v := x.value(family)) is not None]
        mean = statistics.fmean(values) if values else None
        found.append((objective.rank_key(mean), whole))
    return tuple(s for _, s in sorted(found, key=lambda one: one[0]))


def headline(content: GroupContent) -> Headline:
    """The first screen.

    Args:
        content: What the page tells.
    """
    facts = [("Compared", words.compared(content)), ("On", words.on(content))]
    found = content.verdict
    if found is None:
        return Headline(
            first=(_unsettled(content),),
            settled=False,
            facts=(*facts, ("How sure", "unknown: one seed each.")),
            commands=(_next(content),),
        )
    leader = found.contenders[0].family if found.contenders else ""
    mine = [p for p in found.pairs if leader in (p.a, p.b)][:_MOST]
    told = [verdict_sentence(found, pair) for pair in mine]
    sure = f"{len(found.runs)} searches with seeds of their own over the {found.part} part."
    return Headline(
        first=(first_line(found),),
        settled=any(p.verdict in DECIDED for p in found.pairs),
        facts=(
            *facts,
            *(("" if i else "Verdict", text) for i, text in enumerate(told)),
            ("How sure", " ".join([sure, *about(found)[1:]])),
        ),
        commands=(_next(content),),
    )


def _unsettled(content: GroupContent) -> str:
    if not content.finished:
        ended = sum(s.summary.finished for s in content.searches)
        return (
            f"Nothing is settled: {ended} of {content.planned} searches of the group "
            "have ended."
        )
    if content.confirmation is not None:
        return first_line(content.confirmation)
    return (
        f"Nothing is settled: {content.planned} searches, each with one lucky training per "
        "configuration, and no new seeds have confirmed their winners."
    )


def _next(content: GroupContent) -> tuple[str, str]:
    if not content.finished:
        return pasted("resume", content.run), "goes on with the searches"
    if content.verdict is None:
        return (
            pasted("confirm", content.run),
            "trains each search's winners with new seeds, and reads the test part once a "
            "search",
        )
    if not more_searches_tell(content.verdict):
        return pasted("report", content.searches[0].run), "reports a search by itself"
    study, count = content.summary.study.name, max(2 * content.planned, LEAST)
    return pasted(
        "launch", study, "--repeat", count
    ), "a larger group settles what is open"


def counted(content: GroupContent) -> str:
    """How many searches and trials there are."""
    trials = sum(len(s.summary.rows) for s in content.searches)
    return (
        f"{len(content.searches)} of {content.planned} searches, "
        f"{words.many(trials, 'trial')} in all. Each search is a run of its own, with a table "
        "and a report of its own."
    )


def search_cells(content: GroupContent) -> list[dict[str, str]]:
    """A line a search: its seed, how far it is, and what each family found."""
    names = [s.family for s in content.families]
    every = [v for name in names for v in content.values(name)]
    scale = _scale(content, every)
    unit = f" [{scale.unit}]" if scale.unit else ""
    return [
        {
            "search": str(s.place),
            "seed": str(s.summary.study.seed),
            "trials": f"{len(s.summary.rows)}/{s.summary.planned}",
            **{f"{name}{unit}": scale.format(s.value(name)) for name in names},
            "state": "ended" if s.summary.finished else "unfinished",
            "command": pasted("report", s.run),
        }
        for s in content.searches
    ]


def family_cells(content: GroupContent) -> list[dict[str, str]]:
    """A line a family over all searches."""
    scale = _scale(
        content, [v for s in content.families for v in content.values(s.family)]
    )
    unit = f" [{scale.unit}]" if scale.unit else ""
    metric = content.summary.objective.metric
    return [
        {
            "family": s.family,
            f"search, {metric}{unit}": mean_and_spread(_known(content, s), scale),
            "trials": f"{s.trials:,}",
            "ranked": f"{s.ranked:,}",
            "epochs": f"{s.epochs:,}",
            "seconds": f"{s.seconds:,.1f}",
        }
        for s in content.families
    ]


def _known(content: GroupContent, standing: Standing) -> list[float | None]:
    """Each search's value; a search that has not come to one yet has no part in it."""
    return [v for v in content.values(standing.family) if v is not None]


def verdict_cells(found: Confirmation, content: GroupContent) -> list[dict[str, str]]:
    """A line a family: what its searches' winners came to with new seeds."""
    scale = _scale(content, [v for c in found.contenders for v in c.values])
    unit = f" [{scale.unit}]" if scale.unit else ""
    metric = content.summary.objective.metric
    return [
        {
            "family": c.family,
            "searches": str(c.count),
            f"{found.part}, {metric}{unit}": mean_and_spread(
                [*c.values, *([None] * c.failed)], scale
            ),
            "95 % interval": "–"
            if c.mean is None or c.mean.low is None or c.mean.high is None
            else f"{scale.format(c.mean.low)} … {scale.format(c.mean.high)}",
            "seeds a search": _seeds(c),
        }
        for c in found.contenders
    ]


def _seeds(contender: Contender) -> str:
    counts = sorted({len(w.seeds) for w in contender.winners})
    return " to ".join(map(str, [counts[0], counts[-1]][: len(counts)]))


def _scale(content: GroupContent, values: Sequence[float | None]) -> numbers.Scale:
    """How values of the objective are printed."""
    return numbers.scale_for(values, content.summary.objective.unit)
