"""The content of a report, as frozen data: nothing here knows how it will look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hpo.confirmation.reading import load_confirmation
from hpo.ledger.folder import RunFolder
from hpo.report.again import with_changes
from hpo.report.edges import Edge, edges
from hpo.report.families import Standing, standings
from hpo.report.importance import Importance, importances
from hpo.report.page import history as ledger
from hpo.report.page.excerpts import Shown, shown
from hpo.report.page.history import History
from hpo.report.page.panels import Curves, Slice, Spot, curves, slices, spots
from hpo.report.page.told import Recorded
from hpo.report.repeats import Repeat, repeats
from hpo.report.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Content(Recorded):
    """All that a report of one run tells.

    Attributes:
        summary: The run.
        history: Its course, its re-runs and the reads of its test part.
        families: Its families, the one with the best trial first.
        curves: Their curves.
        size: Ranked trials against parameters.
        cost: Ranked trials against seconds.
        slices: Their trials along each hyperparameter.
        importances: How much each hyperparameter mattered.
        edges: Winners at the end of a range.
        windows: What each confirmed winner predicts beside what was measured.
        repeats: Its re-runs and the stages of its confirmation, as their own folders tell.
    """

    summary: Summary
    history: History
    families: tuple[Standing, ...]
    curves: tuple[Curves, ...]
    size: tuple[Spot, ...]
    cost: tuple[Spot, ...]
    slices: tuple[Slice, ...]
    importances: tuple[Importance, ...]
    edges: tuple[Edge, ...]
    windows: tuple[Shown, ...]
    repeats: tuple[Repeat, ...]

    @property
    def run(self) -> str:
        """The run as commands take it, such as ``quickstart/20260131-101500-1a2b3c4d``."""
        folder = RunFolder(self.summary.folder)
        return f"{folder.study_name}/{folder.name}"


def load(folder: Path) -> Content:
    """Read a run's folder and compute all that a report tells of it.

    Args:
        folder: The run's folder; only read.

    Raises:
        RunError: It is no run, or its study or ledger is damaged.
    """
    summary, course = ledger.read(folder)
    again = with_changes(folder, course.reruns)
    families = standings(summary, again)
    record = RunFolder(folder).read_study()
    confirmation = load_confirmation(folder, summary=summary)
    return Content(
        summary=summary,
        history=replace(course, reruns=again),
        families=families,
        curves=curves(summary, families),
        size=spots(summary, "parameters"),
        cost=spots(summary, "seconds"),
        slices=slices(summary, families),
        importances=importances(summary),
        edges=edges(summary, families),
        confirmation=confirmation,
        windows=shown(confirmation),
        repeats=repeats(summary),
        record={k: v for k, v in record.items() if k not in ("study", "spaces")},
    )
