"""Several searches of one study with seeds of their own: what a claim about families needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from hpo import seeds
from hpo.errors import ResumeRefused, StudyError
from hpo.ledger.folder import RunFolder
from hpo.ledger.group import RunGroup
from hpo.run.attach import Attach
from hpo.run.launch import Outcome, launch, resume
from hpo.run.observer import Observer
from hpo.study import Study

MOST = 100  # searches in a group


def begin(
    study: Study,
    count: int,
    *,
    results: Path | str,
    data_root: Path | None,
    source: str | None,
    study_file: Path | None,
) -> RunGroup:
    """Make a group; `carry_on` trains it.

    Args:
        study: What is searched; the first search has its very seed.
        count: How many searches.
        results: Where runs lie.
        data_root: Where real datasets lie.
        source: What the person named the study by.
        study_file: The study file.

    Raises:
        StudyError: So many searches make no group.
    """
    if not 2 <= count <= MOST:
        raise StudyError(
            f"`--repeat` is from 2 to {MOST} searches, got {count}",
            hint="a verdict on families needs 5",
        )
    if study.fixed:
        raise StudyError(
            f"study `{study.name}` names its trials, so that every search would be the same",
            hint="leave `--repeat` out",
        )
    own = [
        study.seed,
        *(seeds.derive(study.seed, "repeat", i) for i in range(1, count)),
    ]
    path = None if study_file is None else str(Path(study_file).absolute())
    about = {
        "data_root": None if data_root is None else str(Path(data_root).absolute()),
        "source": source,
        "study_file": path,
        "sha256": _digest(path),
    }
    return RunGroup.create(results, study, own, about=about)


def carry_on(
    group: RunGroup,
    *,
    observe: Callable[[Study], AbstractContextManager[Observer]],
    told: Callable[[Outcome, int, int], None],
    allow_different: bool = False,
    attach: Attach | None = None,
) -> Outcome:
    """Run every search of a group that is left, one after the other.

    Args:
        group: The group.
        observe: Gives an observer of a search.
        told: Is told how each ended, its place from 1, and how many there are.
        allow_different: Go on although the study file changed.
        attach: The cluster to work on; None for this machine.

    Returns:
        How the last search ended that ran: the group goes on later where that was interrupted.

    Raises:
        ResumeRefused: The study file changed and searches of it are left.
        RunLocked: Another driver is at work on the group.
        UserError: As `launch` and `resume` raise it.
    """
    record = group.record
    about, study = record["about"], Study.from_json(record["study"])
    own = group.seeds
    with RunFolder(group.path).acquire():
        known = group.members()
        same = about["sha256"] == _digest(about["study_file"])
        if len(known) < len(own) and not same and not allow_different:
            raise ResumeRefused(
                f"the study file {about['study_file']} changed since the group began",
                hint="undo the change, or go on nevertheless with `--allow-different`",
            )
        outcome: Outcome | None = None
        for index, seed in enumerate(own):
            mine = study.replace(seed=seed)
            with observe(mine) as observer:
                if index in known:
                    outcome = resume(
                        known[index].path,
                        allow_different=allow_different,
                        observer=observer,
                        attach=attach,
                    )
                else:
                    outcome = launch(
                        mine,
                        results=group.results,
                        data_root=about["data_root"],
                        source=about["source"],
                        study_file=_path(about["study_file"]),
                        observer=observer,
                        extra=group.mark(index),
                        attach=attach,
                    )
            told(outcome, index + 1, len(own))
            if outcome.state == "interrupted":
                break
    assert outcome is not None, "a group has searches"
    return outcome


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _digest(path: str | None) -> str:
    try:
        return (
            "" if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
        )
    except OSError:
        return ""
