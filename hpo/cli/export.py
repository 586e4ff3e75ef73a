"""`hpo export`: a run for other people's programs."""

from __future__ import annotations

import os
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from hpo.cli import options, shell
from hpo.live import terminal


class Target(StrEnum):
    """The formats that a run, or the model of a trial, can be exported to."""

    optuna = "optuna"
    csv = "csv"
    parquet = "parquet"
    tensorboard = "tensorboard"
    stablehlo = "stablehlo"
    onnx = "onnx"
    identibench = "identibench"


MODELS = (Target.stablehlo, Target.onnx, Target.identibench)
"""Those that hold a trial's model instead of the run's numbers."""


@shell.command
def export(
    run: options.Run,
    to: Annotated[Target, typer.Option("--to", help="The format.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="A new file (for tensorboard and models a folder); else in the run's "
            "report/. An Optuna storage is SQLite, or a journal when PATH ends with .log.",
            show_default=False,
        ),
    ] = None,
    trial: options.TrialOrBest = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Write a run in another program's format, and print where it is.

    The Optuna storage holds one study a family, with parameters, states and the value of
    every epoch; CSV and Parquet hold a row a trial; TensorBoard gets a log a trial.

    `stablehlo` is the model of a trial's best epoch in a folder of its own, which JAX
    alone loads, without this project and without the data, and `onnx` one for ONNX Runtime
    (it needs the extra `onnx`); `identibench` is the first of these for inputs u and outputs
    y, called as `model(u, y_init, attrs)`.
    """
    if to in MODELS:
        shell.data(str(_model(run, trial, to=to, out=out, results=results, data=data)))
        return
    if trial is not None:
        from hpo.errors import RunError

        raise RunError(
            f"`--to {to.value}` writes all trials, got `--trial {trial}`",
            hint=f"`--trial` goes with {', '.join(t.value for t in MODELS)}",
        )
    from hpo.export.exporting import Kind
    from hpo.export.exporting import export as write

    place = write(shell.find_run(results, run), to=cast(Kind, to.value), out=out)
    shell.data(str(place))
    if to is Target.optuna and place.suffix != ".log":
        shell.hint(f"`optuna-dashboard {shlex.quote(f'sqlite:///{place}')}` shows it")
    elif to is Target.optuna:
        shell.hint(f"`optuna-dashboard {shlex.quote(str(place))}` shows it")
    elif to is Target.tensorboard:
        shell.hint(f"`tensorboard --logdir {shlex.quote(str(place))}` shows it")


def _model(
    run: str,
    trial: int | None,
    *,
    to: Target,
    out: Path | None,
    results: Path,
    data: Path | None,
) -> Path:
    """Export a trial's model, and say what its program takes."""
    from hpo.export.model import IDENTIBENCH_TASKS, export_model
    from hpo.run.trained_model import load_model
    from hpo.worker.environment import compose, worker_environment

    if out is not None:
        shell.refuse_existing(out)
    os.environ.update(compose(worker_environment()))  # before JAX loads
    os.environ["HPO_KERNELS"] = "off"  # their calls do not travel
    model = load_model(run, trial, results=results, data_root=data)
    name = f"model-{model.trial}" + ("-onnx" if to is Target.onnx else "")
    place = out or shell.find_run(results, run) / "report" / name
    only = IDENTIBENCH_TASKS if to is Target.identibench else ()
    form = "onnx" if to is Target.onnx else "stablehlo"
    described = export_model(model, place, form=form, tasks=only, replace=out is None)
    taken = ", ".join(f"{n} {i['shape']}" for n, i in described["inputs"].items())
    terminal.say(f"trial {model.trial}, {model.family}: a program of {taken}")
    shell.hint(f"{place}/predictor.py says how to call it")
    return place
