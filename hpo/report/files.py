"""The derived files of a run's `report/` folder; all of them can be written again."""

from __future__ import annotations

from pathlib import Path

from hpo.ledger.folder import RunFolder, write_atomically
from hpo.report import formats, numbers, rungs
from hpo.report.summary import Summary


def write_report(summary: Summary) -> Path:
    """Write ``leaderboard.json``, ``leaderboard.csv``, ``rungs.json`` and ``report.md``.

    Args:
        summary: The whole run.

    Returns:
        The folder they are in.

    Raises:
        OSError: The disk is full or the folder is read-only.
    """
    folder = RunFolder(summary.folder).report
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("leaderboard.json", formats.to_json(summary)),
        ("leaderboard.csv", formats.to_csv(summary)),
        ("rungs.json", formats.json_text(rungs.json_rows(summary.fidelity))),
        ("report.md", markdown(summary)),
    ):
        write_atomically(folder / name, text.encode())
    return folder


def markdown(summary: Summary) -> str:
    """The run in a page of Markdown: what ran, how it went, the ranked table."""
    study, objective = summary.study, summary.objective
    counts = ", ".join(f"{n} {state}" for state, n in summary.counts().items())
    unit = f" [{objective.unit}]" if objective.unit else ""
    data = (
        study.data if isinstance(study.data, str) else formats.inline_json(study.data)
    )
    facts = [
        f"- run: `{RunFolder(summary.folder).name}`",
        f"- families: {', '.join(f.name for f in study.families)}",
        f"- data: `{data}`",
        f"- objective: {objective.metric}{unit}, {objective.direction}",
        f"- budget: {summary.planned} trials of up to {study.budget.epochs} epochs",
        f"- sampler: {study.sampler.name}; stopping: "
        + (", ".join(r.name for r in study.stopping) or "none"),
        f"- seed: {study.seed}",
        f"- trials: {counts or 'none'}",
        f"- active time: {numbers.duration(summary.elapsed)}",
    ]
    notes = [f"> {note}\n" for note in summary.notes]
    return "\n".join(
        [
            f"# {study.name}\n",
            *([f"{study.description}\n"] if study.description else []),
            *facts,
            "",
            formats.to_markdown(summary),
            *notes,
            *_rungs(summary),
        ]
    )


def _rungs(summary: Summary) -> list[str]:
    """The rungs held against the end, where any family has trials enough to say."""
    if not any(f.correlation is not None for f in summary.fidelity):
        return []
    lines = rungs.cells(summary.fidelity)
    heads = list(lines[0])
    body = [list(line.values()) for line in lines]
    right = {i for i, head in enumerate(heads) if head not in ("family", "verdict")}
    families = [f.name for f in summary.study.families]
    warned = [f"> {text}\n" for text in rungs.warnings(summary.fidelity, families)]
    return [
        "## Rungs\n",
        rungs.EXPLAINED,
        "",
        formats.markdown_table(heads, body, right=right),
        *warned,
    ]
