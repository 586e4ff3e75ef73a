"""A nested YAML file of one training, read into a study of one trial.

The layout is that of the systems whose families are here, so that their files go on working::

    dataset_path: windows.hdf5        # or data: {name: beijing_air, kind: windows, …}
    task: reconstruction
    random_seed: 42
    model: {latent_dim: 32, coder: {channels: 16}}
    training: {epochs: 150, batch_size: 64, learning_rate: 1.0e-3, patience: 30}

Names of the source are translated, and so are values where they mean something else here; all
others are the family's own configuration keys, nested or dotted, with the section's name before
them or without. A list of mappings, such as ``levels: [{num_tokens: 128}, …]``, is read as its
length, ``levels[]``, and a list of each key, ``levels[].num_tokens``. What has no counterpart is
refused, not passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo import discovery
from hpo.check.keys import Check, check_configurations
from hpo.errors import StudyError
from hpo.study import Budget, Family, Rule, Study
from models.errors import near_matches
from search_spaces.space import Space

TOP = (
    *("dataset_path", "data", "task", "random_seed", "model", "training"),
    *("max_samples", "families", "logging", "resume_from"),
)
NOT_HERE: Mapping[str, str] = {
    "max_samples": "say what of the data is used in `data: {…}`",
    "families": "front ends are configured under `model`",
    "logging": "every epoch is written to the run's ledger, and `hpo watch` shows it",
}
"""Parts of the source's files without a counterpart, and what to do instead."""
TRAINING: Mapping[str, str] = {
    "batch_size": "data.batch_size",
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
}
"""Names that every family's training has in the source's files."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a file asks for.

    Attributes:
        study: The study, of one trial.
        resume_from: The run that it goes on with; empty for a new one.
    """

    study: Study
    resume_from: str


def read(family: str, path: Path, *, check: Check = check_configurations) -> Asked:
    """Read a file.

    Args:
        family: The family that is trained.
        path: The file.
        check: Asks configuration classes what they know.

    Raises:
        StudyError: There is no such family or file, it is no YAML mapping, or a key or value
            is refused (near matches are listed).
        ForeignFailure: The family's module cannot be imported.
    """
    found = discovery.family(family)
    given = _mapping(path)
    for key in given:
        if key not in TOP:
            raise StudyError(
                f"{path}: unknown key `{key}`", hint=near_matches(str(key), TOP)
            )
        if key in NOT_HERE:
            raise StudyError(
                f"{path}: `{key}` has no counterpart here", hint=NOT_HERE[key]
            )
    training = _section(given, "training", path)
    epochs = training.pop("epochs", Budget.epochs)
    stopping = (Rule(name="divergence"), *_patience(training))
    named = {**TRAINING, **discovery.source_keys(family)}
    said = [
        (name, key, value)
        for name, section in (
            ("model", _section(given, "model", path)),
            ("training", training),
        )
        for key, value in section.items()
    ]
    said = list(_translated(said, named, discovery.source_values(family), path))
    keys = _configured(said, found, named, path, check)
    study = Study(
        name=f"train_{family}",
        description=f"One training of {family}, by {path.name}.",
        data=_data(given, path),
        task=given.get("task"),
        families=(Family(name=family, space=Space(keys), trials=1),),
        budget=Budget(trials=1, epochs=_whole(epochs, "training.epochs", path)),
        stopping=stopping,
        seed=_whole(given.get("random_seed", 0), "random_seed", path),
    )
    resumed = _resumed(given, path)
    return Asked(study=discovery.resolve(study), resume_from=resumed)


def _mapping(path: Path) -> Mapping[Any, Any]:
    import yaml

    if not path.is_file():
        raise StudyError(f"there is no file {path}", hint="check the path")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        raise StudyError(f"{path} is no YAML: {first}") from error
    if not isinstance(found, Mapping):
        raise StudyError(
            f"{path} must hold a mapping of {', '.join(TOP[:6])}, got {found!r}"
        )
    return found


def _section(given: Mapping[Any, Any], name: str, path: Path) -> dict[str, Any]:
    """A section with dotted keys, however deeply it is nested."""
    section = given.get(name) or {}
    if not isinstance(section, Mapping):
        raise StudyError(f"{path}: `{name}` must be a mapping, got {section!r}")
    return dict(_leaves(section, "", path))


def _leaves(
    section: Mapping[Any, Any], before: str, path: Path
) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.", path)
        elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
            yield f"{before}{key}[]", len(value)
            yield from _leaves(_columns(value, key, path), f"{before}{key}[].", path)
        else:
            yield f"{before}{key}", value


