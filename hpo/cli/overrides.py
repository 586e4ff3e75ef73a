"""Changes to a study from the command line: `--set KEY=VALUE` and its short forms.

Study keys (``budget.trials``, ``sampler.name``, ``stopping.halving.eta``) replace a setting of
the study. Every other key is a configuration key and is fixed in the families that know it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hpo.chaos import Chaos
from hpo.check.keys import (
    Check,
    check_configurations,
    check_families,
    refuse_unknown,
)
from hpo.duration import parse_duration
from hpo.errors import StudyError
from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from hpo.tasks import objectives_of
from models.errors import UserError, near_matches
from search_spaces.space import Space, SpaceError

_SECTIONS = {"budget": Budget, "resources": Resources, "objective": Objective}
_WHOLE = ("seed", "data", "task", "description", "stopping", "sampler", "warm_start")


def study_keys(study: Study) -> tuple[str, ...]:
    """Every dotted key of a study that `--set` understands."""
    sections = [
        f"{section}.{item.name}"
        for section, kind in _SECTIONS.items()
        for item in dataclasses.fields(kind)
    ]
    of_families = [
        f"families.{f.name}.{key}"
        for f in study.families
        for key in ("share", "trials", "epochs")
    ]
    return (*_WHOLE, *sections, "sampler.name", *of_families)


def changed(
    study: Study,
    *,
    trials: int | None,
    epochs: int | None,
    families: str | None,
    settings: Iterable[str] | None,
    seed: int | None,
    workers: int | None,
    gpus_per_trial: float | None,
    executor: str | None,
    order: str | None,
    time_budget: str | None,
    stall: str | None,
) -> Study:
    """A study with what `launch` and `check` were given; None leaves a setting alone.

    Its families are asked, once, whether they know all of its keys.

    Args:
        study: The study as its file describes it.
        trials: Of the run in all.
        epochs: Budget of a trial.
        families: Names separated by commas: only these.
        settings: ``KEY=VALUE`` texts; they come after the short forms.
        seed: Of every random choice.
        workers: Trials at a time.
        gpus_per_trial: Fraction of a GPU.
        executor: One of `hpo.run.executors`.
        order: In which decisions are taken, see `hpo.order`.
        time_budget: A duration, such as ``30m``.
        stall: A duration.

    Raises:
        StudyError: A name, a key or a value is refused.
        ForeignFailure: A family's module cannot be imported.
    """
    if families is not None:
        study = keep_families(study, families)
    short = {
        "budget.trials": trials,
        "budget.epochs": epochs,
        "budget.seconds": _seconds(time_budget, "--time-budget"),
        "seed": seed,
        "resources.workers": workers,
        "resources.gpus_per_trial": gpus_per_trial,
        "resources.executor": executor,
        "resources.order": order,
        "resources.stall": _seconds(stall, "--stall"),
    }
    given: dict[str, Any] = {k: v for k, v in short.items() if v is not None}
    return apply_settings(study, given | parse_settings(settings or ()))


def _seconds(text: str | None, option: str) -> float | None:
    return None if text is None else parse_duration(text, option=option)


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` texts; a value is JSON, and plain text where it is none.

    Raises:
        StudyError: A pair lacks its ``=`` or its key.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key.strip():
            raise StudyError(
                f"`--set` takes KEY=VALUE, got {pair!r}",
                hint="for example `--set optimizer.learning_rate=0.003`",
            )
        try:
            out[key.strip()] = json.loads(text)
        except ValueError:
            out[key.strip()] = text.strip()
    return out


def keep_families(study: Study, names: str) -> Study:
    """Only these families of a study.

    Args:
        study: The study.
        names: Family names separated by commas.

    Raises:
        StudyError: A name is not one of the study's families (near matches are listed).
    """
    wanted = [n.strip() for n in names.split(",") if n.strip()]
    if not wanted:
        raise StudyError("`--families` names no family", hint="write `rnn,tcn`")
    kept = [study.family(n).name for n in wanted]
    return study.replace(
        families=tuple(f for f in study.families if f.name in kept),
        fixed=tuple(t for t in study.fixed if t.family in kept),
    )


def is_study_key(study: Study, key: str) -> bool:
    """Whether a key belongs to the study itself, not to its families' configurations.

    Args:
        study: The study.
        key: A dotted key.
    """
    head = key.partition(".")[0]
    return key in study_keys(study) or head in (
        *_SECTIONS,
        *("sampler", "stopping", "task", "families", "family"),
    )


def apply_settings(
    study: Study,
    settings: Mapping[str, Any],
    *,
    check: Check = check_configurations,
    suggest: Collection[str] | None = None,
) -> Study:
    """A study with these keys set.

    Args:
        study: The study as its file describes it.
        settings: Dotted keys with values.
        check: Asks configuration classes what they know.
        suggest: The study's own keys that an unknown one may have meant; None for all.

    Raises:
        StudyError: Nothing knows a key (near matches are listed), or a value is refused,
            be it one of the study's own.
        ForeignFailure: A family's module cannot be imported.
    """
    configuration: dict[str, Any] = {}
    for key, value in settings.items():
        changed = _set_study_key(study, key, value)
        if changed is None:
            configuration[key] = value
        else:
            study = changed
    own = study_keys(study) if suggest is None else suggest
    return _fix(study, configuration, check, own)


def _set_study_key(study: Study, key: str, value: Any) -> Study | None:
    """The study with one of its own keys set; None when the key is not a study's."""
    head, _, rest = key.partition(".")
    if key in ("sampler", "sampler.name"):
        return study.replace(sampler=_rule(key, value))
    if head == "sampler":
        name = rest.removeprefix("options.")
        options = {**study.sampler.options, name: value}
        return study.replace(
            sampler=dataclasses.replace(study.sampler, options=options)
        )
    if head == "stopping":
        return study.replace(stopping=_stopping(study.stopping, rest, value))
    if key in _WHOLE:
        return study.replace(**{key: value})
    if head == "task":
        return study.replace(task={**study.described_task, rest: value})
    if head in _SECTIONS and rest:
        return _set_section(study, head, rest, value)
    if head in ("families", "family"):
        return _set_family(study, rest, value, key)
    return None


