"""`hpo check`: what a study would do."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.cli.shell import ListFormat
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.check.preview import FamilyPreview, Preview
    from hpo.study import Study

_HEADS = (
    *("family", "trials", "epochs", "rungs", "corners", "signatures"),
    *("parameters", "memory"),
)
_PROBED = ("seconds", "compile_seconds")


@shell.command
def check(
    study: options.StudyName,
    trials: options.Trials = None,
    epochs: options.Epochs = None,
    families: options.Families = None,
    settings: options.Settings = None,
    seed: options.Seed = None,
    workers: options.WorkersOrAuto = None,
    gpus_per_trial: options.GpusPerTrial = None,
    executor: options.Executor = None,
    order: options.Order = None,
    time_budget: options.TimeBudget = None,
    stall: options.Stall = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Train two epochs of each family and estimate the time."
        ),
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        ListFormat, typer.Option("--format", help="How to print.")
    ] = ListFormat.table,
    data: options.Data = None,
) -> None:
    """Show what a study would do, without training anything.

    The study resolved, its spaces, and for each family the trials, rungs, and the models at
    the corners of its space: compilations, parameters, memory from above. Corners that a
    family refuses are named, and the exit status is then 1. Takes `launch`'s options for the study.
    """
    from hpo import discovery
    from hpo.check.preview import preview
    from hpo.cli import attaching, overrides
    from hpo.report import formats

    chosen = overrides.changed(
        discovery.load_study(study),
        trials=trials,
        epochs=epochs,
        families=families,
        settings=settings,
        seed=seed,
        workers=attaching.workers_of(workers),
        gpus_per_trial=gpus_per_trial,
        executor=executor,
        order=order,
        time_budget=time_budget,
        stall=stall,
    )
    chosen = attaching.counted(chosen, workers)
    found = preview(chosen, data_root=data, probe=probe)
    heads = (*_HEADS, *(_PROBED if probe else ()))
    if format is ListFormat.json:
        shell.data(formats.json_text([_record(f) for f in found.families]))
    elif format is ListFormat.csv:
        shell.data(formats.csv_text([_flat(f) for f in found.families], heads))
    else:
        _show(found, heads)
    for text in found.remarks:
        terminal.say(f"note: {text}")
    _complain(found)


def _complain(found: Preview) -> None:
    """Say which corners are refused and which probes failed.

    Raises:
        StudyError: There are such.
    """
    from hpo.errors import StudyError
    from hpo.report import formats

    bad: list[str] = []
    hints: list[str] = []
    for family in found.families:
        for corner, answer in family.refused:
            at = {k: corner.point[k] for k in corner.keys} or dict(corner.point)
            at_all = formats.inline_json(at)
            terminal.say(f"{family.name} refuses {at_all}: {answer.error}")
            hints += [answer.hint] if answer.hint else []
            keys = " with ".join(f"`{k}`" for k in corner.keys)
            bad.append(f"{family.name} ({keys or 'its first point'})")
        if family.probe is not None and family.probe.error:
            terminal.say(f"{family.name}: the probe failed: {family.probe.error}")
            bad.append(f"{family.name} (the probe)")
    if bad:
        raise StudyError(
            f"trials would fail: {', '.join(dict.fromkeys(bad))}",
            hint="; or ".join(
                dict.fromkeys([*hints, "narrow the space, or add a condition to it"])
            ),
        )


def _or_default(study: Study, what: str) -> str:
    """The names of a study's sampler or rules, and whether any new study has these."""
    value = getattr(study, what)
    rules = value if isinstance(value, tuple) else (value,)
    names = ", ".join(rule.name for rule in rules) or "none"
    (usual,) = (f.default for f in fields(study) if f.name == what)
    return f"{names} (the default)" if value == usual else names


def _show(found: Preview, heads: tuple[str, ...]) -> None:
    from hpo.report import formats, numbers
    from hpo.tasks import described

    study = found.study
    data = (
        study.data if isinstance(study.data, str) else formats.inline_json(study.data)
    )
    objective = study.objectives[0]
    unit = f" [{objective.unit}]" if objective.unit else ""
    workers = f"{study.resources.workers} workers ({study.resources.executor})"
    if study.resources.virtual:
        workers += f", virtual order on {study.resources.seats} seats"
    facts = {
        "study": study.name,
        "task": described(study.described_task) if study.task else "none",
        "data": data,
        "objective": f"{objective.metric}{unit}, {objective.direction}",
        "budget": f"{sum(study.trials_of().values())} trials, {workers}",
        "sampler": f"{_or_default(study, 'sampler')}; seed {study.seed}",
        "stopping": _or_default(study, "stopping"),
    }
    if found.changing:
        counts = study.trials_of()
        facts["population"] = "; ".join(
            f"{name}: {counts[name]} trials, {', '.join(keys)} "
            f"{'changes' if len(keys) == 1 else 'change'} in training"
            for name, keys in found.changing.items()
        )
    if study.settings:
        facts["settings"] = formats.inline_json(dict(study.settings))
    width = max(map(len, facts))
    shell.out("\n".join(f"{k.ljust(width)}  {v}" for k, v in facts.items()))
    for family in study.families:
        shell.out(f"\n{family.name}")
        rows = [
            dict(zip(("key", "values", "when"), row, strict=True))
            for row in family.space.rows()
        ]
        shell.out(shell.columns(rows, ("key", "values", "when")))
    shell.out("")
    shell.out(shell.columns([_cells(f) for f in found.families], heads))
    if found.seconds is not None:
        shell.out(
            f"\nat most about {numbers.duration(found.seconds)}, if nothing is stopped "
            "early"
        )


def _record(family: FamilyPreview) -> dict[str, Any]:
    probed = {} if family.probe is None else {k: _of(family, k) for k in _PROBED}
    return {
        "family": family.name,
        "trials": family.trials,
        "epochs": family.epochs,
        "rungs": list(family.rungs),
        "corners": family.corners,
        "signatures": family.signatures,
        "parameters": None if family.parameters is None else list(family.parameters),
        "memory": family.memory,
        "refused": [
            {"keys": list(c.keys), "point": dict(c.point), "error": answer.error}
            for c, answer in family.refused
        ],
        **probed,
    }


def _flat(family: FamilyPreview) -> dict[str, Any]:
    record = _record(family)
    record["rungs"] = " ".join(map(str, family.rungs))
    low, high = family.parameters or (None, None)
    record["parameters"] = "" if low is None else f"{low} {high}"
    return record


def _cells(family: FamilyPreview) -> dict[str, str]:
    """As people read it."""
    from hpo.report import numbers

    record = _record(family)
    low, high = family.parameters or (None, None)
    size = f"{low:,} … {high:,}" if low != high else numbers.count(low)
    cells = {k: "–" if v is None else str(v) for k, v in record.items()}
    return cells | {
        "rungs": _shortly(family.rungs) or "–",
        "parameters": size,
        "memory": "–" if family.memory is None else numbers.size(family.memory),
        **{k: numbers.seconds(_of(family, k) or 0.0) for k in _PROBED if k in record},
    }


def _shortly(rungs: tuple[int, ...]) -> str:
    """Rungs in a column: of more than five the first two and the last."""
    first, last = map(str, rungs[:2]), map(str, rungs[-1:])
    return ", ".join([*first, "…", *last] if len(rungs) > 5 else map(str, rungs))


def _of(family: FamilyPreview, name: str) -> float | None:
    if family.probe is None or family.probe.error:
        return None
    return {
        "seconds": family.probe.seconds,
        "compile_seconds": family.probe.compile_seconds,
    }[name]
