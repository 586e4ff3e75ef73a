"""`hpo predict`: use a tuned model on new data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.run.trained_model import TrainedModel


@shell.command
def predict(
    run: options.Run,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An HDF5 file with the inputs, named as in the training data.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A new HDF5 file for the outputs.",
            show_default=False,
        ),
    ],
    trial: Annotated[
        int | None,
        typer.Option(
            "--trial",
            metavar="N",
            min=1,
            help="The trial of this number; else the best one.",
            autocompletion=options.complete_trial,
        ),
    ] = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Predict the outputs of a file with a tuned model.

    The model has the parameters of the trial's best epoch. Where FILE holds measured
    outputs too, the error is printed. The data of the run must still be there.
    """
    from hpo import discovery
    from hpo.errors import RunError
    from hpo.run.trained_model import load_model
    from hpo.worker.environment import compose, worker_environment

    if out.exists():
        raise RunError(f"{out} is there already", hint="remove it or choose another")
    if not file.is_file():
        raise RunError(f"there is no file {file}", hint="check the path")
    os.environ.update(compose(worker_environment()))  # before JAX loads
    model = load_model(run, trial, results=results, data_root=data)
    if not isinstance(model.data, dict):
        raise RunError(
            "the run was not trained on a dataset of files",
            hint="use `hpo.load_model` and its `predict(u)` in Python",
        )
    signals = discovery.signals()
    y = model.predict(signals.read_inputs(file, data=model.data))
    signals.write_outputs(out, y, data=model.data, like=file)
    measured = signals.read_outputs(file, data=model.data)
    shell.out(str(out))
    said = f"trial {model.trial}, {model.family}: {len(y):,} samples"
    terminal.say(said + ("" if measured is None else f", {_error(model, y, measured)}"))


def _error(model: TrainedModel, y: Any, measured: Any) -> str:
    """The root mean squared error, as the validation metric of that name defines it."""
    from hpo.report import numbers

    start, units = model.data.get("score_from", 0), set(model.data.get("units", ()))
    if not any(units):
        units = {o.unit for o in model.study.objectives if o.metric == "rmse"}
    if len(y) <= start:
        return f"no error: scores count from sample {start}"
    rmse = float((((y - measured)[start:] ** 2).mean(axis=0) ** 0.5).mean())
    scale = numbers.scale_for([rmse], units.pop() if len(units) == 1 else "")
    return f"rmse {scale.format(rmse)} {scale.unit}".rstrip()
