"""A page is one part, or several: the report of a run or of a group each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpo.report import families, numbers
from hpo.report.page import group as groups
from hpo.report.page import sections, sentences
from hpo.report.page.content import Content
from hpo.report.page.drawing import Drawing
from hpo.report.page.drawings import drawings
from hpo.report.page.group import GroupContent
from hpo.report.page.group_page import group_drawings, group_sections
from hpo.report.page.headline import Headline
from hpo.report.page.sections import Section
from hpo.report.page.told import Told
from hpo.report.page.words import data_name


@dataclass(frozen=True, kw_only=True)
class Part:
    """The report of one run, or of one group.

    Attributes:
        told: What it tells.
        title: Its title.
        headline: Its first screen.
        counted: How many trials ended how.
        trials: The run whose trials are listed; None for a group, which lists searches.
        sections: What follows.
        drawings: The figures of the sections.
        folder: Where its files lie below the page; empty beside it.
    """

    told: Told
    title: str
    headline: Headline
    counted: str
    trials: Content | None
    sections: tuple[Section, ...]
    drawings: tuple[Drawing, ...]
    folder: str = ""

    @property
    def prefix(self) -> str:
        """What links to its files begin with."""
        return f"{self.folder}/" if self.folder else ""

    @property
    def key(self) -> str:
        """What names of its elements begin with, so that none is there twice."""
        return f"{self.folder.rpartition('/')[2]}-" if self.folder else ""


def of_run(content: Content) -> Part:
    """The report of a run.

    Args:
        content: What it tells.
    """
    return Part(
        told=content,
        title=sentences.title(content),
        headline=sentences.headline(content),
        counted=sentences.counted(content),
        trials=content,
        sections=sections.sections(content),
        drawings=drawings(content),
    )


def of_group(content: GroupContent) -> Part:
    """The report of a group.

    Args:
        content: What it tells.
    """
    return Part(
        told=content,
        title=f"{content.summary.study.name} · group {content.run}",
        headline=groups.headline(content),
        counted=groups.counted(content),
        trials=None,
        sections=group_sections(content),
        drawings=group_drawings(content),
    )


def several(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The same parts, each with a folder of its own.

    Args:
        parts: What one page is to hold.
    """
    return tuple(replace(p, folder=f"runs/{i}") for i, p in enumerate(parts, 1))


def title(parts: Sequence[Part]) -> str:
    """The title of a page."""
    return parts[0].title if len(parts) == 1 else f"{len(parts)} runs"


def overview(parts: Sequence[Part]) -> tuple[Section, ...]:
    """Where each run stands: a table for those that share task, data and objective.

    Values over different tasks or data say nothing of each other, so they are never put
    beside each other, and runs are not ranked: they stand as they were named.

    Args:
        parts: The parts of a page of several.
    """
    alike: dict[str, list[tuple[int, Part]]] = {}
    for place, part in enumerate(parts, 1):
        alike.setdefault(_kind(part.told), []).append((place, part))
    return tuple(
        Section(
            name=f"overview-{i}",
            title=_about(mine[0][1].told),
            table=sections.table(_cells(mine), left=("run", "ahead", "verdict")),
        )
        for i, mine in enumerate(alike.values(), 1)
    )


def _kind(told: Told) -> str:
    """Equal for what may be compared: the task with its settings, the data, the objective."""
    objective = told.summary.objective
    data = told.data.get("hashes") or data_name(told)
    plain = [
        told.summary.study.described_task,
        data,
        [objective.metric, objective.direction, objective.unit],
    ]
    return json.dumps(plain, sort_keys=True, default=str)


def _about(told: Told) -> str:
    task = told.summary.study.described_task.get("name")
    named = f"{task} on " if task else ""
    return f"{named}{data_name(told)}, {told.summary.objective.metric}"


def _cells(mine: Sequence[tuple[int, Part]]) -> list[dict[str, str]]:
    firsts = [p.told.families[0] for _, p in mine]
    scale = families.scale_of(mine[0][1].told.summary, firsts)
    unit = f" [{scale.unit}]" if scale.unit else ""
    return [
        {
            "": str(place),
            "run": part.told.run,
            "ahead": first.family if first.best else "–",
            f"search{unit}": scale.format(first.best.objective if first.best else None),
            "trials": numbers.count(sum(s.trials for s in part.told.families)),
            "epochs": numbers.count(sum(s.epochs for s in part.told.families)),
            "verdict": " ".join(part.headline.first),
        }
        for (place, part), first in zip(mine, firsts, strict=True)
    ]
