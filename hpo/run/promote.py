"""A trial as a study of its own: a short Python file that launches and that people edit."""

from __future__ import annotations

import pprint
import textwrap
from pathlib import Path
from typing import Any

from hpo.errors import RunError, StudyError
from hpo.ledger.folder import RunFolder, write_atomically
from hpo.pasted import pasted
from hpo.report import numbers
from hpo.report.summary import Row, Summary
from hpo.schedule import written
from hpo.study import Family
from hpo.worker import pickling

_TEMPLATE = '''"""{headline}

    {launch}

Its one trial has the configuration and the seed of trial {trial}, so that it gives the numbers of
that trial again. To search around it, put distributions in the place of values and delete
`fixed`.
"""

from __future__ import annotations

from hpo.fixed import FixedTrial
from hpo.study import Budget, Family, Objective, Rule, Study

STUDY = Study(
    name={name!r},
    data={data},
    task={task},
    families=(
        Family(
            name={family!r},
            create={create!r},
            epochs={epochs!r},
            space={space},
        ),
    ),
    objectives=(
{objectives}
    ),
    budget=Budget(trials=1, epochs={epochs!r}),
    sampler=Rule(name="random"),
    stopping=(Rule(name="divergence"),),
    settings={settings},
    fixed=({fixed},),
    seed={study_seed!r},
    description={description!r},
)
'''


def promote(summary: Summary, row: Row, *, name: str, folder: Path) -> Path:
    """Write a study file with a trial's configuration.

    Args:
        summary: The run.
        row: The trial.
        name: The study's name, and that of its file.
        folder: Where the file goes; ``studies`` of the current folder is found by name.

    Returns:
        The file.

    Raises:
        StudyError: The name is none, or the family's `create` cannot be found by name.
        RunError: There is such a file already, or it cannot be written.
    """
    family = summary.study.family(row.family)
    if not isinstance(family.create, str) or not pickling.can_be_found(family.create):
        raise StudyError(
            f"family `{row.family}`: its `create` ({family.reference}) cannot be found by name, "
            "so that no file can name it",
            hint="put it into a module on PYTHONPATH and launch the study with its name",
        )
    path = folder / f"{name.replace('-', '_')}.py"
    if path.exists():
        raise RunError(f"{path} is there already", hint="take another `--name`")
    text = _text(summary, row, family, name=name, path=path)
    _checked(text, path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}",
            hint="choose another folder with `--into`",
        ) from error
    return path


def _text(summary: Summary, row: Row, family: Family, *, name: str, path: Path) -> str:
    study, objective = summary.study, summary.objective
    scale = numbers.scale_for([row.objective], objective.unit)
    value = f"{objective.metric} {scale.format(row.objective)} {scale.unit}".strip()
    run = f"{study.name}/{RunFolder(summary.folder).name}"
    rank = f", rank {row.rank}," if row.rank else ""
    headline = f"Trial {row.trial}{rank} of run {run}: {row.family}, {value}."
    goals = (
        f"        Objective(metric={o.metric!r}, direction={o.direction!r}, "
        f"unit={o.unit!r}, limit={o.limit!r}, matters={o.matters!r}),"
        for o in study.objectives
    )
    return _TEMPLATE.format(
        headline=headline,
        launch=pasted("launch", path),
        trial=row.trial,
        name=name,
        data=_literal(study.data, 4),
        task=_literal(dict(study.described_task) or None, 4),
        family=row.family,
        create=family.create,
        space=_literal(summary.space(row).complete(row.params), 12),
        epochs=row.epoch_budget,
        objectives="\n".join(goals),
        settings=_literal(dict(study.settings), 4),
        fixed=_fixed(row),
        study_seed=study.seed,
        description=headline,
    )


def _fixed(row: Row) -> str:
    """The trial in Python, and how its values changed."""
    about = f"family={row.family!r}, params={{}}, seed={row.seed!r}"
    if row.schedule:
        changes = textwrap.indent(_literal(written(row.schedule), 0), " " * 12)
        about = f"\n        {about},\n        schedule=(\n{changes}\n        ),\n    "
    return f"FixedTrial({about})"


def _literal(value: Any, indent: int) -> str:
    """A value as Python reads it back, indented like what stands around it."""
    text = pprint.pformat(value, width=80, sort_dicts=False)
    return textwrap.indent(text, " " * indent).lstrip()


def _checked(text: str, path: Path) -> None:
    """Refuse a file that would not build its study: a name that is none, for one.

    Raises:
        StudyError: It breaks a rule.
    """
    names: dict[str, Any] = {"__name__": "promoted"}
    exec(compile(text, str(path), "exec"), names)  # noqa: S102 - our own template
