"""`hpo launch`: run a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal
from hpo.pasted import pasted

if TYPE_CHECKING:
    from hpo.ledger.group import RunGroup
    from hpo.report.summary import Summary
    from hpo.run.attach import Attach
    from hpo.run.launch import Outcome


@shell.command
def launch(
    study: options.StudyName,
    trials: options.Trials = None,
    epochs: options.Epochs = None,
    families: options.Families = None,
    settings: options.Settings = None,
    seed: options.Seed = None,
    workers: options.WorkersOrAuto = None,
    gpus_per_trial: options.GpusPerTrial = None,
    executor: options.Executor = None,
    order: options.Order = None,
    time_budget: options.TimeBudget = None,
    stall: options.Stall = None,
    chaos: options.Chaos = None,
    chaos_seed: options.ChaosSeed = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            metavar="M", help="M searches with seeds of their own, as one group."
        ),
    ] = None,
    address: options.Address = None,
    insecure_cluster: options.InsecureCluster = False,
    storage: options.Storage = "driver",
    patience: options.Patience = "10m",
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Run a study and print its ranked table.

    Ctrl-C finishes the epochs in progress and leaves a run that `hpo resume` goes on with;
    a second Ctrl-C leaves at once. With `--repeat`, `hpo resume GROUP` goes on with all
    searches, and `hpo confirm GROUP` compares families by them.
    """
    from hpo import discovery
    from hpo.cli import attaching, overrides
    from hpo.errors import StudyError
    from hpo.live.progress import Progress
    from hpo.run import launch as runner
    from hpo.tasks import with_task

    faults = overrides.chaos(chaos, chaos_seed)
    if repeat is not None and faults is not None:
        raise StudyError(
            "`--chaos` disturbs one run, and `--repeat` is a group of them",
            hint="leave one of them out",
        )
    chosen = overrides.changed(
        discovery.load_study(study),
        trials=trials,
        epochs=epochs,
        families=families,
        settings=settings,
        seed=seed,
        workers=attaching.workers_of(workers),
        gpus_per_trial=gpus_per_trial,
        executor=executor,
        order=order,
        time_budget=time_budget,
        stall=stall,
    )
    chosen = attaching.counted(chosen, workers)
    attach = attaching.cluster_of(
        chosen.resources.executor,
        address,
        insecure=insecure_cluster,
        storage=storage,
        patience=patience,
        workers=chosen.resources.workers,
    )
    chosen = with_task(chosen, root=data)
    if repeat is not None:
        from hpo.run import group

        whole = group.begin(
            chosen,
            repeat,
            results=results,
            data_root=data,
            source=study,
            study_file=discovery.study_file(study),
        )
        run_group(whole, attach=attach)
        return
    with Progress(chosen) as progress:
        outcome = runner.launch(
            chosen,
            results=results,
            data_root=data,
            source=study,
            study_file=discovery.study_file(study),
            observer=progress,
            attach=attach,
            chaos=faults,
        )
    finish(outcome)


def run_group(
    group: RunGroup, *, allow_different: bool = False, attach: Attach | None = None
) -> None:
    """Run what is left of a group, and say what can be done next.

    Args:
        group: The group.
        allow_different: Go on although the study file changed.
        attach: The cluster to work on; None for this machine.

    Raises:
        typer.Exit: With status 130 when it was interrupted.
    """
    from hpo.live.progress import Progress
    from hpo.run.group import carry_on

    def told(outcome: Outcome, place: int, count: int) -> None:
        how = "was interrupted" if outcome.state == "interrupted" else "has ended"
        terminal.say(f"search {place} of {count} {how}: {outcome.folder}")

    terminal.say(f"the group is {group.path}")
    outcome = carry_on(
        group,
        observe=Progress,
        told=told,
        allow_different=allow_different,
        attach=attach,
    )
    if outcome.state == "interrupted":
        if outcome.reason:
            terminal.say(outcome.reason)
        shell.hint(f"`{pasted('resume', group.path)}` goes on where it stopped")
        raise typer.Exit(shell.INTERRUPTED)
    for run in group.runs:
        shell.data(str(run.path))
    way = pasted("confirm", group.path)
    shell.hint(f"`{way}` compares the families by these searches")


def _say_limit(outcome: Outcome, result: Summary) -> None:
    """How to go on where a limit of the budget ended a run before its trials."""
    budget, counts = outcome.study.budget, result.counts()
    cut = counts.get("cancelled", 0)
    left = result.planned - len(result.rows) + cut
    if outcome.state != "time" or left < 1 or outcome.study.fixed:
        return
    if outcome.limit == "epochs" and budget.total_epochs is not None:
        more: tuple[object, ...] = ("--epochs-total", 2 * budget.total_epochs)
    else:
        more = ("--time-budget", f"{max(1, round(budget.seconds or 0))}s")
    way = pasted("extend", outcome.folder, *more)
    shell.hint(
        f"{outcome.reason} with {left} of {result.planned} trials untrained or cut; "
        f"`{way}` goes on with them"
    )


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
        shell.hint(f"`{pasted('resume', run)}` goes on where it stopped")
        raise typer.Exit(shell.INTERRUPTED)
    failed = [r for r in result.rows if r.state == "failed"]
    if result.best is None and failed:
        first = min(failed, key=lambda r: r.trial)
        raise RunError(
            f"no trial could be ranked and {len(failed)} failed; trial {first.trial}: "
            f"{first.reason}",
            hint=f"`{pasted('show', run, first.trial)}` shows the whole error",
        )
    _say_limit(outcome, result)
    if result.best is not None:
        way = pasted("rerun", run)
        shell.hint(f"`{way}` trains the best one again with fresh seeds")
        if len({r.family for r in result.rows if r.rank is not None}) > 1:
            way = pasted("confirm", run)
            shell.hint(f"`{way}` says whether the families' winners differ")
