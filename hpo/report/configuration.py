"""A trial's whole configuration, and its forms for programs: Python, JSON and YAML."""

from __future__ import annotations

import json
import pprint
from collections.abc import Mapping
from typing import Any

from hpo.ledger.folder import RunFolder
from hpo.report import formats
from hpo.report.summary import Row, Summary
from hpo.schedule import written


def configuration(summary: Summary, row: Row) -> dict[str, Any]:
    """Every key of the first epoch: as the learner resolved it, else what the space gives.

    Args:
        summary: The trial's run.
        row: The trial.
    """
    values = _resolved(RunFolder(summary.folder), row.trial)
    if values is not None:
        return values
    return {**summary.study.settings, **summary.space(row).complete(row.params)}


def training(summary: Summary, row: Row) -> dict[str, Any]:
    """The configuration and, where values change in training, the `schedule` beside it.

    Args:
        summary: The trial's run.
        row: The trial.
    """
    schedule = {"schedule": written(row.schedule)} if row.schedule else {}
    return configuration(summary, row) | schedule


def as_python(values: Mapping[str, Any]) -> str:
    """A `dict` literal that Python reads back as the same values."""
    return pprint.pformat(dict(values), width=88, sort_dicts=False) + "\n"


def as_json(values: Mapping[str, Any]) -> str:
    """Strict JSON; NaN and infinities become null."""
    return formats.json_text(dict(values))


def as_yaml(values: Mapping[str, Any]) -> str:
    """A YAML mapping, in the configuration's own order."""
    import yaml

    plain = dict(values)
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=88))


def _resolved(folder: RunFolder, trial: int) -> dict[str, Any] | None:
    path = folder.config_file(trial)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not started yet, or damaged: the space knows it, too
    return values if isinstance(values, dict) and values else None
