"""`hpo predict`: use a tuned model on new data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.run.trained_model import TrainedModel
    from models.protocols import Task


@shell.command
def predict(
    run: options.Run,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The file: inputs, and known outputs where the task takes them.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A new file for the predictions.",
            show_default=False,
        ),
    ],
    known: Annotated[
        int | None,
        typer.Option(
            "--known",
            metavar="N",
            min=1,
            help="Outputs at FILE's start that the model is given (as in training).",
            show_default=False,
        ),
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(
            "--chunk",
            metavar="N",
            min=1,
            help="Samples predicted at a time, for long files (all of them).",
            show_default=False,
        ),
    ] = None,
    trial: options.TrialOrBest = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Predict with a tuned model, from a file of the training data's layout.

    The model has the parameters of the trial's best epoch. Where FILE holds the
    answer too, the error is printed. The data of the run must still be there.
    """
    from hpo.errors import RunError
    from hpo.run.trained_model import load_model
    from hpo.worker.environment import compose, worker_environment

    shell.refuse_existing(out)
    if not file.is_file():
        raise RunError(f"there is no file {file}", hint="check the path")
    os.environ.update(compose(worker_environment()))  # before JAX loads
    model = load_model(run, trial, results=results, data_root=data)
    if not isinstance(model.data, dict) or not model.study.described_task:
        raise RunError(
            "the run was not trained on a dataset of files",
            hint="use `hpo.load_model` and its `predict(given)` in Python",
        )
    task = _task(model.study.described_task, known)
    given, measured = task.from_file(file, data=model.data)
    predicted = model.predict(given, chunk=chunk)
    task.to_file(out, predicted, data=model.data, like=file)
    shell.data(str(out))
    count = ", ".join(f"{len(a):,} samples of {role}" for role, a in predicted.items())
    said = f"trial {model.trial}, {model.family}: {count}"
    terminal.say(said + _error(model, task, predicted, measured))


def _task(described: Mapping[str, Any], known: int | None) -> Task:
    """The task of the study, perhaps with another number of known outputs."""
    from hpo import packages
    from hpo.errors import RunError

    task = packages.task(described)
    if known is None:
        return task
    settings = task.to_json()
    if "known" not in settings:
        raise RunError(
            f"the task `{task.name}` gives a model no outputs, got `--known {known}`",
            hint="leave `--known` out",
        )
    return packages.task(settings | {"known": known})


def _error(
    model: TrainedModel, task: Task, predicted: Any, measured: Mapping[str, Any]
) -> str:
    """The objective over the file, where the file holds what it needs."""
    from hpo.report import numbers

    objective = model.study.objectives[0]
    errors = task.errors(predicted, measured, data=model.data)
    if objective.metric not in errors:
        return ""
    value = errors[objective.metric]
    unit = objective.unit or task.unit(objective.metric, data=model.data)
    scale = numbers.scale_for([value], unit)
    return f", {objective.metric} {scale.format(value)} {scale.unit}".rstrip()
