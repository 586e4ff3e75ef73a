"""A person's remark on a run or a trial, kept where everything else about it is kept."""

from __future__ import annotations

from hpo.errors import RunError, StudyError
from hpo.ledger.events import Event, Note, Proposed
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger


def add_note(folder: RunFolder, text: str, *, trial: int | None = None) -> Note:
    """Append a `note` to the ledger of a run that no driver holds; decides nothing.

    Args:
        folder: The run.
        text: The remark; runs of white space become one blank.
        trial: The trial it is about; None for the run.

    Returns:
        The event as the ledger holds it.

    Raises:
        StudyError: The text is empty or not printable.
        RunLocked: A driver is at work on the run.
        RunError: There is no such trial, or the ledger is damaged or cannot be written.
    """
    clean = " ".join(text.split())
    if not clean:
        raise StudyError("a note needs a text", hint='`hpo note RUN "what I think"`')
    if not clean.isprintable():
        raise StudyError(f"a note must be printable text, got {clean!r}")
    with folder.acquire():
        folder.read_study()
        trials: set[int | None] = set()

        def told(event: Event) -> None:
            if isinstance(event, Proposed):
                trials.add(event.trial)

        with Ledger.open(folder.events_file, write=True, told=told) as ledger:
            if trial is not None and trial not in trials:
                raise RunError(
                    f"the run has no trial {trial}",
                    hint=f"trials 1 … {len(trials)}; see `hpo results`",
                )
            note = Note(trial=trial, elapsed=ledger.elapsed, text=clean)
            return ledger.append(note)
