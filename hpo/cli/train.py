"""`hpo train`: one training by a configuration file, without a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.cli.launch import finish


@shell.command
def train(
    family: Annotated[
        str,
        typer.Argument(metavar="FAMILY", help="The family's name.", show_default=False),
    ],
    config: Annotated[
        Path,
        typer.Option(
            "--config",
            metavar="FILE",
            help="A YAML file: `data` or `dataset_path`, `model`, `training`, `random_seed`.",
            show_default=False,
        ),
    ],
    executor: options.Executor = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Train one configuration, written down in a YAML file.

    It is a run of one trial, so all that is done with runs can be done with it. With
    `resume_from: {run: FOLDER}` in FILE, an interrupted one goes on. A key that the
    family does not know is refused.
    """
    import dataclasses

    from hpo.live.progress import Progress
    from hpo.report.summary import load_study
    from hpo.run import configuration_file as file
    from hpo.run import launch as runner
    from hpo.tasks import with_task

    asked = file.read(family, config)
    study = asked.study
    if executor is not None:
        study = study.replace(
            resources=dataclasses.replace(study.resources, executor=executor)
        )
    if asked.resume_from:
        folder = shell.find_run(results, asked.resume_from)
        begun = load_study(folder)
        file.refuse_other(study, begun, config)
        with Progress(begun) as progress:
            outcome = runner.resume(folder, data_root=data, observer=progress)
    else:
        study = with_task(study, root=data)
        with Progress(study) as progress:
            outcome = runner.launch(
                study, results=results, data_root=data, observer=progress
            )
    finish(outcome)
