"""A family's best model in a folder of its own, to be handed on: ``best/FAMILY/``.

It holds the checkpoint, the whole configuration, what the data was normalised with, a model
card, and an example that loads it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import packages
from hpo.confirmation.reading import load_confirmation
from hpo.confirmation.record import Confirmation
from hpo.confirmation.sentences import about, verdict_sentence
from hpo.errors import RunError
from hpo.ledger.folder import RunFolder, write_atomically
from hpo.pasted import pasted
from hpo.report import formats, numbers
from hpo.report.configuration import training
from hpo.report.summary import Row, Summary
from hpo.run.sources import Sources
from hpo.run.trained_model import checkpoint

_EXAMPLE = """import hpo

model = hpo.load_model({run!r}, {trial})
print(model.family, model.objective, model.config)
# {how}
"""


def save_best(summary: Summary, *, family: str | None = None) -> list[Path]:
    """Write ``best/FAMILY/`` for each family, or for one.

    A confirmed family's model is its candidate, any other's its best-ranked trial.

    Args:
        summary: The run.
        family: Only this family.

    Returns:
        The folders.

    Raises:
        RunError: No trial is ranked, its checkpoint is gone, or the disk refuses.
    """
    confirmed = load_confirmation(summary.folder, summary=summary)
    rows = _rows(summary, confirmed, family)
    if not rows:
        of = f"family `{family}`" if family else "the run"
        raise RunError(
            f"no trial of {of} is ranked, so there is no model to save",
            hint="only completed and converged trials are; see `hpo results`",
        )
    places = {row.family: checkpoint(RunFolder(summary.folder), row) for row in rows}
    sources = Sources.from_json(RunFolder(summary.folder).read_study())
    normalisation = packages.normalisation(packages.same_layout(sources.data))
    return [
        _write(summary, row, places[row.family], normalisation, confirmed)
        for row in rows
    ]


def _rows(
    summary: Summary, confirmed: Confirmation | None, family: str | None
) -> list[Row]:
    best: dict[str, Row] = {}
    for row in summary.select(family=family).rows:
        if row.rank is not None:
            best.setdefault(row.family, row)
    for contender in confirmed.contenders if confirmed else ():
        if contender.family in best:
            best[contender.family] = summary.row(contender.winner.trial)
    return list(best.values())


def _write(
    summary: Summary,
    row: Row,
    source: Path,
    normalisation: Mapping[str, Any] | None,
    confirmed: Confirmation | None,
) -> Path:
    place = summary.folder / "best" / row.family
    fresh = place.with_name(f".{row.family}")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh / "checkpoint")
        files = {
            "configuration.json": formats.json_text(training(summary, row)),
            "README.md": card(summary, row, confirmed),
            "load.py": _example(summary, row),
        }
        if normalisation is not None:
            files["normalisation.json"] = formats.json_text(normalisation)
        for name, text in files.items():
            write_atomically(fresh / name, text.encode())
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise RunError(
            f"cannot write {place}: {error.strerror}",
            hint="free some space, or check the permissions",
        ) from error
    return place


def _schedule(row: Row) -> str:
    """How its values changed in training, in words; empty where they did not."""
    found = [f"`{c.traced}` after epoch {c.after}" for c in row.schedule]
    return "; ".join(["values changed: " + found[0], *found[1:]]) if found else ""


def _example(summary: Summary, row: Row) -> str:
    described = summary.study.described_task
    how = "its learner says how it predicts"
    if described:
        takes = ", ".join(packages.task(described).takes)
        how = f"model.predict(given) takes arrays of {takes} in the units of the data"
    return _EXAMPLE.format(run=str(summary.folder.resolve()), trial=row.trial, how=how)


def card(summary: Summary, row: Row, confirmed: Confirmation | None) -> str:
    """What somebody who is handed the model should know, in Markdown.

    Args:
        summary: The run.
        row: The trial.
        confirmed: Its confirmation, where there is one.
    """
    study, objective = summary.study, summary.objective
    scale = numbers.scale_for([row.objective], objective.unit)
    value = f"{scale.format(row.objective)} {scale.unit}".strip()
    data = (
        study.data if isinstance(study.data, str) else formats.inline_json(study.data)
    )
    task = dict(study.described_task)
    facts = {
        "family": row.family,
        "run": f"`{summary.folder}`, trial {row.trial}, rank {row.rank or '–'}",
        "task": f"`{formats.inline_json(task)}`" if task else "",
        "data": f"`{data}`",
        f"{objective.metric} (validation, of the search)": value,
        "trained": f"epoch {row.best_epoch} of {row.epochs}, seed {row.seed}",
        "parameters": numbers.count(row.parameters),
        "schedule": _schedule(row),
    }
    lines = [f"# {row.family} of {study.name}", ""]
    lines += [f"- {name}: {text}" for name, text in facts.items() if text]
    lines += ["", "## How sure is that?", ""]
    if confirmed is None or not confirmed.look:
        lines.append(
            "Nothing is settled: one lucky training per configuration. "
            f"`{pasted('confirm', summary.folder)}` trains it with new seeds."
        )
    else:
        mine = [p for p in confirmed.pairs if row.family in (p.a, p.b)]
        told = [*(verdict_sentence(confirmed, p) for p in mine), *about(confirmed)]
        lines += [f"- {text}" for text in told]
    lines += [
        "",
        "## What is here",
        "",
        "`checkpoint/` is of this very training. `configuration.json` is whole, "
        "`normalisation.json` has mean and standard deviation of the train part by role, "
        "`load.py` loads it (the run and its data must be there).",
    ]
    return "\n".join(lines) + "\n"
