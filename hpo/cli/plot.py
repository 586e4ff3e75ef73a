"""`hpo plot`: pictures of what a tuned model is trained on and predicts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal


@shell.command
def plot(
    run: options.Run,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="A folder for the pictures; else the run's report/plots-N.",
            show_default=False,
        ),
    ] = None,
    trial: options.TrialOrBest = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Draw the best, median and worst validation window of a tuned model, and a batch.

    PNG and SVG, and the numbers as CSV: `results-K` for output K, predicted beside
    measured with the parameters of the trial's best epoch, and `batch`, the first rows
    that the next epoch would train on, unless the model is in closed form. The test part
    is not read.
    """
    from hpo import plots
    from hpo.run.trained_model import load_model
    from hpo.worker.environment import compose, worker_environment

    os.environ.update(compose(worker_environment()))  # before JAX loads
    model = load_model(run, trial, results=results, data_root=data)
    place = out or shell.find_run(results, run) / "report" / f"plots-{model.trial}"
    written = plots.write(model.learner, place)
    shell.data(str(place))
    told = f"trial {model.trial}, {model.family}: {', '.join(written)}"
    if not any(name.startswith("batch.") for name in written):
        told += "; no batch, as it is trained on none that could be drawn"
    terminal.say(told)
