"""A group: several searches of one study, each with its own seed.

``results/STUDY/groups/NAME/group.json`` says what is searched with which seeds. The searches
themselves are ordinary runs of the study; the ``study.json`` of each says whose it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import RunError
from hpo.ledger.folder import RunFolder
from models.errors import near_matches

if TYPE_CHECKING:
    from hpo.study import Study

_FILE = "group.json"
SCHEMA = 1


class RunGroup:
    """One group, whether its searches have begun or not.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @staticmethod
    def at(path: Path | str) -> bool:
        """Whether a folder is a group's."""
        return (Path(path) / _FILE).is_file()

    @classmethod
    def create(
        cls,
        results: Path | str,
        study: Study,
        seeds: Sequence[int],
        *,
        about: Mapping[str, Any],
    ) -> RunGroup:
        """Make the folder of a new group.

        Args:
            results: The folder of all results.
            study: What is searched, as it was described.
            seeds: The seed of each search.
            about: Where the study comes from, JSON-able.

        Raises:
            RunError: The folder cannot be made.
        """
        root, copy = Path(results) / study.name / "groups", 0
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = f"{stamp}-{study.fingerprint()}-x{len(seeds)}"
        while (path := root / (name + (f"-{copy}" if copy else ""))).exists():
            copy += 1
        group = cls(path)
        record = {
            "schema": SCHEMA,
            "study": study.to_json(),
            "seeds": list(seeds),
            "about": dict(about),
        }
        RunFolder(path).write_json(path / _FILE, record)
        return group

    @classmethod
    def find(cls, results: Path | str, name: str) -> RunGroup | None:
        """The group a person means, or None where the name is not that of one.

        Args:
            results: The folder of all results.
            name: Its name, or the path of its folder.

        Raises:
            RunError: It looks like a group's name, but there is none (near matches are listed).
        """
        if name and cls.at(Path(name).expanduser()):
            return cls(Path(name).expanduser())
        found = {
            p.parent.name: p.parent for p in Path(results).glob(f"*/groups/*/{_FILE}")
        }
        if name in found:
            return cls(found[name])
        if "groups/" in name:
            raise RunError(
                f"no group `{name}` under `{results}`",
                hint=near_matches(Path(name).name, [*found])
                if found
                else "`hpo launch STUDY --repeat 5` makes one",
            )
        return None

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.resolve().name

    @property
    def results(self) -> Path:
        """The folder of all results that it lies in."""
        return self.path.parent.parent.parent

    @property
    def record(self) -> dict[str, Any]:
        """What `create` wrote.

        Raises:
            RunError: The file is damaged, or of another version.
        """
        file = self.path / _FILE
        try:
            record = json.loads(file.read_text())
            if record["schema"] != SCHEMA:
                raise RunError(
                    f"{file} has schema {record['schema']!r}; this version reads {SCHEMA}",
                    hint="use the version of the harness that made the group",
                )
            return {k: record[k] for k in ("study", "seeds", "about")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{file} describes no group: {error}",
                hint="it is never edited by hand; restore it from a copy",
            ) from error

    @property
    def seeds(self) -> list[int]:
        """The seed of each search."""
        return [int(seed) for seed in self.record["seeds"]]

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """The searches that have begun, in the order of their seeds."""
        members = self.members()
        return tuple(members[i] for i in sorted(members))

    def members(self) -> dict[int, RunFolder]:
        """The searches that have begun, by their place in `seeds`."""
        study = self.path.parent.parent.name
        found: dict[int, RunFolder] = {}
        for run in RunFolder.list(self.results, study):
            try:
                name, index = membership(run) or ("", 0)
            except RunError:
                continue
            if name == self.name:
                found[index] = run
        return found

    def mark(self, index: int) -> dict[str, Any]:
        """What the ``study.json`` of a search says of its group.

        Args:
            index: Its place in `seeds`.
        """
        return {"group": {"name": self.name, "index": index}}


def membership(run: RunFolder) -> tuple[str, int] | None:
    """The name of the group that a run is a search of, and its place there; None for none.

    Args:
        run: The run.

    Raises:
        RunError: Its ``study.json`` is missing or damaged.
    """
    of = run.read_study().get("group")
    return (str(of["name"]), int(of["index"])) if isinstance(of, Mapping) else None