def _columns(rows: list[Any], key: str, path: Path) -> dict[str, list[Any]]:
    """A list of mappings as a mapping of lists."""
    if not all(isinstance(row, Mapping) and set(row) == set(rows[0]) for row in rows):
        raise StudyError(
            f"{path}: the entries of `{key}` must be mappings of the same keys, got {rows!r}"
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _translated(
    said: Sequence[tuple[str, str, Any]],
    named: Mapping[str, str],
    tables: Mapping[str, Mapping[str, Mapping[Any, Any]]],
    path: Path,
) -> Iterator[tuple[str, str, Any]]:
    """What was said, and in our keys and values what the family has tables for."""
    for section, key, value in said:
        if key in named or key not in tables:
            yield section, key, value
        for ours, table in tables.get(key, {}).items():
            several = isinstance(value, list)
            for each in value if several else [value]:
                if each not in table:
                    raise StudyError(
                        f"{path}: `{section}.{key}` cannot be {each!r}",
                        hint=f"one of {', '.join(map(repr, table))}",
                    )
            found = [table[v] for v in value] if several else table[value]
            if found is not None:
                yield section, ours, found


def _patience(training: dict[str, Any]) -> tuple[Rule, ...]:
    """The rule of patience, of which the source's files speak in their training."""
    options = {
        ours: training.pop(theirs)
        for theirs, ours in (("patience", "epochs"), ("min_delta", "min_delta"))
        if theirs in training
    }
    return (Rule(name="patience", options=options),) if options else ()


def _configured(
    said: Sequence[tuple[str, str, Any]],
    family: discovery.FoundFamily,
    named: Mapping[str, str],
    path: Path,
    check: Check,
) -> dict[str, Any]:
    """The family's keys with their values, once it knows each and accepts all.

    Args:
        said: Section, key and value of each.
        family: The family.
        named: Our keys by the source's names.
        path: The file.
        check: Asks configuration classes what they know.
    """
    possible = [(named.get(key, key), f"{section}.{key}") for section, key, _ in said]
    tried = {
        ours: value
        for names, (_, _, value) in zip(possible, said, strict=True)
        for ours in names
    }
    (answer,) = check([(family.create, tried)])
    out: dict[str, Any] = {}
    for names, (section, key, value) in zip(possible, said, strict=True):
        known = [n for n in names if answer.keys is None or n in answer.keys]
        if not known:
            raise StudyError(
                f"{path}: unknown key `{section}.{key}` of family `{family.name}`",
                hint=near_matches(key, (*(answer.keys or ()), *named)),
            )
        if known[0] in out:
            raise StudyError(
                f"{path}: `{known[0]}` is said twice, by `{section}.{key}` too",
                hint="leave one of them out",
            )
        out[known[0]] = value
    if answer.error:
        raise StudyError(f"{path}: {answer.error}", hint=answer.hint or None)
    return out


def _data(given: Mapping[str, Any], path: Path) -> Any:
    """The data's request; a path is meant from where the file lies."""
    data, place = given.get("data", {}), given.get("dataset_path")
    if place is None:
        if not data:
            raise StudyError(
                f"{path} does not say its data", hint="`dataset_path: FILE`, for one"
            )
        return data
    if not isinstance(data, Mapping) or {"path", "name"} & set(data):
        raise StudyError(
            f"{path}: `dataset_path` and `data` both say where the data lies",
            hint="with a path, `data` holds the rest of the request",
        )
    return {**data, "path": str(path.parent.absolute() / str(place))}


def _whole(value: Any, name: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise StudyError(f"{path}: `{name}` must be a whole number, got {value!r}")
    return value


def _resumed(given: Mapping[str, Any], path: Path) -> str:
    """The run to go on with."""
    told = given.get("resume_from")
    if told is None:
        return ""
    if not isinstance(told, Mapping) or set(told) != {"run"}:
        raise StudyError(
            f"{path}: `resume_from` must be a mapping of the one key `run`, got {told!r}",
            hint="`resume_from: {run: FOLDER}`, a folder that `hpo train` printed",
        )
    return str(told["run"])


def refuse_other(asked: Study, begun: Study, path: Path) -> None:
    """Refuse to go on with a run that was begun with other values than a file asks for.

    Args:
        asked: The file's study.
        begun: The run's.
        path: The file.

    Raises:
        StudyError: They differ in family, data, values, budget or seed; says in what.
    """
    ours, theirs = _compared(asked), _compared(begun)
    for key in [*ours, *theirs]:
        if ours.get(key) != theirs.get(key):
            raise StudyError(
                f"{path} asks for `{key}` {ours.get(key)!r}, and the run that it goes on "
                f"with was begun with {theirs.get(key)!r}",
                hint="give the values of its launch, or leave `resume_from` out",
            )


def _compared(study: Study) -> dict[str, Any]:
    family, *_ = study.families
    return {
        "family": family.name,
        "data": study.data,
        "epochs": study.budget.epochs,
        "seed": study.seed,
        **family.space.constants,
    }
