"""The confirmation of one search: its winners, and what their new seeds came to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from hpo.confirmation.judging import Sample, chosen, judged
from hpo.confirmation.record import Candidate, Confirmation, Contender, Winner
from hpo.confirmation.stages import Stage, Stages, reads_before, stages
from hpo.ledger.folder import RunFolder
from hpo.ledger.group import membership
from hpo.objective import Matters, Objective
from hpo.objectives import feasible
from hpo.report.summary import Row, Summary, load_summary
from hpo.report.table import over_limits
from hpo.report.verdicts import Seeded
from hpo.statistics import selection
from hpo.statistics.means import Interval, mean_interval
from hpo.stopping import registry
from hpo.study import Study


def of_run(
    folder: Path, *, matters: Matters | None = None, summary: Summary | None = None
) -> Confirmation | None:
    """A run's confirmation; None where none was begun.

    Args:
        folder: The run's folder.
        matters: The smallest difference that matters; None for what the latest look said.
        summary: The run, where it is known already.

    Raises:
        RunError: The folder is no run, or one of its ledgers is damaged.
    """
    run = RunFolder(folder)
    found = stages(run)
    if found.first is None:
        return None
    plain = confirmation(
        summary or load_summary(folder),
        found,
        reads=reads_before(run, found.looks),
        matters=matters,
    )
    group = membership(run)
    return replace(plain, group=group[0] if group else "")


def confirmation(
    summary: Summary, found: Stages, *, reads: int, matters: Matters | None
) -> Confirmation:
    """What the stages of a confirmation amount to.

    Args:
        summary: The run.
        found: Its stages.
        reads: How often the test part was read before.
        matters: As in `of_run`.
    """
    assert found.first is not None, "a confirmation was begun"
    looks = found.whole
    rows = candidates(summary, found)
    winners = [_winner(summary, row, found, looks) for row in rows.values() if row]
    part = "test" if any(s.test for w in winners for s in w.seeds) else "valid"
    said = Matters.parse((found.looks or (found.first,))[-1].matters)
    left = found.looks[-1:] or ((found.choose,) if found.choose else ())
    stage = next((("confirm" if s.look else "choose") for s in left if not s.ended), "")
    if not looks and not stage:
        stage = "confirm"
    plain = Confirmation(
        folder=summary.folder,
        study=summary.study,
        runs=(summary.folder,),
        part=part,
        unit_of="seed",
        contenders=(),
        missing={family: why(summary, family) for family, r in rows.items() if not r},
        pairs=(),
        matters=matters or said,
        changed=_changed(looks, matters or said),
        grown=max(len(summary.rows) - int(found.first.details["searched"]), 0),
        look=len(looks),
        reads=reads,
        finished=not stage,
        stage=stage,
        unequal=False,
    )
    objective = summary.objective
    units = {
        row.family: [value_of(seed, part, objective) for seed in winner.seeds]
        for row, winner in zip(filter(None, rows.values()), winners, strict=True)
    }
    contenders = [
        contender(family, (winner,), units[family])
        for family, winner in zip(units, winners, strict=True)
    ]
    when = {c.family: c.winner.looks for c in contenders}
    return settled(plain, contenders, units, when)


def settled(
    plain: Confirmation,
    contenders: Sequence[Contender],
    units: Mapping[str, Sequence[float | None]],
    when: Mapping[str, Sequence[int]],
) -> Confirmation:
    """A confirmation with its contenders in order and a verdict on each pair.

    Args:
        plain: The rest of it.
        contenders: The families.
        units: What the verdict compares, by family; None for what failed.
        when: The look at which each came in.
    """
    objective = plain.study.objectives[0]

    def place(c: Contender) -> tuple[bool, float]:
        mean = fmean(c.values) if c.values else None
        return bool(c.failed), objective.rank_key(mean)

    ordered = sorted(contenders, key=place)
    samples = [
        Sample(
            family=c.family, values=tuple(units[c.family]), looks=tuple(when[c.family])
        )
        for c in ordered
    ]
    pairs = (
        judged(samples, objective, plain.matters, look=plain.look) if plain.look else ()
    )
    return replace(
        plain, contenders=tuple(ordered), pairs=pairs, unequal=_unequal(ordered)
    )


def candidates(summary: Summary, found: Stages) -> dict[str, Row | None]:
    """Each family's candidate, as far as it is chosen; None where there is none.

    Args:
        summary: The run.
        found: The stages of its confirmation.
    """
    out: dict[str, Row | None] = {f.name: None for f in summary.study.families}
    if found.looks:
        for trial in found.looks[0].trials:
            row = summary.row(trial)
            out[row.family] = row
        return out
    if found.choose is None or not found.choose.ended:
        return out
    return out | choice(summary, found.choose)


def choice(summary: Summary, stage: Stage) -> dict[str, Row]:
    """The candidates that a finished stage chooses, by family.

    Args:
        summary: The run.
        stage: The stage.
    """
    tried: dict[str, dict[int, list[float | None]]] = {}
    for trial, seeds in stage.found.items():
        values = [None if s.error else s.objective for s in seeds]
        tried.setdefault(summary.row(trial).family, {})[trial] = values
    goals = summary.study.objectives
    beyond = {t for t in stage.found if not feasible(stage.attained(t, goals), goals)}
    best = {
        f: chosen(values, summary.objective, beyond=beyond)
        for f, values in tried.items()
    }
    return {f: summary.row(trial) for f, trial in best.items() if trial is not None}


def eligible(members: Iterable[Row]) -> list[Row]:
    """The ranked trials that a family's candidate is chosen from, best first.

    Those within the study's limits; where none is, those beyond them.

    Args:
        members: The family's trials, in the order of their ranks.
    """
    ranked = [r for r in members if r.rank]
    return [r for r in ranked if r.front] or ranked


def why(summary: Summary, family: str) -> str:
    """Why a family has no candidate, in words."""
    members = [r for r in summary.rows if r.family == family]
    if not any(r.rank for r in members):
        return f"none of its {len(members)} trials is ranked"
    return "every fresh seed of its best configurations failed"


def _winner(
    summary: Summary, row: Row, found: Stages, looks: Sequence[Stage]
) -> Winner:
    objective = summary.objective
    members = [r for r in summary.rows if r.family == row.family]
    seeds = [(s, stage.look) for stage in looks for s in stage.found[row.trial]]
    good = [s for s, _ in seeds if not s.error]
    valid = mean_interval([s.objective for s in good if s.objective is not None])
    metric = objective.metric
    test = mean_interval([s.test[metric] for s in good if s.test and metric in s.test])
    sizes = [stage.parameters[row.trial] for stage in looks]
    return Winner(
        run=summary.folder,
        trial=row.trial,
        rank=row.rank,
        params=row.params,
        search=row.objective,
        candidates=_tried(summary, row, found.choose),
        seeds=tuple(s for s, _ in seeds),
        looks=tuple(look for _, look in seeds),
        folders=tuple(stage.folder.path for stage in looks),
        numbers=tuple(n for stage in looks for n in stage.numbers(row.trial)),
        valid=valid,
        test=test,
        optimism=_optimism(valid, row, objective),
        expected_optimism=_expected(members, [s.objective for s in good], objective),
        parameters=next((s for s in sizes if s), row.parameters),
        trials=len(members),
        epochs=sum(r.epochs for r in members),
        seconds=sum(r.seconds for r in members),
        best_of=best_of(summary, row.family),
        beyond=tuple(over_limits(row, summary.study.objectives)),
    )


def contender(
    family: str, winners: Sequence[Winner], units: Sequence[float | None]
) -> Contender:
    """A family with what the verdict compares.

    Args:
        family: Its name.
        winners: Its candidate of each search.
        units: The values; None for what failed.
    """
    good = [v for v in units if v is not None and math.isfinite(v)]
    failed = len(units) - len(good)
    return Contender(
        family=family,
        winners=tuple(winners),
        values=tuple(good),
        failed=failed,
        mean=None if failed else mean_interval(good),
        trials=sum(w.trials for w in winners),
        epochs=sum(w.epochs for w in winners),
        seconds=sum(w.seconds for w in winners),
    )


def value_of(seed: Seeded, part: str, objective: Objective) -> float | None:
    """What a verdict compares, of one seed; None where it failed.

    Args:
        seed: The training.
        part: The part of the data that the verdict is about.
        objective: Whose metric is compared.
    """
    if seed.error:
        return None
    return (
        seed.objective if part == "valid" else (seed.test or {}).get(objective.metric)
    )


def _tried(summary: Summary, row: Row, stage: Stage | None) -> tuple[Candidate, ...]:
    """What the candidate was chosen from."""
    if stage is None:
        return (
            Candidate(
                trial=row.trial,
                rank=row.rank,
                search=row.objective,
                values=(),
                chosen=True,
            ),
        )
    rows = [summary.row(t) for t in stage.trials]
    return tuple(
        Candidate(
            trial=r.trial,
            rank=r.rank,
            search=r.objective,
            values=tuple(
                None if s.error else s.objective for s in stage.found[r.trial]
            ),
            chosen=r.trial == row.trial,
        )
        for r in rows
        if r.family == row.family
    )


def _optimism(
    valid: Interval | None, row: Row, objective: Objective
) -> Interval | None:
    """Mean over new seeds less the search's value, positive where it promised too much."""
    if valid is None or row.objective is None:
        return None
    sign = 1 if objective.direction == "minimize" else -1
    gap = replace(valid, mean=sign * (valid.mean - row.objective))
    if valid.low is None or valid.high is None:
        return gap
    ends = sorted(sign * (v - row.objective) for v in (valid.low, valid.high))
    return replace(gap, low=ends[0], high=ends[1])


