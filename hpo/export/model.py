"""A trial's model as a folder that needs neither the run, its data nor this project."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import packages
from hpo.errors import RunError
from hpo.run.trained_model import TrainedModel
from hpo.schedule import written

IDENTIBENCH_TASKS = ("simulation", "prediction")


def export_model(
    model: TrainedModel,
    out: Path,
    *,
    form: str = "stablehlo",
    tasks: tuple[str, ...] = (),
    replace: bool = False,
) -> Mapping[str, Any]:
    """Write a model's program, description and loader, all or nothing.

    Args:
        model: As `load_model` gave it, in a process without compiled kernels.
        out: A new folder.
        form: Of the program, ``stablehlo`` or ``onnx``.
        replace: Whether a folder that is there already gives way.
        tasks: Refuse a model of another task than these; empty takes any.

    Returns:
        The description, as ``model.json`` has it.

    Raises:
        RunError: `out` is there already or cannot be written, or the task is none of `tasks`.
        UserError: The model cannot leave, or does not compute what it did.
    """
    task: Mapping[str, Any] = model.study.described_task or {}
    if tasks and task.get("name") not in tasks:
        raise RunError(
            f"such a predictor maps u to y: it is made of {' or '.join(tasks)}, not of "
            f"`{task.get('name')}`",
            hint="`--to stablehlo` exports models of any task",
        )
    if not replace and (out.exists() or out.is_symlink()):
        raise RunError(f"{out} is there already", hint="remove it or choose another")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as aside:
            made = Path(aside) / out.name
            described = packages.write_model(
                model.learner, made, _about(model, task), form=form
            )
            if replace and out.is_dir():
                shutil.rmtree(out)
            os.replace(made, out)
    except OSError as error:
        raise RunError(
            f"cannot write {out}: {error.strerror or error}",
            hint="choose another place with `--out PATH`",
        ) from error
    return described


def _about(model: TrainedModel, task: Mapping[str, Any]) -> dict[str, Any]:
    """What a person needs to know of the model who has nothing else."""
    data = model.data if isinstance(model.data, Mapping) else {}
    return {
        "study": model.study.name,
        "trial": model.trial,
        "family": model.family,
        "task": dict(task),
        "objective": {
            "metric": model.study.objectives[0].metric,
            "value": model.objective,
        },
        "config": dict(model.config),
        **({"schedule": written(model.schedule)} if model.schedule else {}),
        "channels": data.get("roles", {}),
        "units": data.get("units", {}),
        "sampling_rate": data.get("sampling_rate"),
        "normalisation": packages.normalisation(model.data),
    }
