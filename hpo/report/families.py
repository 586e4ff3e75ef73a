"""Where each family of a run stands, as frozen data and as rows of a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.report import formats, numbers
from hpo.report.again import Rerun
from hpo.report.summary import Row, Summary


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One family of a run.

    Attributes:
        family: Its name.
        best: Its best ranked trial; None before there is one.
        trials: How many trials it had so far.
        ranked: How many of them are ranked.
        epochs: Epochs it trained, of all trials together.
        epoch_budget: Most epochs of one of its trials.
        seconds: Training and validation of all of them, without compiling.
        fresh: The objective over the validation part of its best trial's configuration,
            trained again with fresh seeds; None for a seed that failed.
        tested: The same over the test part.
    """

    family: str
    best: Row | None
    trials: int
    ranked: int
    epochs: int
    epoch_budget: int
    seconds: float
    fresh: tuple[float | None, ...] = ()
    tested: tuple[float | None, ...] = ()


def standings(summary: Summary, reruns: Sequence[Rerun] = ()) -> tuple[Standing, ...]:
    """Every family of a run, the one with the best trial first.

    Families without a ranked trial come last, in the order of the study.

    Args:
        summary: The whole run.
        reruns: Its re-runs.
    """
    found = []
    for family in summary.study.families:
        rows = [r for r in summary.rows if r.family == family.name]
        ranked = [r for r in rows if r.rank is not None]
        best = min(ranked, key=lambda r: r.rank or 0, default=None)
        # Seeds that a confirmation chose with flatter whom they chose; and one that was
        # changed is another configuration.
        mine = (r for r in reruns if best and r.trial == best.trial)
        again = [r for r in mine if r.kind == "seeds" and not r.changed]
        found.append(
            Standing(
                family=family.name,
                best=best,
                trials=len(rows),
                ranked=len(ranked),
                epochs=sum(r.epochs for r in rows),
                epoch_budget=summary.study.epochs_of(family.name),
                seconds=sum(r.seconds for r in rows),
                fresh=tuple(v for r in again for v in r.values),
                tested=tuple(v for r in again for v in r.tests),
            )
        )
    return tuple(sorted(found, key=_place))


def _place(standing: Standing) -> float:
    best = standing.best
    return float("inf") if best is None or best.rank is None else best.rank


def json_rows(summary: Summary, found: Iterable[Standing]) -> list[dict[str, Any]]:
    """One JSON-able object a family, in plain units.

    Args:
        summary: The run.
        found: Its families.
    """
    objective = summary.objective
    return [
        {
            "family": s.family,
            "trial": s.best.trial if s.best else None,
            "rank": s.best.rank if s.best else None,
            "objective": s.best.objective if s.best else None,
            "metric": objective.metric,
            "unit": objective.unit,
            "trials": s.trials,
            "ranked": s.ranked,
            "epochs": s.epochs,
            "epoch_budget": s.epoch_budget,
            "seconds": round(s.seconds, 3),
            "parameters": s.best.parameters if s.best else None,
            "fresh": list(s.fresh),
            "tested": list(s.tested),
        }
        for s in found
    ]


def cells(summary: Summary, found: Iterable[Standing]) -> list[dict[str, str]]:
    """The families as people read them, a line each.

    Args:
        summary: The run.
        found: Its families.
    """
    families = list(found)
    objective = summary.objective
    scale = scale_of(summary, families)
    head = f"{objective.metric} [{scale.unit}]" if scale.unit else objective.metric
    values = [s.best.objective if s.best else None for s in families]
    again = any(s.fresh for s in families)
    tested = any(s.tested for s in families)
    return [
        {
            "family": s.family,
            head: scale.format(value),
            **({"fresh seeds": mean_and_spread(s.fresh, scale)} if again else {}),
            **({"test": mean_and_spread(s.tested, scale)} if tested else {}),
            "trial": str(s.best.trial) if s.best else "–",
            "trials": str(s.trials),
            "ranked": str(s.ranked),
            "epochs": numbers.count(s.epochs),
            "seconds": numbers.seconds(s.seconds),
            "parameters": numbers.count(s.best.parameters if s.best else None),
        }
        for s, value in zip(families, values, strict=True)
    ]


def scale_of(summary: Summary, families: Iterable[Standing]) -> numbers.Scale:
    """How the objective of the families is printed: one scale for all columns."""
    told: list[float | None] = []
    for s in families:
        told += [s.best.objective if s.best else None, *s.fresh, *s.tested]
    return numbers.scale_for(told, summary.objective.unit)


def mean_and_spread(values: Sequence[float | None], scale: numbers.Scale) -> str:
    """Mean ± standard deviation (number of seeds), as a paper has it.

    Where a seed failed there is no mean, but how many did.

    Args:
        values: One a seed; None for one that failed.
        scale: How they are printed.
    """
    good = [v for v in values if v is not None and math.isfinite(v)]
    if not values:
        return "–"
    if len(good) < len(values):
        return f"{len(values) - len(good)} of {len(values)} failed"
    mean = scale.format(statistics.fmean(good))
    if len(good) == 1:
        return f"{mean} (1)"
    return f"{mean} ± {scale.format(statistics.stdev(good))} ({len(good)})"


def to_csv(summary: Summary, found: Iterable[Standing]) -> str:
    """The families as CSV.

    Args:
        summary: The run.
        found: Its families.
    """
    rows = [
        {**r, **{k: " ".join(map(repr, r[k])) for k in ("fresh", "tested")}}
        for r in json_rows(summary, found)
    ]
    return formats.csv_text(rows, list(rows[0]))


def to_markdown(summary: Summary, found: Iterable[Standing]) -> str:
    """The families as a Markdown table.

    Args:
        summary: The run.
        found: Its families.
    """
    lines = cells(summary, found)
    heads = list(lines[0])
    body = [list(line.values()) for line in lines]
    return formats.markdown_table(heads, body, right={*range(1, len(heads))})
