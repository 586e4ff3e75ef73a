"""`hpo export-latents`: what a tuned model makes of its data, for others to go on with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal


@shell.command
def export_latents(
    run: options.Run,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A new HDF5 file for the codes.",
            show_default=False,
        ),
    ],
    trial: options.TrialOrBest = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Write the codes that a tuned model gives the rows of its validation part.

    `mu` and `logvar` of a Gaussian code, `tokens` of a quantized one, and `ids`, a row each:
    the layout of `vae_latents.h5`. The model has the parameters of the trial's best epoch.
    The data of the run must still be there; its test part is not read.
    """
    from hpo import packages
    from hpo.errors import RunError
    from hpo.run.trained_model import load_model
    from hpo.worker.environment import compose, worker_environment
    from models.training.protocol import Coded

    shell.refuse_existing(out)
    os.environ.update(compose(worker_environment()))  # before JAX loads
    model = load_model(run, trial, results=results, data_root=data)
    if not isinstance(model.learner, Coded):
        raise RunError(
            f"trial {model.trial} is of family `{model.family}`, which has no code",
            hint="`--trial N` takes a trial of another family",
        )
    told = {"family": model.family, "trial": model.trial, "part": "valid"}
    shapes = packages.write_codes(out, model.learner.codes("valid"), told)
    shell.data(str(out))
    arrays = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    terminal.say(f"trial {model.trial}, {model.family}: {arrays} of the part valid")
