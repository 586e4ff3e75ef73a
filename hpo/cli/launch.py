"""`hpo launch`: run a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import options, shell

if TYPE_CHECKING:
    from hpo.run.launch import Outcome


@shell.command
def launch(
    study: options.StudyName,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Trials of the run in all.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Epoch budget of a trial; moves the rungs."),
    ] = None,
    families: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these families.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a study key (budget.trials, sampler.name) or fix a configuration "
            "key (optimizer.learning_rate=0.003); VALUE is JSON. Repeatable.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of every random choice.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Trials at a time.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            metavar="F", help="Fraction of a GPU for a trial; 0 uses the CPU."
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="`ray`, or `local` for one child process."),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Active time of the run, such as 30m."),
    ] = None,
    stall: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Kill a trial that is silent for so long; 10m."
        ),
    ] = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Run a study and print its ranked table.

    Ctrl-C finishes the epochs in progress and leaves a run that `hpo resume` goes on with;
    a second Ctrl-C leaves at once.
    """
    from hpo import discovery
    from hpo.check import keys
    from hpo.cli import overrides
    from hpo.cli.progress import Progress
    from hpo.run import launch as runner

    chosen = discovery.load_study(study)
    if families is not None:
        chosen = overrides.keep_families(chosen, families)
    short = {
        "budget.trials": trials,
        "budget.epochs": epochs,
        "budget.seconds": _seconds(time_budget, "--time-budget"),
        "seed": seed,
        "resources.workers": workers,
        "resources.gpus_per_trial": gpus_per_trial,
        "resources.executor": executor,
        "resources.stall": _seconds(stall, "--stall"),
    }
    given: dict[str, Any] = {k: v for k, v in short.items() if v is not None}
    given |= overrides.parse_settings(settings or [])
    chosen = overrides.apply_settings(chosen, given)
    keys.check_spaces(chosen)
    with Progress(chosen) as progress:
        outcome = runner.launch(
            chosen,
            results=results,
            data_root=data,
            source=study,
            study_file=discovery.study_file(study),
            observer=progress,
        )
    finish(outcome)


def finish(outcome: Outcome) -> None:
    """Write the report, print the table, and say what can be done next.

    Raises:
        typer.Exit: With status 130 when the run was interrupted.
        RunError: Nothing could be ranked because trials failed.
    """
    from hpo.errors import RunError
    from hpo.report import files, summary, table

    result = summary.load_summary(outcome.folder)
    try:
        files.write_report(result)
    except OSError as error:  # derived files: the run itself is safe
        shell.say(f"warning: the report could not be written: {error}")
    shell.show_text(table.render(result, width=shell.width()))
    run = str(outcome.folder)
    if outcome.state == "interrupted":
        if outcome.reason:
            shell.say(outcome.reason)
        shell.hint(f"`hpo resume {run}` goes on where it stopped")
        raise typer.Exit(shell.INTERRUPTED)
    failed = [r for r in result.rows if r.state == "failed"]
    if result.best is None and failed:
        first = min(failed, key=lambda r: r.trial)
        raise RunError(
            f"no trial could be ranked and {len(failed)} failed; trial {first.trial}: "
            f"{first.reason}",
            hint=f"`hpo show {run} {first.trial}` shows the whole error",
        )
    if result.best is not None:
        shell.hint(f"`hpo rerun {run}` trains the best one again with fresh seeds")


def _seconds(text: str | None, option: str) -> float | None:
    from hpo.cli.overrides import parse_duration

    return None if text is None else parse_duration(text, option=option)
