"""From the runs of `studies.curves` to the one file that `hpo simulate own_curves` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import IntDistribution

from hpo.ledger.folder import RunFolder
from hpo.run.active import how_it_ended
from hpo.simulate import own
from hpo.simulate.tables.own_curves import LAYOUT
from hpo.trials.record import Trial
from models.errors import DataError
from search_spaces.space import Space
from studies.curves.sets import SETS, Recorded

_DIGITS = 5  # of every number; more would only cost bytes


def pack(results: Path, file: Path, *, earlier: Path | None = None) -> None:
    """Write every set that was recorded whole, and those of an earlier file.

    Args:
        results: The folder of runs.
        file: The file to write, an ``.npz``; it may be the earlier one.
        earlier: A packed file, whose sets are taken over as they are, unless they were
            recorded again; or that of a prototype, ``SET/FAMILY/{rmse,seconds}``, without
            configurations, so that a curve's place is all that can be searched.

    Raises:
        UserError: A run is damaged, or the earlier file is of another layout.
    """
    arrays: dict[str, Any] = {}
    sets: dict[str, Any] = {}
    if earlier is not None:
        with np.load(earlier, allow_pickle=False) as found:
            before = {name: found[name] for name in found.files}
        take = _packed if "about" in before else _prototype
        take(before, arrays, sets)
    for recorded in SETS:
        runs = sorted((results / recorded.name).glob("*"))
        if runs and how_it_ended(RunFolder(runs[-1])) is not None:
            record = own.read(RunFolder(runs[-1]))
            stale = [key for key in arrays if key.startswith(f"{recorded.name}/")]
            for key in stale:
                del arrays[key]
            sets[recorded.name] = _described(recorded, record)
            for family in record.study.families:
                found = record.whole(family.name)
                key = f"{recorded.name}/{family.name}"
                arrays |= {f"{key}/{n}": a for n, a in _arrays(found, record)}
    about = json.dumps({"layout": LAYOUT, "sets": sets}, separators=(",", ":"))
    np.savez_compressed(file, about=np.array(about), **arrays)


def _packed(
    before: Mapping[str, Any], arrays: dict[str, Any], sets: dict[str, Any]
) -> None:
    """Take over every set of a file that `pack` wrote."""
    about = json.loads(str(before["about"]))
    if about["layout"] != LAYOUT:
        raise DataError(
            f"the earlier file has layout {about['layout']}, not {LAYOUT}",
            hint="pack it again from its runs",
        )
    sets |= about["sets"]
    arrays |= {name: array for name, array in before.items() if name != "about"}


def _prototype(
    before: Mapping[str, Any], arrays: dict[str, Any], sets: dict[str, Any]
) -> None:
    for key in sorted(k for k in before if k.endswith("/rmse")):
        name, family, _ = key.split("/")
        values, seconds = before[key], before[f"{name}/{family}/seconds"]
        count, epochs = values.shape
        space = Space({"curve": IntDistribution(0, count - 1)})
        described = {
            "chosen_on": True,
            "epochs": epochs,
            "objective": {"metric": "rmse", "direction": "minimize"},
            "families": {},
        }
        about = sets.setdefault(name.removeprefix("own_"), described)
        about["families"][family] = {
            "space": space.to_json(),
            "params": [{"curve": row} for row in range(count)],
        }
        place = f"{name.removeprefix('own_')}/{family}"
        arrays[f"{place}/values"] = values
        arrays[f"{place}/seconds"] = seconds
        arrays[f"{place}/compile"] = np.zeros(count, np.float32)


def _described(recorded: Recorded, record: own.Record) -> dict[str, Any]:
    objective = record.study.objectives[0]
    return {
        "chosen_on": recorded.chosen_on,
        "epochs": record.study.budget.epochs,
        "objective": {"metric": objective.metric, "direction": objective.direction},
        "families": {
            f.name: {
                "space": f.space.to_json(),
                "params": [dict(t.params) for t in record.whole(f.name)],
            }
            for f in record.study.families
        },
    }


def _arrays(trials: list[Trial], record: own.Record) -> Iterator[tuple[str, Any]]:
    """Values and seconds by trial and epoch, NaN behind its end, and seconds of compiling."""
    length = record.study.budget.epochs
    metric = record.study.objectives[0].metric
    values = np.full((len(trials), length), np.nan, dtype=np.float32)
    seconds = np.full_like(values, np.nan)
    for row, trial in enumerate(trials):
        for number, epoch in trial.epochs.items():
            values[row, number - 1] = _short(epoch.valid[metric])
            seconds[row, number - 1] = _short(epoch.seconds)
    yield "values", values
    yield "seconds", seconds
    yield "compile", np.array([_short(t.compile_seconds) for t in trials], np.float32)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
