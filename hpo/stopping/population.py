"""Studies whose trials adopt each other's states: what that asks of them."""

from __future__ import annotations

from hpo.errors import StudyError
from hpo.stopping import registry
from hpo.stopping.registry import ExploitingRule
from hpo.study import Study
from models.errors import near_matches


def changed_keys(study: Study) -> dict[str, tuple[str, ...]]:
    """The values that change while a family's trials are trained; those have to be traced.

    By a rule by which trials adopt each other, or by the schedules of trials that the study
    names itself.

    Args:
        study: The study.

    Returns:
        Their names by family; only families in which there are any.

    Raises:
        StudyError: The study cannot be run by such a rule.
    """
    found: dict[str, tuple[str, ...]] = {}
    rule = _exploiting(study)
    if rule is not None:
        name, made = rule
        _refuse_unknown(study, made, name)
        found = _populations(study, made, name)
    for trial in study.fixed:
        names = [name for change in trial.schedule for name in change.traced]
        if names:
            known = (*found.get(trial.family, ()), *names)
            found[trial.family] = tuple(dict.fromkeys(known))
    return found


def kept_keys(study: Study, family: str) -> tuple[str, ...]:
    """The searched values of a family that a rule leaves as they are with a trial's donor.

    Args:
        study: The study.
        family: One of its families.
    """
    rule, searched = _exploiting(study), study.family(family).space.distributions
    return () if rule is None else tuple(n for n in rule[1].kept if n in searched)


def exploiting(study: Study) -> str | None:
    """The name of the rule by which trials of a study adopt each other, if there is one."""
    rule = _exploiting(study)
    return None if rule is None else rule[0]


def _exploiting(study: Study) -> tuple[str, ExploitingRule] | None:
    """That rule's name, and the rule."""
    for rule in study.stopping:
        made = registry.make(rule)
        if isinstance(made, ExploitingRule):
            return rule.name, made
    return None


def _populations(
    study: Study, rule: ExploitingRule, name: str
) -> dict[str, tuple[str, ...]]:
    if study.fixed:
        raise StudyError(
            f"`{name}` changes the values of trials, and this study names its trials itself",
            hint="leave `fixed` out, or the rule",
        )
    found, counts = {}, study.trials_of()
    for family in study.families:
        epochs, trials = study.epochs_of(family.name), counts[family.name]
        try:
            keys = rule.check(family.space, epochs, trials)
        except StudyError as error:
            raise StudyError(
                f"family `{family.name}`: {error.message}", hint=error.hint
            ) from error
        if keys:
            found[family.name] = keys
    if not found:
        told = ", ".join(
            f"`{f.name}` has {counts[f.name]} trials of {study.epochs_of(f.name)} epochs"
            for f in study.families
        )
        raise StudyError(
            f"`{name}`: no trial would ever adopt another one: {told}",
            hint="a population is 2 trials or more with searched values, trained for longer "
            "than the interval",
        )
    return found


def _refuse_unknown(study: Study, rule: ExploitingRule, rule_name: str) -> None:
    """What is to be kept must be searched by some family."""
    searched = {n for family in study.families for n in family.space.distributions}
    for name in rule.kept:
        if name not in searched:
            raise StudyError(
                f"{rule_name}: `start` names searched values, and no family searches `{name}`",
                hint=near_matches(name, searched),
            )
