"""Checkpoints and excerpts beside a ledger: readable, and of the epochs that it tells of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from hpo.audit.finding import Finding
from hpo.errors import RunError
from hpo.ledger import excerpts
from hpo.ledger.events import CheckpointEvent, EpochEvent, Evaluated, Event
from hpo.ledger.folder import RunFolder
from hpo.trials.record import Trial
from hpo.worker import epochs as records
from hpo.worker import session
from models.training.protocol import Epoch

_ATTEMPT = re.compile(r"attempt-([1-9]\d*)")
_LONGEST = 100 << 20  # bytes of a header that safetensors itself would refuse


class Saved:
    """Reads what is kept of a run's trials.

    Args:
        folder: The run.
        trials: What its ledger amounts to.
        events: Its ledger.
        kept: The numbers of the ended trials whose checkpoints stay.

    Attributes:
        checkpoints: How many were read.
        excerpts: How many files of excerpts were read.
        gone: How many kept trials have no checkpoint any more.
    """

    def __init__(
        self,
        folder: RunFolder,
        trials: Mapping[int, Trial],
        events: Sequence[Event],
        *,
        kept: Set[int],
    ) -> None:
        self._folder = folder
        self._trials = trials
        self._kept = kept
        self._lines: dict[tuple[int, int], int] = {}  # of an attempt's last checkpoint
        self._told: dict[tuple[int, int], int] = {}  # of an epoch
        self._evaluated: dict[int, int] = {}
        for event in events:
            if isinstance(event, CheckpointEvent):
                self._lines[event.trial, event.attempt or 0] = event.n
            elif isinstance(event, EpochEvent):
                self._told.setdefault((event.trial, event.epoch), event.n)
            elif isinstance(event, Evaluated):
                self._evaluated[event.trial] = event.n
        self.checkpoints = self.excerpts = self.gone = 0

    def findings(self) -> Iterator[Finding]:
        """Everything that is damaged, or of other epochs than the ledger's."""
        for trial in self._trials.values():
            found = self._attempts(trial)
            whole = {
                n: path for n, path in found.items() if session.has_checkpoint(path)
            }
            for attempt, place in whole.items():
                line = self._lines.get((trial.number, attempt), 0)
                yield from self._checkpoint(trial, attempt, place, line)
            if trial.number in self._kept and not whole:
                yield from self._lost(trial, bool(found))
            path = self._folder.excerpts_file(trial.number)
            try:
                self.excerpts += excerpts.read(path) is not None
            except RunError as error:
                yield Finding(self._evaluated.get(trial.number, 0), error.message)

    def _attempts(self, trial: Trial) -> dict[int, Path]:
        """The folders of a trial's attempts."""
        place = self._folder.trial(trial.number)
        found = sorted(place.iterdir()) if place.is_dir() else ()
        matched = ((_ATTEMPT.fullmatch(path.name), path) for path in found)
        return {int(match[1]): path for match, path in matched if match}

    def _lost(self, trial: Trial, half: bool) -> Iterator[Finding]:
        """A checkpoint that ought to be there: deleted as a whole, or in part."""
        lines = [n for (number, _), n in self._lines.items() if number == trial.number]
        if not lines:
            return  # the learner saves none
        self.gone += 1
        if half:
            text = f"the checkpoint of trial {trial.number} lacks `{records.SAVED}`"
            yield Finding(lines[-1], f"{text}: it is not whole")

    def _checkpoint(
        self, trial: Trial, attempt: int, place: Path, line: int
    ) -> Iterator[Finding]:
        self.checkpoints += 1
        whose = f"the checkpoint of attempt {attempt} of trial {trial.number}"
        try:
            kept = records.read(place)
        except (OSError, ValueError, TypeError) as error:
            if not session.has_checkpoint(place):
                return  # a driver at work has just deleted it
            why = str(error) or type(error).__name__
            yield Finding(line, f"{whose}: {records.FILE} cannot be read ({why})")
            return
        for file in sorted(place.iterdir()):
            why = _damage(file)
            if why:
                yield Finding(line, f"{whose}: {file.name} {why}")
        if attempt >= trial.since:
            yield from self._records(trial, kept, whose)

    def _records(
        self, trial: Trial, kept: Mapping[int, Epoch], whose: str
    ) -> Iterator[Finding]:
        """The epochs beside a checkpoint are those of the ledger, to the last bit."""
        for number, epoch in kept.items():
            known = trial.epochs.get(number)
            if known is None or number in trial.unequal:
                continue  # trained ahead; or it came out differently, which is told
            if not _equal(known, epoch):
                line = self._told.get((trial.number, number), 0)
                text = f"epoch {number} of trial {trial.number} has other numbers than "
                yield Finding(line, f"{text}{whose}")


def _equal(a: Epoch, b: Epoch) -> bool:
    return repr((sorted(a.train.items()), sorted(a.valid.items()))) == repr(
        (sorted(b.train.items()), sorted(b.valid.items()))
    )


def _damage(file: Path) -> str:
    """Why a file of a known kind is not whole; empty where it is, or nobody can say."""
    try:
        if file.suffix == ".safetensors":
            return _safetensors(file)
        if file.suffix == ".json":
            json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        return f"cannot be read ({str(error) or type(error).__name__})"
    return ""


def _safetensors(file: Path) -> str:
    """Whether header and length fit; arrays are not looked at."""
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST):
            return f"is cut off: {size} bytes are less than its header"
        header = json.loads(content.read(length))
    ends = [
        entry["data_offsets"][1]
        for name, entry in header.items()
        if name != "__metadata__"
    ]
    whole = 8 + length + max(ends, default=0)
    return "" if size == whole else f"has {size} bytes, and its header says {whole}"