def _expected(
    members: Sequence[Row], seeds: Sequence[float | None], objective: Objective
) -> float | None:
    """The optimism to expect of the best of the trials that it is chosen from.

    Errors are taken as logarithms, so that one bad configuration does not stand for all.
    """
    found = [r.objective for r in eligible(members) if r.objective is not None]
    values = [v for v in seeds if v is not None]
    if len(found) < 2 or len(values) < 2:
        return None
    logs = objective.direction == "minimize" and min(*found, *values) > 0
    on_scale = [[math.log(v) if logs else v for v in side] for side in (values, found)]
    luck = selection.expected_optimism(
        seeds=stdev(on_scale[0]), values=stdev(on_scale[1]), trials=len(found)
    )
    return fmean(values) * -math.expm1(-luck) if logs else luck


def best_of(summary: Summary, family: str) -> tuple[tuple[int, float], ...]:
    """The expected best value of 1, 2, 4, … trials of a family, for random search.

    The estimate holds for independent trainings by one procedure, so only draws at random
    from the space of today count that completed or converged. It is empty where a rule
    compares trials, which ends some for what others did, and where values have a limit.

    Args:
        summary: The run.
        family: The family.
    """
    study = summary.study
    limited = any(o.limit is not None for o in study.objectives)
    if limited or comparing(study, family):
        return ()
    found = [
        r.objective
        for r in summary.rows
        if r.family == family
        and r.rank
        and r.origin == "random"
        and r.objective is not None
        and summary.earlier_space(r) is None
    ]
    if not found:
        return ()
    sign = 1 if summary.objective.direction == "minimize" else -1
    counts = [2**i for i in range(len(found).bit_length()) if 2**i < len(found)]
    keys = [sign * v for v in found]
    return tuple(
        (n, sign * selection.expected_best(keys, n)) for n in (*counts, len(found))
    )


def comparing(study: Study, family: str) -> list[str]:
    """The rules of a study that compare a family's trials with each other.

    Args:
        study: The study.
        family: The family.
    """
    return [
        rule.name
        for rule in study.stopping
        if registry.compares(registry.make(rule), study, family)
    ]


def _changed(looks: Sequence[Stage], matters: Matters) -> str:
    """In words, when what matters is not what it was at the first look."""
    if not looks or Matters.parse(looks[0].matters) == matters:
        return ""
    return f"{looks[0].matters} mattered at the first look, {matters} does now"


def _unequal(contenders: Sequence[Contender]) -> bool:
    """Whether trials or epochs differ by more than a tenth."""
    for spent in ([c.trials for c in contenders], [c.epochs for c in contenders]):
        if spent and max(spent) > 1.1 * min(spent):
            return True
    return False
