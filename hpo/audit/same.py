"""One run held against another: the same study, decisions and numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hpo.audit.finding import Finding
from hpo.errors import RunError
from hpo.ledger.events import (
    Ending,
    EpochEvent,
    Event,
    Exploited,
    Paused,
    Proposed,
    Started,
)
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.study import Study

# Where and how fast it ran; of the resources the order of decisions alone counts.
_MANNER = ("resources", "description")
Told = tuple[int, int, str, tuple[Any, ...]]  # line, trial, in words, what is compared


def compare(run: RunFolder, other: RunFolder) -> tuple[int, list[Finding]]:
    """Hold a run against another one.

    Where both have one worker, or are in virtual order, the order of all decisions and epochs
    counts. Else each trial is compared alone, and so is the order in which trials were proposed.

    Args:
        run: The run whose lines are named.
        other: The run that it is to be like.

    Returns:
        How many decisions and epochs were compared, and what differs.

    Raises:
        RunError: One of them is no run, or damaged.
    """
    mine, theirs = _Run(run), _Run(other)
    found = [*_studies(mine, theirs)]
    if found:
        return 0, found
    if mine.ordered and theirs.ordered:
        found = [*_sequences(mine.told, theirs.told)]
    else:
        found = [*_by_trial(mine.told, theirs.told)]
    return len(mine.told), found


class _Run:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.study = Study.from_json(folder.read_study()["study"])
        try:
            events = read_events(folder.events_file)[0]
        except RunError as error:
            raise RunError(
                f"{folder.path} cannot be compared: {error.message}", hint=error.hint
            ) from error
        self.told = [*story(events)]
        resources = self.study.resources
        self.ordered = resources.virtual or resources.seats == 1


def story(events: Sequence[Event]) -> Iterator[Told]:
    """What two runs of one study have in common, whoever trained them and when.

    Args:
        events: A ledger.

    Returns:
        In its order: proposals, epochs, ends, pauses, promotions and exploits, without attempts,
        interruptions, checkpoints, times and words.
    """
    for event in events:
        what: tuple[Any, ...]
        if isinstance(event, Proposed):
            params = json.dumps(event.params, sort_keys=True, default=str)
            what = (event.family, event.number, params, event.seed)
            words = f"proposes {params} of `{event.family}` as trial {event.trial}"
        elif isinstance(event, EpochEvent):
            numbers = repr((sorted(event.train.items()), sorted(event.valid.items())))
            what = (event.epoch, numbers)
            valid = json.dumps(event.valid, default=str)
            words = f"has epoch {event.epoch} of trial {event.trial} with {valid}"
        elif isinstance(event, (Ending, Paused)):
            what = (event.epoch, event.rule or "")
            by = f" by `{event.rule}`" if event.rule else ""
            words = f"has trial {event.trial} {event.event}{by} at epoch {event.epoch}"
        elif isinstance(event, Exploited):
            traced = json.dumps(event.traced, sort_keys=True, default=str)
            what = (event.epoch, event.donor, traced)
            words = f"lets trial {event.trial} adopt trial {event.donor}"
        elif isinstance(event, Started) and event.attempt_of == "promoted":
            what = (event.epoch,)
            words = f"lets trial {event.trial} go on after epoch {event.epoch}"
        else:
            continue
        yield event.n, event.trial, words, (event.event, event.trial, *what)


def _studies(mine: _Run, theirs: _Run) -> Iterator[Finding]:
    a, b = mine.study.to_json(), theirs.study.to_json()
    for family in (*a["families"], *b["families"]):
        family.pop("per_trial", None)
    for name in a:
        if name not in _MANNER and _text(a[name]) != _text(b[name]):
            yield Finding(0, f"they are of different studies: `{name}` differs")
    orders = mine.study.resources, theirs.study.resources
    seats = [r.seats if r.virtual else 0 for r in orders]
    if all(seats) and seats[0] != seats[1]:
        yield Finding(0, f"they have {seats[0]} and {seats[1]} seats, which decides")


def _sequences(mine: Sequence[Told], theirs: Sequence[Told]) -> Iterator[Finding]:
    for (line, _, words, what), (number, _, others, that) in zip(
        mine, theirs, strict=False
    ):
        if what != that:
            yield Finding(line, f"it {words}; line {number} of the other run {others}")
            return
    if len(mine) != len(theirs):
        yield _longer(mine, theirs)


def _longer(mine: Sequence[Told], theirs: Sequence[Told]) -> Finding:
    if len(mine) > len(theirs):
        line, _, words, _ = mine[len(theirs)]
        return Finding(line, f"it {words}; the other run has no more of it")
    number, _, words, _ = theirs[len(mine)]
    last = mine[-1][0] if mine else 0
    return Finding(last, f"nothing follows, and line {number} of the other run {words}")


def _by_trial(mine: Sequence[Told], theirs: Sequence[Told]) -> Iterator[Finding]:
    numbers = sorted({trial for _, trial, _, _ in (*mine, *theirs)})
    for number in numbers:
        yield from _sequences(
            [t for t in mine if t[1] == number], [t for t in theirs if t[1] == number]
        )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