def _set_section(study: Study, section: str, name: str, value: Any) -> Study:
    kind = _SECTIONS[section]
    names = [item.name for item in dataclasses.fields(kind)]
    if name not in names:
        raise StudyError(
            f"unknown key `{section}.{name}`",
            hint=near_matches(f"{section}.{name}", [f"{section}.{n}" for n in names]),
        )
    if section == "objective":
        first, *others = objectives_of(study)
        first = dataclasses.replace(first, **{name: value})
        return study.replace(objectives=(first, *others))
    _expect_kind(f"{section}.{name}", value, kind, name)
    current = getattr(study, section)
    return study.replace(**{section: dataclasses.replace(current, **{name: value})})


def _expect_kind(key: str, value: Any, kind: type, name: str) -> None:
    """Refuse text and fractions where a field counts or measures, and else all but text."""
    hints = {item.name: str(item.type) for item in dataclasses.fields(kind)}
    wanted = hints[name]
    if "Literal" in wanted or (value is None and "None" in wanted):
        return
    if wanted.startswith("Mapping"):
        return  # whose entries are checked where it is kept
    if wanted == "str":
        if not isinstance(value, str):
            raise StudyError(f"`{key}` must be a name, got {value!r}")
        return
    integer = wanted.startswith("int")
    kinds = (int,) if integer else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        words = "a whole number" if integer else "a number"
        raise StudyError(f"`{key}` must be {words}, got {value!r}")


def _rule(key: str, value: Any) -> Rule:
    if isinstance(value, str):
        return Rule(name=value)
    if isinstance(value, Mapping) and {"name"} <= set(value) <= {"name", "options"}:
        return Rule(**value)
    raise StudyError(
        f'`{key}` takes a name or {{"name": …, "options": {{…}}}}, got {value!r}'
    )


