"""The folder of a re-run: made, found again while it is unfinished, and finished.

It is a run's folder like any other. Its ``study.json`` says whose re-run it is, and once there
is a ``result.json`` nothing is left to do. Earlier versions wrote nothing but the latter.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.errors import RunError
from hpo.ledger.folder import RunFolder, write_atomically
from hpo.pasted import pasted
from hpo.report.formats import json_text
from hpo.run.sources import Sources
from hpo.study import Study


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A re-run, or a stage of a confirmation, as a person asked for it.

    Attributes:
        kind: ``exact`` or ``seeds``; ``choose`` or ``confirm`` for a confirmation.
        trials: Whose configurations are trained again.
        seeds: How many fresh seeds each gets; 0 for none.
        details: What else was asked for, JSON-able.
    """

    kind: Literal["exact", "seeds", "choose", "confirm"]
    trials: tuple[int, ...]
    seeds: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called."""
        return "confirmation" if self.kind in ("choose", "confirm") else "re-run"

    def to_json(self) -> dict[str, Any]:
        """The entry `rerun` of ``study.json``."""
        return {
            "parent": "../..",
            "kind": self.kind,
            "trials": [*self.trials],
            "seeds": self.seeds,
            **self.details,
        }


def continued(
    parent: RunFolder, wanted: Wanted, study: Study, *, finished: bool = False
) -> RunFolder | None:
    """The newest unfinished re-run of these very trials, or None.

    Args:
        parent: The run.
        wanted: What is asked for.
        study: The study that a new re-run would have.
        finished: Whether one that is finished counts, too.
    """
    for folder in parent.children():
        if folder.result_file.exists() and not finished:
            continue
        try:
            record = folder.read_study()
        except RunError:
            continue
        if record.get("rerun") == wanted.to_json() and _fixed(study) == [
            *record["study"].get("fixed", ())
        ]:
            return folder
    return None


def prepared(
    parent: RunFolder,
    wanted: Wanted,
    study: Study,
    sources: Sources,
    about: Mapping[str, Any],
) -> RunFolder:
    """Make the folder of a new re-run.

    Args:
        parent: The run.
        wanted: What is asked for.
        study: The study of the re-run.
        sources: The run's own.
        about: The provenance of this process.

    Raises:
        RunError: The disk is full or the folder is read-only.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    trial = f"{wanted.trials[0]:04d}" + ("-and-more" if wanted.trials[1:] else "")
    name, copy = f"{stamp}-{wanted.kind}-{trial}", 1
    while (parent.reruns / name).exists():
        copy += 1
        name = f"{stamp}-{wanted.kind}-{trial}-{copy}"
    folder = RunFolder(parent.reruns / name)
    extra = {**sources.to_json(), "rerun": wanted.to_json()}
    folder.write_study(study, provenance=about, extra=extra)
    return folder


def finish(folder: RunFolder, results: Sequence[Mapping[str, Any]]) -> None:
    """Write down what came of a re-run; it is finished then.

    Args:
        folder: The re-run.
        results: One JSON-able object a trial.
    """
    write_atomically(folder.result_file, json_text(results).encode())


def at_work(folder: RunFolder) -> RunFolder:
    """The re-run of a run that is being trained just now, or the run itself.

    Args:
        folder: The run; who re-runs its trials holds it, too.

    Raises:
        RunError: The folder is missing, or neither to be written to nor read.
    """
    if not folder.reruns.is_dir() or not folder.held():
        return folder
    return next((found for found in folder.children() if found.held()), folder)


def command(folder: RunFolder) -> str:
    """The command that goes on with an unfinished run or re-run.

    Args:
        folder: Where it lies.
    """
    try:
        wanted = json.loads(folder.study_file.read_text()).get("rerun")
    except (OSError, ValueError):
        wanted = None
    if not wanted:
        return pasted("resume", folder.path)
    parent, trials = Path(folder.path).parent.parent, wanted["trials"]
    if wanted["kind"] in ("choose", "confirm"):
        more = f" --extend {wanted['seeds']}" if wanted.get("look", 0) > 1 else ""
        return pasted("confirm", parent) + more
    trials = wanted.get("among", trials)
    which = f"--trial {trials[0]}" if len(trials) == 1 else f"--top {len(trials)}"
    how = "--exact" if wanted["kind"] == "exact" else f"--seeds {wanted['seeds']}"
    if wanted.get("epochs"):
        how += f" --epochs {wanted['epochs']}"
    for key, value in (wanted.get("settings") or {}).items():
        how += f" --set {shlex.quote(f'{key}={json.dumps(value)}')}"
    return f"{pasted('rerun', parent)} {which} {how}"


def _fixed(study: Study) -> list[Any]:
    """A study's fixed trials as JSON gives them back."""
    plain: list[Any] = json.loads(json.dumps(study.to_json()["fixed"], default=str))
    return plain
