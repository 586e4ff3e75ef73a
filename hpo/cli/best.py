"""`hpo best`: the best configuration, for a program or a paper."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal


class Language(StrEnum):
    """How a configuration is written."""

    python = "python"
    json = "json"
    yaml = "yaml"


@shell.command
def best(
    run: options.LatestRun = "latest",
    family: Annotated[
        str | None,
        typer.Option(
            metavar="F",
            help="The best trial of this family.",
            autocompletion=options.complete_family,
        ),
    ] = None,
    language: Annotated[
        Language, typer.Option("--as", help="How to write it.")
    ] = Language.json,
    save: Annotated[
        bool,
        typer.Option(
            "--save",
            help="Write RUN/best/FAMILY/ for each family: checkpoint, model card and more.",
        ),
    ] = False,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Print the configuration of the best trial.

    It is the whole one, as the learner resolved it: searched values, constants and
    settings, by dotted key. With `--save` each family's best model is written into a folder
    instead (the confirmed candidate where there is one): checkpoint, configuration,
    normalisation, model card and an example that loads it.

    Where values changed while it was trained, as `pbt` does, they are those of the first
    epoch, and the schedule of the changes stands beside them.
    """
    from hpo.errors import RunError
    from hpo.report import configuration, numbers
    from hpo.report.summary import load_summary

    whole = load_summary(shell.find_run(results, run))
    if save:
        from hpo.run.best_folder import save_best

        for folder in save_best(whole, family=family):
            shell.data(str(folder))
        return
    row = whole.select(family=family).best
    if row is None:
        of = f"family `{family}`" if family else "the run"
        raise RunError(
            f"no trial of {of} is ranked yet",
            hint="only completed and converged trials are; see `hpo results`",
        )
    write = {
        Language.python: configuration.as_python,
        Language.json: configuration.as_json,
        Language.yaml: configuration.as_yaml,
    }[language]
    shell.data(write(configuration.training(whole, row)))
    scale = numbers.scale_for([row.objective], whole.objective.unit)
    value = f"{scale.format(row.objective)} {scale.unit}".strip()
    place = f"trial {row.trial}, rank {row.rank}"
    terminal.say(f"{row.family}, {place}: {whole.objective.metric} {value}")
    if row.schedule:
        terminal.say(
            f"one training from seed {row.seed}, whose values change after epoch "
            + ", ".join(str(change.after) for change in row.schedule)
        )
