"""The sections of a report below the table of trials, as texts, points, tables and blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.confirmation.record import Confirmation
from hpo.confirmation.winners import comparing
from hpo.report import families, formats, numbers, rungs
from hpo.report.page import methods, sentences, verdict
from hpo.report.page.content import Content
from hpo.report.page.told import Told
from hpo.report.repeats import further_cells
from models.training.protocol import Excerpt


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        heads: Its columns' names.
        rows: Its cells.
        right: Positions of the columns aligned to the right.
        kind: ``wide`` where texts are long.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report.

    Attributes:
        name: Figures name it.
        title: Its heading.
        texts: Paragraphs.
        points: A list.
        table: A table, or None.
        blocks: Title and text of what is to be copied.
    """

    name: str
    title: str
    texts: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    table: Table | None = None
    blocks: tuple[tuple[str, str], ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say without a figure."""
        return not (self.texts or self.points or self.table or self.blocks)


def sections(content: Content) -> tuple[Section, ...]:
    """Every section, in the order of the page.

    Args:
        content: What the report tells.
    """
    return (
        _verdict(content),
        windows(content),
        _families(content),
        Section(name="curves", title="Curves"),
        Section(name="costs", title="Accuracy and cost"),
        _space(content),
        _rungs(content),
        Section(name="course", title="Course of the run"),
        _reruns(content),
        _test_alone(content),
        _paper(content),
        _provenance(content),
        Section(name="notes", title="Notes", points=tuple(content.summary.notes)),
    )


def _verdict(content: Content) -> Section:
    found = content.verdict
    if found is None or not found.contenders:
        return Section(name="verdict", title="Verdict")
    return Section(
        name="verdict",
        title="Verdict",
        texts=(verdict.explained(found),),
        points=(*verdict.points(found), *fewer_trials(found)),
        table=table(verdict.cells(found), left=("family",)),
    )


def fewer_trials(found: Confirmation) -> tuple[str, ...]:
    """Why random search has no figure of what fewer of its trials would find.

    Args:
        found: The confirmation.
    """
    study = found.study
    ended = {c.family: comparing(study, c.family) for c in found.contenders}
    rules = dict.fromkeys(rule for named in ended.values() for rule in named)
    if study.sampler.name != "random" or not rules:
        return ()
    whose = ", ".join(family for family, named in ended.items() if named)
    of = "" if all(ended.values()) else f" of {whose}"
    named = ", ".join(f"`{rule}`" for rule in rules)
    return (
        f"What fewer trials{of} would find is not told: {named} ended trials for what others "
        "did, so their values are not those of independent trainings.",
    )


def windows(content: Told) -> Section:
    """What each confirmed winner predicts beside what was measured, in numbers."""
    every = [(shown, piece) for shown in content.windows for piece in shown.pieces]
    lines = [
        {
            "family": shown.family,
            "which": piece.which,
            "record": piece.record,
            "window": f"{piece.row:,} of {piece.rows:,}",
            "from step": f"{piece.start:,}",
            "error": f"{piece.metric} {_error(piece, [p for _, p in every])}",
        }
        for shown, piece in every
    ]
    return Section(
        name="windows",
        title="Predictions beside measurements",
        points=tuple(s.remark for s in content.windows if s.remark),
        table=table(lines, left=("family", "which", "record")) if lines else None,
    )


def _error(piece: Excerpt, every: Sequence[Excerpt]) -> str:
    """A piece's error on the scale of all those in its unit."""
    same = [p.value for p in every if p.unit == piece.unit]
    scale = numbers.scale_for(same, piece.unit)
    return f"{scale.format(piece.value)} {scale.unit}".strip()


def _families(content: Content) -> Section:
    lines = families.cells(content.summary, content.families)
    return Section(
        name="families",
        title="Families in the search",
        texts=(
            "Fresh seeds and test: the best trial trained again, mean ± standard deviation "
            "(number of seeds). Epochs and seconds are those of all trials together.",
        )
        if any(s.fresh for s in content.families)
        else (),
        table=table(lines, left=("family",)),
    )


def _space(content: Content) -> Section:
    return Section(
        name="space",
        title="Hyperparameters",
        points=(
            *map(sentences.important, content.importances),
            *(f"{edge}." for edge in content.edges),
        ),
    )


def _rungs(content: Content) -> Section:
    found = content.summary.fidelity
    if not any(f.correlation is not None for f in found):
        return Section(name="rungs", title="Rungs")
    names = [f.name for f in content.summary.study.families]
    return Section(
        name="rungs",
        title="Rungs",
        texts=(rungs.EXPLAINED,),
        points=tuple(rungs.warnings(found, names)),
        table=table(rungs.cells(found), left=("family", "verdict")),
    )


def _reruns(content: Content) -> Section:
    summary = content.summary
    scale = families.scale_of(summary, content.families)
    lines = [
        {
            "trial": str(r.trial),
            "kind": f"{r.kind}, {r.changed}" if r.changed else r.kind,
            "came out": ("equal" if r.equal else "not equal")
            if r.equal is not None
            else families.mean_and_spread(r.values, scale),
            "test": families.mean_and_spread(r.tests, scale),
            "folder": r.folder,
        }
        for r in content.history.reruns
    ]
    unit = f" [{scale.unit}]" if scale.unit else ""
    texts = (
        f"{summary.objective.metric}{unit} over the validation part, and over the test "
        "part: mean ± standard deviation (number of seeds).",
        sentences.looks(content.history.reads),
    )
    return Section(
        name="reruns",
        title="Re-runs",
        texts=texts if lines else (),
        table=table(lines, left=("kind", "folder")) if lines else None,
    )


def _test_alone(content: Content) -> Section:
    """What re-runs say of the test part that no epoch tells, such as a calibration."""
    lines = [
        {"trial": cells["trial"], "metric": name, "test": value, "in reruns/": folder}
        for cells in further_cells(content.repeats)
        for folder in (cells["in reruns/"],)
        for name, value in cells.items()
        if name not in ("trial", "in reruns/") and value != "–"
    ]
    return Section(
        name="test-alone",
        title="Re-runs: told of the test part alone",
        texts=(
            "Metrics that no epoch has, over the seeds that did not fail: mean ± standard "
            "deviation; of p-values (names that end with _p) the median and the smallest.",
        )
        if lines
        else (),
        table=table(lines, left=("metric", "in reruns/")) if lines else None,
    )


def _paper(content: Content) -> Section:
    return Section(
        name="paper",
        title="For a paper",
        texts=(methods.paragraph(content),),
        blocks=(
            ("paper.tex", methods.table(content)),
            ("references.bib", methods.bibtex(content)),
        ),
    )


def _provenance(content: Content) -> Section:
    rows = [(name, text) for name, text in provenance(content) if text]
    return Section(
        name="provenance",
        title="Provenance",
        table=Table(heads=("what", "value"), rows=rows, kind="wide"),
    )


def provenance(content: Told) -> list[tuple[str, str]]:
    """Facts needed to repeat the run, as far as they were recorded."""
    study, told = content.summary.study, content.provenance
    git = told.get("git")
    known: Mapping[str, Any] = git if isinstance(git, Mapping) else {}
    commit = str(known.get("commit") or "")
    if commit and known.get("dirty"):
        commit += " (with changes that were not committed)"
    argv = told.get("argv")
    budget = study.budget
    return [
        ("run", content.run),
        ("command", _joined(argv)),
        ("study", f"{study.name}, fingerprint {study.fingerprint()}"),
        ("seed", str(study.seed)),
        (
            "budget",
            f"{budget.trials} trials of up to {budget.epochs} epochs, "
            f"{study.resources.executor}",
        ),
        ("sampler", _rule(study.sampler.name, study.sampler.options)),
        ("stopping", "; ".join(_rule(r.name, r.options) for r in study.stopping)),
        ("settings", formats.inline_json(study.settings) if study.settings else ""),
        ("data", formats.inline_json(content.data) if content.data else ""),
        ("commit", commit),
        ("versions", _pairs(told.get("versions"))),
        (
            "machine",
            ", ".join(str(told[k]) for k in ("platform", "cpu") if told.get(k)),
        ),
        ("environment", _pairs(told.get("environment"))),
    ]


def _joined(argv: Any) -> str:
    if not isinstance(argv, list) or not argv:
        return ""
    first, *rest = map(str, argv)
    return " ".join(["hpo" if first.endswith("main.py") else first, *rest])


def _rule(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} {formats.inline_json(options)}" if options else name


def _pairs(values: Any) -> str:
    found = values if isinstance(values, Mapping) else {}
    return ", ".join(f"{k} {v}" for k, v in found.items() if v is not None)


def table(lines: Sequence[Mapping[str, str]], *, left: Sequence[str]) -> Table:
    """A table of lines that all have the same columns.

    Args:
        lines: At least one.
        left: The columns that are not aligned to the right.
    """
    heads = list(lines[0])
    right = frozenset(i for i, head in enumerate(heads) if head not in left)
    return Table(heads=heads, rows=[list(line.values()) for line in lines], right=right)
