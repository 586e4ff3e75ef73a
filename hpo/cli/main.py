"""The command `hpo`: puts the commands together. Loads neither jax nor ray."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hpo
from hpo.cli import (
    best,
    check,
    clean,
    confirm,
    diff,
    discover,
    doctor,
    export,
    export_latents,
    extend,
    launch,
    listing,
    note,
    plot,
    predict,
    promote,
    report,
    rerun,
    results,
    resume,
    shell,
    show,
    simulate,
    stop,
    train,
    verify,
    watch,
)
from hpo.live import terminal


class Commands(TyperGroup):
    """Commands in the order a person needs them; `--debug` is understood anywhere."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; usage mistakes are printed as ours are and exit with 2."""
        given = list(sys.argv[1:] if args is None else args)
        shell.State.debug = "--debug" in given
        given = [a for a in given if a != "--debug"]
        try:
            status = super().main(
                args=given,
                prog_name=prog_name or "hpo",
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except shell.ClickException as error:
            _complain_of_usage(error)
            status = getattr(error, "exit_code", 2)
        except typer.Abort:
            status = shell.INTERRUPTED
        if not standalone_mode:
            return status
        sys.exit(status if isinstance(status, int) else 0)


def _complain_of_usage(error: Any) -> None:
    message = error.format_message().rstrip(".").replace("Value error, ", "", 1)
    value = _value_of(error)
    got = "" if value is None or value in message else f", got {value!r}"
    terminal.say(f"error: {message}{got}")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "hpo"
    shell.hint(f"`{path} --help` shows what is understood")


def _value_of(error: Any) -> str | None:
    """The text that could not be read as an option's type, where the parser kept it."""
    details = getattr(error.__cause__, "errors", None)  # pydantic's, below typer
    first = details()[0] if callable(details) else {}
    value = first.get("input")
    return value if isinstance(value, str) else None


app = typer.Typer(
    cls=Commands,
    name="hpo",
    help="Tune sequence models: launch a study, read its ranked table, re-run the best.",
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.")
    ] = False,
) -> None:
    """Handle what stands before the command's name."""
    if version:
        shell.out(f"hpo {hpo.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        shell.out(context.get_help())
        raise typer.Exit


for name, function in (
    ("launch", launch.launch),
    ("train", train.train),
    ("resume", resume.resume),
    ("extend", extend.extend),
    ("results", results.results),
    ("report", report.report),
    ("show", show.show),
    ("best", best.best),
    ("confirm", confirm.confirm),
    ("rerun", rerun.rerun),
    ("promote", promote.promote),
    ("predict", predict.predict),
    ("plot", plot.plot),
    ("note", note.note),
    ("diff", diff.diff),
    ("clean", clean.clean),
    ("stop", stop.stop),
    ("export", export.export),
    ("export-latents", export_latents.export_latents),
    ("watch", watch.watch),
    ("check", check.check),
    ("simulate", simulate.simulate),
    ("verify", verify.verify),
    ("list", listing.listing),
    ("discover-categories", discover.discover_categories),
    ("doctor", doctor.doctor),
):
    app.command(name)(function)


def main() -> None:
    """Entry point of the script `hpo`."""
    app()


if __name__ == "__main__":
    main()
