"""Going on with a run that has had what it was launched with: more of it, or something new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from msgspec import UNSET

from hpo.chaos import Chaos
from hpo.check.traced import refuse_static
from hpo.director import Director, replay
from hpo.errors import RunError, StudyError
from hpo.ledger.events import Event, Extended, Reopened
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger, read_events
from hpo.run.active import ActiveRun, Outcome, refuse_lost_ledger
from hpo.run.attach import Attach
from hpo.run.launch import refuse_faults
from hpo.run.left import refuse_idle, refuse_spent, taken_up
from hpo.run.machine import about, machine_for
from hpo.run.observer import Guarded, Observer, Silent
from hpo.run.sources import Prepare, Sources, as_run, creates_of, refuse_changes
from hpo.stopping.population import exploiting
from hpo.study import Family, Study
from hpo.tasks import with_task
from hpo.worker.pickling import Create
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a run gets beyond what it was launched with.

    Attributes:
        trials: How many trials more.
        total_epochs: The new limit on the epochs of all trials together.
        seconds: How many active seconds more, from what the run has used.
        families: Families that join.
        spaces: Other spaces of families that are there, by name.
    """

    trials: int = 0
    total_epochs: int | None = None
    seconds: float | None = None
    families: tuple[Family, ...] = ()
    spaces: Mapping[str, Space] = field(default_factory=dict)

    def applied(self, study: Study, director: Director) -> tuple[Study, list[str]]:
        """The study from now on, and what is new of it in words.

        Args:
            study: The study until now, resolved.
            director: What became of it.

        Raises:
            StudyError: There is nothing new, no family would get the trials, a limit is
                reached already, or the trials are a population that is not to change.
        """
        self._refuse_other_population(study)
        self._refuse_known_families(study)
        said = [*self._budget_said(study, director)]
        budget = study.budget
        seconds = budget.seconds
        if self.seconds is not None:
            seconds = director.elapsed + self.seconds
        brought = sum(family.trials or 0 for family in self.families)
        changed = replace(
            budget,
            trials=sum(study.trials_of().values()) + self.trials + brought,
            total_epochs=self.total_epochs or budget.total_epochs,
            seconds=seconds,
        )
        families = tuple(
            replace(f, space=self.spaces.get(f.name, f.space)) for f in study.families
        )
        said += [*self._spaces_said(study, director)]
        said += [f"family `{family.name}` joins" for family in self.families]
        if not said:
            raise StudyError(
                "there is nothing to extend the run by",
                hint="`--trials +20`, `--epochs-total N`, `--time-budget 30m` or "
                "`--families x`",
            )
        extended = study.replace(budget=changed, families=(*families, *self.families))
        self._refuse_trials_of_nobody(extended)
        self._refuse_smaller_population(study, extended)
        refuse_spent(extended, director)
        return extended, said

    def _refuse_other_population(self, study: Study) -> None:
        """Refuse what would not be the population that has been trained so far."""
        rule = exploiting(study)
        if rule and (self.trials or self.spaces):
            raise StudyError(
                f"the trials of `{rule}` are one population, which gets no more of them and no "
                "other space",
                hint="launch the study anew; `--time-budget` and `--epochs-total` go on with "
                "the same trials",
            )

    def _refuse_smaller_population(self, study: Study, extended: Study) -> None:
        """Refuse a family whose share would be taken from trials that adopt each other."""
        rule, counts = exploiting(study), extended.trials_of()
        less = [n for n, count in study.trials_of().items() if counts[n] < count]
        if rule and less:
            raise StudyError(
                f"the trials of `{rule}` are one population, and a family that joins would "
                f"take some of those of `{less[0]}`",
                hint="launch a study of that family alone",
            )

    def _refuse_trials_of_nobody(self, extended: Study) -> None:
        """Refuse trials that no family would get: a fixed number of them stays what it is."""
        counts = extended.trials_of()
        if self.trials and sum(counts.values()) < extended.budget.trials:
            fixed = ", ".join(f"`{name}` {count}" for name, count in counts.items())
            raise StudyError(
                f"`--trials +{self.trials}` reaches no family: each has a fixed number of "
                f"trials ({fixed})",
                hint="a family that joins (`--families x`) gets them; or launch the study "
                "anew with other `trials` of its families",
            )

    def _refuse_known_families(self, study: Study) -> None:
        """Refuse to let a family join that is there already."""
        there = {family.name for family in study.families}
        if known := [f"`{f.name}`" for f in self.families if f.name in there]:
            raise StudyError(
                f"{', '.join(known)} cannot join: the run has such a family already",
                hint="`--trials +20` gives the run's families more trials, `--new-spaces` the "
                "spaces of today",
            )

    def _spaces_said(self, study: Study, director: Director) -> Iterator[str]:
        for family in study.families:
            space = self.spaces.get(family.name, family.space)
            if space != family.space:
                mine = [t for t in director.trials.values() if t.family == family.name]
                fits = sum(space.holds(t.params) for t in mine)
                yield (
                    f"family `{family.name}` has another space, which {fits} of its "
                    f"{len(mine)} trials fit"
                )

    def _budget_said(self, study: Study, director: Director) -> Iterator[str]:
        if self.trials:
            whole = sum(study.trials_of().values()) + self.trials
            yield f"{self.trials} more trials, {whole} in all"
        if self.total_epochs is not None:
            if self.total_epochs <= director.epochs:
                raise StudyError(
                    f"the run has spent {director.epochs} epochs, and `--epochs-total "
                    f"{self.total_epochs}` is no more than that",
                    hint="it counts the epochs of all trials from the launch on",
                )
            yield f"{self.total_epochs} epochs of all trials in all"
        if self.seconds is not None:
            yield f"{self.seconds:g} s more"


