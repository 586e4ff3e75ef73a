"""Where a run's study, data and code come from, and whether they are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from hpo import discovery, packages
from hpo.errors import ResumeRefused, RunError
from hpo.order import resolved
from hpo.run.own_files import changed as own_changes
from hpo.run.own_files import digests
from hpo.study import Study
from hpo.tasks import described
from hpo.worker import pickling
from hpo.worker.environment import study_lies_in
from models.errors import UserError
from search_spaces.space import Space

Prepare = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The contents of `study.json` beside the study, so that a resume can compare.

    Attributes:
        data: The data reference that workers get.
        data_root: Where real datasets lie, or None.
        source: What the person named the study by, for people, or None.
        study_file: ``path`` and ``sha256`` of the study file, or None.
        spaces: What the study file describes as each family's space, before anything was set
            on a command line; empty without a file.
        own_files: SHA-256 of the file of every ``my_file:NAME`` among the study's values.
    """

    data: Any = None
    data_root: str | None = None
    source: str | None = None
    study_file: Mapping[str, str] | None = None
    spaces: Mapping[str, Any] = field(default_factory=dict)
    own_files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: Any,
        *,
        own: Callable[[], Mapping[str, str]],
        root: Path | str | None,
        source: str | None,
        study_file: Path | None,
        prepare: Prepare | None,
    ) -> Self:
        """Prepare the data and take the hashes of files.

        Args:
            data: As the study names it.
            own: Gives the files of the person's own, once the study file is known.
            root: Folder of real datasets.
            source: What the person named the study by.
            study_file: The study file.
            prepare: Gives the data reference; None for that of `hpo.packages`.

        Raises:
            UserError: The data is missing or damaged.
        """
        folder = None if root is None else Path(root).absolute()
        ready = (prepare or packages.prepare_data)(data, root=folder)
        file = None
        if study_file is not None:
            path = Path(study_file).absolute()
            file = {"path": str(path), "sha256": _digest(path)}
        return cls(
            data=ready,
            data_root=None if folder is None else str(folder),
            source=source,
            study_file=file,
            spaces=_described(file),
            own_files=own(),
        )

    def to_json(self) -> dict[str, Any]:
        """The extra entries of `study.json`."""
        return {
            "data": self.data,
            "data_root": self.data_root,
            "source": self.source,
            "study_file": self.study_file,
            "spaces": self.spaces,
            "own_files": self.own_files,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read them back from the whole of `study.json`."""
        file = record.get("study_file")
        if file:
            study_lies_in(Path(file["path"]).parent)
        return cls(
            data=record.get("data"),
            data_root=record.get("data_root"),
            source=record.get("source"),
            study_file=record.get("study_file"),
            spaces=record.get("spaces") or {},
            own_files=record.get("own_files") or {},
        )

    def today(
        self, data: Any, *, root: Path | str | None, prepare: Prepare | None
    ) -> Sources:
        """The same sources as they are now.

        Raises:
            UserError: The data is missing or damaged.
        """
        path = Path(self.study_file["path"]) if self.study_file else None
        return Sources.of(
            data,
            root=root if root is not None else self.data_root,
            source=self.source,
            study_file=path,
            prepare=prepare,
            own=lambda: digests(self.own_files),
        )

    def with_file_of_today(self) -> Sources:
        """The same, with the study file and its spaces as they are now."""
        if self.study_file is None:
            return self
        path = self.study_file["path"]
        file = {"path": path, "sha256": _digest(Path(path))}
        return replace(self, study_file=file, spaces=_described(file))

    def study_today(self) -> Study | None:
        """The study that the recorded file describes now, or None."""
        return _load(self.study_file)


def as_run(study: Study, *, workers: int, counted: bool = True) -> Study:
    """The study as it will run: workers and seats counted, fixed keys no longer searched.

    Args:
        study: The study as described.
        workers: Trials at a time.
        counted: Whether that is written down; not where a cluster says how many, again
            and again.
    """
    families = []
    for family in study.families:
        fixed = {k: v for k, v in study.settings.items() if k in family.space.entries()}
        space = family.space.replace(fixed) if fixed else family.space
        families.append(
            replace(
                family,
                space=space,
                initial_points=_without(family.initial_points, fixed),
            )
        )
    order = resolved(study.resources.order, workers=workers)
    known = workers if counted else None
    resources = replace(study.resources, workers=known, order=order)
    return study.replace(families=tuple(families), resources=resources)


def creates_of(
    study: Study,
    override: pickling.Create | Mapping[str, pickling.Create] | None,
    current: Study | None = None,
) -> dict[str, str | bytes]:
    """Each family's `create`, ready to travel.

    Args:
        study: The study that runs.
        override: One callable for all families, or one by family.
        current: A study read anew, asked for functions that cannot be imported.

    Raises:
        RunError: A `create` cannot be found by its name.
    """
    today = {f.name: f.create for f in current.families} if current else {}
    creates = {}
    for family in study.families:
        given = override if callable(override) else (override or {}).get(family.name)
        create: str | pickling.Create = given or family.create
        if isinstance(create, str) and not pickling.can_be_found(create):
            create = today.get(family.name, create)
            if isinstance(create, str):
                raise RunError(
                    f"family `{family.name}`: `create` = `{create}` cannot be imported",
                    hint="give the function itself again, from the script that made the "
                    "study, or put its module on PYTHONPATH",
                )
        creates[family.name] = pickling.pack(create)
    return creates


def refuse_changes(
    study: Study,
    current: Study | None,
    then: Sources,
    now: Sources,
    *,
    allowed: bool,
) -> tuple[str, ...]:
    """Name what changed since the launch.

    Args:
        study: The study of the launch.
        current: The study as a script describes it today, or None.
        then: The sources of the launch.
        now: The sources today.
        allowed: Whether to go on nevertheless.

    Returns:
        What changed, one sentence each.

    Raises:
        ResumeRefused: Something changed and that is not allowed.
    """
    changed = [*_files(then, now), *own_changes(then.own_files, now.own_files)]
    for name, before in then.spaces.items():
        changed += _space_change(name, before, now.spaces.get(name))
    if current is not None:
        today = current.replace(settings=study.settings)
        today = as_run(today, workers=study.resources.workers or 1)
        after = {f.name: f.space.to_json() for f in today.families}
        for family in study.families:
            before = family.space.to_json()
            changed += _space_change(family.name, before, after.get(family.name))
        tasks = study.described_task, current.described_task
        if all(tasks) and tasks[0] != tasks[1]:
            changed.append(
                f"the task was {described(tasks[0])}, is {described(tasks[1])}"
            )
    before, after = map(packages.same_layout, (then.data, now.data))
    if identity(before) != identity(after):
        changed.append("the data is not that of the launch" + _parts(then, now))
    if changed and not allowed:
        raise ResumeRefused(
            "; ".join(changed),
            hint="undo the change, or go on nevertheless with `--allow-different`",
        )
    return tuple(f"resumed nevertheless: {text}" for text in changed)


def _space_change(name: str, before: Any, after: Any) -> list[str]:
    if after is None:
        return [f"the study has no family `{name}` any more"]
    if before == after:
        return []
    was, now = Space.from_json(before).entries(), Space.from_json(after).entries()
    names = [n for n in {**was, **now} if _entry(was, n) != _entry(now, n)]
    what = ", ".join(f"`{n}`" for n in names) or "its order or conditions"
    return [f"the space of family `{name}` changed: {what}"]


def _entry(entries: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    return name in entries, entries.get(name)


def _files(then: Sources, now: Sources) -> list[str]:
    if then.study_file is None or now.study_file is None:
        return []
    path, digest = then.study_file["path"], now.study_file["sha256"]
    if not digest:
        return [f"the study file {path} is gone"]
    if digest != then.study_file["sha256"]:
        return [f"the study file {path} changed"]
    return []


def identity(data: Any) -> Any:
    """The parts of a data reference that identify the data: not the folder it lies in."""
    if isinstance(data, Mapping):
        return {
            k: identity(v)
            for k, v in data.items()
            if k != "path" or not data.get("hashes")
        }
    return [identity(v) for v in data] if isinstance(data, (list, tuple)) else data


def _parts(then: Sources, now: Sources) -> str:
    if not (isinstance(then.data, Mapping) and isinstance(now.data, Mapping)):
        return ""
    before, after = then.data.get("hashes") or {}, now.data.get("hashes") or {}
    parts = [p for p in {**before, **after} if before.get(p) != after.get(p)]
    return f" (part {', '.join(parts)})" if parts else ""


def _load(file: Mapping[str, str] | None) -> Study | None:
    if file is None:
        return None
    try:
        return discovery.load_study(file["path"])
    except UserError:
        return None  # gone or broken, which the hash of the study file says as well


def _described(file: Mapping[str, str] | None) -> dict[str, Any]:
    study = _load(file)
    return {f.name: f.space.to_json() for f in study.families} if study else {}


def _without(points: tuple[Any, ...], fixed: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple({k: v for k, v in p.items() if k not in fixed} for p in points)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
