"""Arguments and options that several commands share, with their completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_RESULTS = Path("results")
_LONG = 16 << 20  # bytes of a ledger that somebody who types does not wait for


def complete_study(incomplete: str) -> list[tuple[str, str]]:
    """Studies whose name begins so, with their one-line descriptions."""
    from hpo.discovery import studies

    return [(s.name, s.description) for s in studies() if s.name.startswith(incomplete)]


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """`latest` and the names of studies and runs under the results folder."""
    from hpo.ledger.folder import RunFolder

    results = context.params.get("results") or DEFAULT_RESULTS
    runs = RunFolder.list(results)
    names = [
        "latest",
        *dict.fromkeys(r.study_name for r in runs),
        *(r.name for r in runs),
    ]
    return [n for n in names if n.startswith(incomplete)]


def complete_trial(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Numbers of the chosen run's trials, with family and, in short runs, state."""
    from hpo.ledger.events import Proposed
    from hpo.ledger.folder import RunFolder
    from hpo.ledger.log import events_of
    from hpo.report.summary import load_summary
    from models.errors import UserError

    results = context.params.get("results") or DEFAULT_RESULTS
    try:
        folder = RunFolder.find(results, context.params.get("run") or "latest")
        ledger = folder.events_file
        if ledger.is_file() and ledger.stat().st_size > _LONG:
            found = [(str(e.trial), e.family) for e in events_of(ledger, Proposed)]
        else:
            rows = load_summary(folder.path).rows
            found = [(str(r.trial), f"{r.family}, {r.state}") for r in rows]
    except (UserError, OSError):
        return []
    return [(n, text) for n, text in found if n.startswith(incomplete)]


def complete_family(context: typer.Context, incomplete: str) -> list[str]:
    """Families of the chosen run."""
    from hpo.ledger.folder import RunFolder
    from hpo.report.summary import load_study
    from models.errors import UserError

    results = context.params.get("results") or DEFAULT_RESULTS
    try:
        folder = RunFolder.find(results, context.params.get("run") or "latest")
        families = load_study(folder.path).families
    except UserError:
        return []
    return [f.name for f in families if f.name.startswith(incomplete)]


StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A study's name (`hpo list studies`), or the path of a study file.",
        autocompletion=complete_study,
        show_default=False,
    ),
]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, a study's name (its newest run), or `latest`.",
        autocompletion=complete_run,
        show_default=False,
    ),
]
Trial = Annotated[
    int,
    typer.Argument(
        metavar="TRIAL",
        help="The trial's number.",
        autocompletion=complete_trial,
        show_default=False,
    ),
]
TrialOrBest = Annotated[
    int | None,
    typer.Option(
        "--trial",
        metavar="N",
        min=1,
        help="The trial of this number; else the best one.",
        autocompletion=complete_trial,
    ),
]
LatestRun = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="A run's folder, a study's name (its newest run), or `latest`.",
        autocompletion=complete_run,
    ),
]
Results = Annotated[
    Path,
    typer.Option("--results", metavar="DIR", help="Where runs lie."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where real datasets lie, by name (else $HPO_DATA).",
        show_default=False,
    ),
]

Trials = Annotated[
    int | None,
    typer.Option(
        "--trials",
        metavar="N",
        help="Trials of the run in all; each family gets one at least.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", metavar="N", help="Epoch budget of a trial; moves the rungs."
    ),
]
Families = Annotated[
    str | None, typer.Option("--families", metavar="A,B", help="Only these families.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a study key (budget.trials, sampler.name) or fix a configuration "
        "key (optimizer.learning_rate=0.003); VALUE is JSON. Repeatable.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of every random choice."),
]
WorkersOrAuto = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N|auto",
        help="Trials at a time; `auto`: as many as have room, also while nodes of a "
        "cluster come and go.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="A Ray cluster that is there already: `auto` or HOST:PORT; `local` starts a "
        "private Ray. Without it, what RAY_ADDRESS says.",
        show_default=False,
    ),
]
InsecureCluster = Annotated[
    bool,
    typer.Option(
        "--insecure-cluster",
        help="Attach to a cluster without Ray's token authentication.",
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        metavar="driver|shared",
        help="On a cluster: whether checkpoints travel to the driver, or workers write "
        "into the run's folder, which all nodes share.",
    ),
]
Patience = Annotated[
    str,
    typer.Option(
        "--patience",
        metavar="TIME",
        help="On a cluster: how long to wait without any worker.",
    ),
]
GpusPerTrial = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-trial",
        metavar="F",
        help="Fraction of a GPU for a trial; 0 uses the CPU.",
    ),
]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="`ray`, or `local` for child processes without Ray.",
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        "--order",
        metavar="ORDER",
        help="Take decisions as reports arrive (`arrival`), or by a virtual clock on SEATS "
        "seats (`virtual[:SEATS]`; four a worker), so that any number of workers decides "
        "the same.",
    ),
]
Chaos = Annotated[
    str | None,
    typer.Option(
        "--chaos",
        metavar="FAULTS",
        help="Faults on purpose: shares of epochs (worker, node, nan, hang, slow; "
        "node=1/60s by time) and events of the ledger (disk-full, driver), such as "
        "worker=0.05,slow=0.1,driver@120.",
        show_default=False,
    ),
]
ChaosSeed = Annotated[
    int | None,
    typer.Option(
        "--chaos-seed", metavar="N", min=0, help="What the faults follow from (0)."
    ),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        "--time-budget", metavar="TIME", help="Active time of the run, such as 30m."
    ),
]
Stall = Annotated[
    str | None,
    typer.Option(
        "--stall", metavar="TIME", help="Kill a trial that is silent for so long; 10m."
    ),
]
