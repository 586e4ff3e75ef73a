"""`hpo launch`: run a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hpo.cli import options, shell
from hpo.live import terminal

if TYPE_CHECKING:
    from hpo.run.launch import Outcome


@shell.command
def launch(
    study: options.StudyName,
    trials: options.Trials = None,
    epochs: options.Epochs = None,
    families: options.Families = None,
    settings: options.Settings = None,
    seed: options.Seed = None,
    workers: options.Workers = None,
    gpus_per_trial: options.GpusPerTrial = None,
    executor: options.Executor = None,
    time_budget: options.TimeBudget = None,
    stall: options.Stall = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Run a study and print its ranked table.

    Ctrl-C finishes the epochs in progress and leaves a run that `hpo resume` goes on with;
    a second Ctrl-C leaves at once.
    """
    from hpo import discovery
    from hpo.cli import overrides
    from hpo.live.progress import Progress
    from hpo.run import launch as runner
    from hpo.tasks import with_task

    chosen = overrides.changed(
        discovery.load_study(study),
        trials=trials,
        epochs=epochs,
        families=families,
        settings=settings,
        seed=seed,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        executor=executor,
        time_budget=time_budget,
        stall=stall,
    )
    chosen = with_task(chosen, root=data)
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
        terminal.say(f"warning: the report could not be written: {error}")
    shell.show_text(table.render(result, width=terminal.width()))
    run = str(outcome.folder)
    if outcome.state == "interrupted":
        if outcome.reason:
            terminal.say(outcome.reason)
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