def extended(
    folder: Path | str,
    extension: Extension,
    *,
    new_spaces: bool = False,
    data_root: Path | str | None = None,
) -> Study:
    """The study that `extend` would go on with; nothing is written.

    Args:
        folder: The run's folder.
        extension: What it gets.
        new_spaces: Search the spaces that the study file describes today.
        data_root: Where real datasets lie; None means as at the launch.

    Raises:
        UserError: The extension breaks a rule, or the folder or its ledger is damaged.
    """
    return _Begun.read(RunFolder(folder), extension, new_spaces, data_root).study


def extend(
    folder: Path | str,
    extension: Extension,
    *,
    new_spaces: bool = False,
    allow_different: bool = False,
    data_root: Path | str | None = None,
    prepare: Prepare | None = None,
    create: Create | Mapping[str, Create] | None = None,
    observer: Observer | None = None,
    gpus: int | None = None,
    attach: Attach | None = None,
) -> Outcome:
    """Go on with a finished or interrupted run, with more than it was launched with.

    Trials that a budget cut go on first; those that a rule stopped which pauses trials wait
    again, and the rule says which of them go on from their checkpoints. All history stays.

    Args:
        folder: The run's folder.
        extension: What it gets.
        new_spaces: Search the spaces that the study file describes today.
        allow_different: Go on although data or study file changed since the launch.
        data_root: Where real datasets lie; None means as at the launch.
        prepare: As in `launch`.
        create: As in `launch`; needed when the study was made in a script.
        observer: Is told what happens.
        gpus: How many GPUs there are; None counts them.
        attach: As in `launch`; the address is not that of the launch.

    Raises:
        ResumeRefused: Something changed since the launch; says what.
        RunLocked: A driver is at work on this run.
        UserError: The extension breaks a rule, or the folder, its ledger or the data does.
    """
    place = RunFolder(folder)
    with place.acquire():
        watching = Guarded(observer or Silent())
        begun = _Begun.read(place, extension, new_spaces, data_root)
        machine = machine_for(begun.study, watching, gpus=gpus, attach=attach)
        watching.message("checking the data")
        then, before = begun.sources, begun.before
        now = then.today(before.data, root=data_root, prepare=prepare)
        changed = refuse_changes(before, None, then, now, allowed=allow_different)
        creates = creates_of(begun.study, create, then.study_today())
        refuse_static(begun.study, creates)
        refuse_faults(begun.study, begun.chaos, attach)
        begun.write(place)
        run = ActiveRun(
            study=begun.study,
            data=now.data,
            creates=creates,
            folder=place,
            machine=machine,
            observer=watching,
            chaos=begun.chaos,
        )
        for text in (*begun.said, *changed):
            watching.message(text)
        return run.until_it_ends("resume", about(machine), notes=changed)


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """An extension that nothing speaks against, before anything of it is written.

    Attributes:
        record: `study.json` as it is.
        before: The study as it was.
        study: The study from now on.
        said: What is new, in words.
        director: What became of the run.
        sources: Where study and data come from.
    """

    record: Mapping[str, Any]
    before: Study
    study: Study
    said: list[str]
    director: Director
    sources: Sources

    @property
    def chaos(self) -> Chaos | None:
        """The faults of the launch, with which an extension goes on as a resume does."""
        data = self.record.get("chaos")
        return None if data is None else Chaos.from_json(data)

    @classmethod
    def read(
        cls,
        place: RunFolder,
        extension: Extension,
        new_spaces: bool,
        data_root: Path | str | None,
    ) -> Self:
        """Weigh an extension; see `extended`."""
        record = place.read_study()
        refuse_lost_ledger(place)
        before = Study.from_json(record["study"])
        if "rerun" in record or before.fixed:
            raise RunError(
                f"{place.path} trains trials that were named, and nothing is searched",
                hint="`hpo rerun` trains trials of a search again",
            )
        sources = Sources.from_json(record)
        if new_spaces:
            extension = replace(extension, spaces=_spaces_today(sources, before))
            sources = sources.with_file_of_today()
        workers = before.resources.workers or 1
        events = read_events(place.events_file)[0]
        director = replay(before, events, workers=before.resources.seats)
        study, said = extension.applied(before, director)
        root = data_root if data_root is not None else sources.data_root
        study = with_task(study, root=None if root is None else Path(root))
        counted = before.resources.workers is not None
        study = as_run(study, workers=workers, counted=counted)
        begun = cls(
            record=record,
            before=before,
            study=study,
            said=said,
            director=director,
            sources=sources,
        )
        refuse_idle(study, extension.trials > 0, [*events, *begun.news(place)])
        return begun

    def news(self, place: RunFolder) -> Iterator[Event]:
        """What the ledger will say: what is new, and which trials are not over any more."""
        elapsed = self.director.elapsed
        yield Extended(elapsed=elapsed, said=self.said, before=self.before.to_json())
        for trial, state, rule in taken_up(self.study, self.director, place):
            yield Reopened(
                trial=trial.number,
                elapsed=elapsed,
                epoch=trial.last,
                state=state,
                rule=rule or UNSET,
            )

    def write(self, place: RunFolder) -> None:
        """Say it in the ledger, then in `study.json`."""
        news = [*self.news(place)]
        with Ledger.open(place.events_file, write=True) as ledger:
            for event in news:
                ledger.append(event)
        record = {**self.record, "study": self.study.to_json()}
        place.write_json(place.study_file, {**record, **self.sources.to_json()})


def _spaces_today(then: Sources, study: Study) -> dict[str, Space]:
    """The spaces of the study's families as its file describes them now.

    Raises:
        RunError: There is no such file.
    """
    today = then.study_today()
    if today is None:
        raise RunError(
            "the study file of the launch is not there, or not a study any more",
            hint="without `--new-spaces` the spaces stay those of the launch",
        )
    today = as_run(today.replace(settings=study.settings), workers=1)
    names = {f.name for f in study.families}
    return {f.name: f.space for f in today.families if f.name in names}
