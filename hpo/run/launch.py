"""Launching and resuming a run: from a `Study` to an `Outcome`, whatever happens between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpo.run.observer import Observer
from hpo.run.ship import Create
from hpo.study import Study

Prepare = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a launch or a resume ended.

    Attributes:
        state: ``finished``, ``time`` (a limit of the budget was reached; also final), or
            ``interrupted`` (can be resumed).
        folder: The run's folder.
        study: The study that ran, resolved.
        reason: In words; empty when finished.
    """

    state: Literal["finished", "time", "interrupted"]
    folder: Path
    study: Study
    reason: str = ""


def launch(
    study: Study,
    *,
    results: Path | str = "results",
    data_root: Path | str | None = None,
    source: str | None = None,
    study_file: Path | None = None,
    prepare: Prepare | None = None,
    create: Create | Mapping[str, Create] | None = None,
    observer: Observer | None = None,
    gpus: int | None = None,
) -> Outcome:
    """Run a study in a new folder under `results`, until it is done or interrupted.

    Args:
        study: What to run. Unset resources are resolved and written down.
        results: Where run folders are made.
        data_root: Where real datasets lie (``--data``); recorded for `resume`.
        source: What the person named the study by (a name or a path); recorded.
        study_file: The study file, whose hash `resume` compares; None for a study
            made in a script.
        prepare: ``prepare(data, root=...)`` gives the JSON-able data reference; None
            means `hpo.discovery.prepare_data` for text and mappings with a name or
            path, and the data as it is otherwise.
        create: Replaces the families' `create`: one callable, or one by family.
        observer: Is told what happens.
        gpus: How many GPUs there are; None counts them.

    Raises:
        UserError: Something in the study, the data or the machine does not fit.
    """
    raise NotImplementedError


def resume(
    folder: Path | str,
    *,
    allow_different: bool = False,
    current: Study | None = None,
    data_root: Path | str | None = None,
    prepare: Prepare | None = None,
    create: Create | Mapping[str, Create] | None = None,
    observer: Observer | None = None,
    gpus: int | None = None,
) -> Outcome:
    """Go on with an interrupted run, with the settings of its launch.

    Args:
        folder: The run's folder.
        allow_different: Go on although the space, the data or the study file changed.
        current: The study as its file describes it today, to compare spaces with; None
            compares the study file's hash and the data only.
        data_root: Where real datasets lie; None means as at the launch.
        prepare: As in `launch`.
        create: As in `launch`; needed when the study was made in a script.
        observer: Is told what happens.
        gpus: How many GPUs there are; None counts them.

    Raises:
        ResumeRefused: Something changed since the launch; says what.
        RunLocked: Another driver is at work on this run.
        UserError: The folder or its ledger is damaged, or the data is gone.
    """
    raise NotImplementedError
