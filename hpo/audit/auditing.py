"""A run's audit: from its folder to findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hpo.audit.decided import Decisions
from hpo.audit.finding import Audit, Finding
from hpo.audit.saved import Saved
from hpo.errors import RunError
from hpo.ledger.events import EpochEvent, Event, RunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import UNREADABLE, read_event
from hpo.run.retention import KEPT, Retention
from hpo.study import Study
from hpo.trials.record import Trial


def audit(folder: RunFolder) -> Audit:
    """Look at everything that a run says.

    Args:
        folder: The run; a driver may be at work on it.

    Raises:
        RunError: The folder is no run, or its files cannot be opened.
        StudyError: Its study cannot be directed any more.
    """
    found = Audit()
    study = Study.from_json(folder.read_study()["study"])
    events = _read(folder, found)
    decisions = Decisions(study, events)
    found.findings += decisions.findings()
    trials = decisions.director.trials
    kept = Saved(folder, trials, events, kept=_kept(study, trials))
    found.findings += kept.findings()
    found.findings.sort()
    epochs = sum(isinstance(e, EpochEvent) for e in events)
    order = study.resources.order
    found.looked |= {
        "ledger": f"{len(events)} lines",
        "trials": f"{len(trials)}: {_states(trials)}",
        "decisions": f"{decisions.taken} taken once more ({order} order), "
        f"{decisions.facts} ends and interruptions that workers told",
        "epochs": f"{epochs}",
        "checkpoints": f"{kept.checkpoints} read, {kept.excerpts} files of excerpts",
    }
    if kept.gone:
        found.remarks.append(f"{kept.gone} of the best trials have no checkpoint here")
    drivers = [e for e in events if isinstance(e, RunEvent)]
    if not drivers or drivers[-1].action != "finish":
        found.remarks.append(
            "the run has not finished: what it says so far was looked at"
        )
    return found


def _read(folder: RunFolder, found: Audit) -> list[Event]:
    """The lines up to the first that cannot be read.

    Raises:
        RunError: There is no ledger.
    """
    path, events = folder.events_file, []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RunError(
            f"cannot read {path}: {error.strerror or error}",
            hint="`hpo list runs` shows what there is",
        ) from error
    for number, line in enumerate(lines, 1):
        try:
            events.append(read_event(line, number))
        except UNREADABLE as error:
            if number == len(lines) and not line.endswith(b"\n"):
                found.remarks.append(
                    f"the last line was torn after {len(line)} bytes; `hpo resume` mends it"
                )
            else:
                text = f"it cannot be read: {str(error) or type(error).__name__}"
                found.findings.append(Finding(number, text))
            break
    return events


def _kept(study: Study, trials: Mapping[int, Trial]) -> set[int]:
    """The ended trials whose checkpoints stay while the run is at work, carried ones aside."""
    kept = max(KEPT, len(study.fixed))
    retention = Retention(study.objectives, trials.values(), kept=kept)
    best = (t for f in study.families for t in retention.of(f.name))
    return {t.number for t in best if t.origin != "carried"}


def _states(trials: Mapping[int, Trial]) -> str:
    counts = Counter(str(trial.state) for trial in trials.values())
    return ", ".join(f"{n} {state}" for state, n in counts.items()) or "none"
