"""A run as TensorBoard event files: one log a trial, with curves and hyperparameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpo.export.source import Source
from hpo.report.configuration import configuration
from hpo.report.summary import Row


def write(source: Source, path: Path) -> None:
    """Write a folder ``trial-0001-FAMILY`` for each trial.

    Every number of every epoch is a scalar, ``train/NAME`` or ``valid/NAME`` at its epoch
    and time. The configuration and the best value make the page of hyperparameters.

    Args:
        source: The run.
        path: An empty folder, or one that is not there yet.
    """
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    for row in source.summary.rows:
        folder = path / f"trial-{row.trial:04d}-{row.family}"
        writer = SummaryWriter(str(folder), write_to_disk=True)
        try:
            for summary in hparams(_given(source, row), _result(source, row)):
                writer.file_writer.add_summary(
                    summary, walltime=source.started.get(row.trial)
                )
            for number, epoch in sorted(source.epochs[row.trial].items()):
                time = source.reported[row.trial][number]
                for part, values in (("train", epoch.train), ("valid", epoch.valid)):
                    for name, value in values.items():
                        writer.add_scalar(
                            f"{part}/{name}", value, number, walltime=time
                        )
            if row.objective is not None:
                metric = source.summary.objective.metric
                writer.add_scalar(f"best/{metric}", row.objective, row.best_epoch)
        finally:
            writer.close()


def _given(source: Source, row: Row) -> dict[str, Any]:
    """The configuration in the types that TensorBoard knows: numbers, texts, truths."""
    values = {
        "family": row.family,
        "seed": row.seed,
        **configuration(source.summary, row),
    }
    return {
        key: value
        if isinstance(value, (bool, int, float, str))
        else json.dumps(value, default=str)
        for key, value in values.items()
    }


def _result(source: Source, row: Row) -> dict[str, float]:
    """The scalar that the page of hyperparameters shows."""
    metric = source.summary.objective.metric
    return {f"best/{metric}": 0.0 if row.objective is None else row.objective}