def _stopping(rules: tuple[Rule, ...], rest: str, value: Any) -> tuple[Rule, ...]:
    if not rest:
        if not isinstance(value, list):
            raise StudyError(
                f"`stopping` takes a JSON list of rules, got {value!r}",
                hint='write `--set \'stopping=["divergence", "asha"]\'`',
            )
        return tuple(_rule("stopping", v) for v in value)
    name, _, option = rest.partition(".")
    names = [r.name for r in rules]
    if name not in names or not option:
        raise StudyError(
            f"unknown key `stopping.{rest}`",
            hint=f"this study stops by {', '.join(names) or 'no rule'}; "
            "write `stopping.RULE.OPTION=VALUE`",
        )
    return tuple(
        dataclasses.replace(r, options={**r.options, option: value})
        if r.name == name
        else r
        for r in rules
    )


def _set_family(study: Study, rest: str, value: Any, key: str) -> Study:
    name, _, option = rest.partition(".")
    study.family(name)
    if option not in ("share", "trials", "epochs"):
        raise StudyError(
            f"unknown key `{key}`", hint=near_matches(key, study_keys(study))
        )
    _expect_kind(key, value, Family, option)
    return study.replace(
        families=tuple(
            dataclasses.replace(f, **{option: value}) if f.name == name else f
            for f in study.families
        )
    )


def _fix(
    study: Study, values: Mapping[str, Any], check: Check, own: Collection[str]
) -> Study:
    """Make configuration keys constants in every family that knows them."""
    study = _with_constants(study, values, [f.space.entries() for f in study.families])
    answers = check_families(
        study.families, values, settings=study.settings, check=check
    )
    known = [
        {*family.space.entries(), *(answer.keys or ())}
        for family, answer in zip(study.families, answers, strict=True)
    ]
    everything = set().union(*known)
    for key in values:
        if key not in everything:
            raise StudyError(
                f"no family and no setting of the study knows the key `{key}`"
                if own
                else f"no family knows the key `{key}`",
                hint=near_matches(key, {*everything, *own}),
            )
    refuse_unknown(study, answers)
    return _with_constants(study, values, known)


def _with_constants(
    study: Study, values: Mapping[str, Any], known: Iterable[Collection[str]]
) -> Study:
    """The study with those of the values fixed in each family that are known to it."""
    return study.replace(
        families=tuple(
            _fixed(family, {k: v for k, v in values.items() if k in keys})
            for family, keys in zip(study.families, known, strict=True)
        )
    )


def _fixed(family: Family, values: Mapping[str, Any]) -> Family:
    if not values:
        return family
    try:
        space = family.space.replace(values)
        points = tuple(_fitting(space, p) for p in family.initial_points)
        kept = tuple(p for p in points if p is not None)
        return dataclasses.replace(family, space=space, initial_points=kept)
    except (SpaceError, UserError) as error:
        raise StudyError(f"family `{family.name}`: {error}") from error


def _fitting(space: Space, point: Mapping[str, Any]) -> dict[str, Any] | None:
    """A point to try first, less what is fixed now; None where it no longer makes one."""
    active = space.active({k: v for k, v in point.items() if k in space.distributions})
    try:
        return space.validate({k: v for k, v in point.items() if k in active})
    except SpaceError:
        return None


def chaos(text: str | None, seed: int | None) -> Chaos | None:
    """The faults that `--chaos` and `--chaos-seed` ask for; None for none.

    Raises:
        StudyError: A fault has no meaning, or there is a seed for none.
    """
    if text is None and seed is not None:
        raise StudyError(
            f"`--chaos-seed {seed}` is a seed of faults on purpose, and there are none",
            hint="say which: `--chaos worker=0.05`",
        )
    return None if text is None else Chaos.parse(text, seed=seed or 0)
