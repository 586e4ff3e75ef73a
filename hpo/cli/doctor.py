"""`hpo doctor`: what of this machine and installation works."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Annotated

import typer

from hpo.cli import options, shell
from hpo.live import terminal


class DoctorFormat(StrEnum):
    """How the findings are printed."""

    table = "table"
    json = "json"


@shell.command
def doctor(
    trial: Annotated[
        bool,
        typer.Option("--trial/--no-trial", help="Train one epoch through Ray."),
    ] = True,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long that trial may take.")
    ] = "3m",
    format: Annotated[  # noqa: A002 - the option's name
        DoctorFormat, typer.Option("--format", help="How to print.")
    ] = DoctorFormat.table,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="Examine the nodes of this Ray cluster instead: `auto` or HOST:PORT.",
            show_default=False,
        ),
    ] = None,
    insecure_cluster: options.InsecureCluster = False,
    results: options.Results = options.DEFAULT_RESULTS,
    data: options.Data = None,
) -> None:
    """Examine machine and installation: what works, what does not, what to do.

    Versions, packages, cores, memory, limits, disks, devices, compiled kernels, datasets,
    and a one-epoch trial through Ray. Every line is ok, a warning or an error with its
    remedy; the exit status is 1 where there is an error. With `--address` a line a node of a
    cluster: resources, versions, instructions, clock, and which of the folders it reads.
    """
    from hpo.doctor import examination
    from hpo.duration import parse_duration
    from hpo.errors import RunError
    from hpo.report import formats
    from hpo.run.attach import attach

    deadline = parse_duration(timeout, option="--timeout")
    cluster = None if address is None else attach(address, insecure=insecure_cluster)
    if cluster is not None:
        found = list(
            examination.examine_cluster(cluster, results=results, data_root=data)
        )
    else:
        if trial:
            terminal.say("examining; the trial at the end may take a minute")
        found = list(
            examination.examine(
                results=results, data_root=data, trial=trial, deadline=deadline
            )
        )
    if format is DoctorFormat.json:
        shell.data(formats.json_text([dataclasses.asdict(f) for f in found]))
    else:
        rows = [
            {
                "status": f.status,
                "check": f.check,
                "found": f"{f.found} – {f.remedy}" if f.remedy else f.found,
            }
            for f in found
        ]
        shell.out(shell.columns(rows, ("status", "check", "found")))
    counts = {s: sum(f.status == s for f in found) for s in ("warning", "error")}
    if counts["error"]:
        one = counts["error"] == 1
        raise RunError(
            f"{counts['error']} check{'' if one else 's'} failed",
            hint="the line of each says what to do",
        )
    words = {0: "no warnings", 1: "1 warning"}
    terminal.say(
        f"nothing is broken; {words.get(counts['warning'], str(counts['warning']) + ' warnings')}"
    )
