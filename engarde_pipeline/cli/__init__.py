"""The command line, `engarde ...`.

Exit codes: 0 success, 1 failure (the message says what failed and how to fix it), 2 invalid usage.
"""

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup, TyperOption

from engarde_pipeline.cli import (
    alerts,
    api,
    db,
    demo,
    dev,
    doctor,
    export,
    exporter,
    init,
    jobs,
    page,
    plan,
    processes,
    status,
    sync,
    worker,
)
from engarde_pipeline.cli.terminal import print_error
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.local.errors import ServerEnded

_HELP = ["-h", "--help"]

_TYPES = {
    "<bool>": "",  # a flag takes no value
    "<int>": "NUMBER",
    "<int range>": "NUMBER",
    "<str>": "TEXT",
    "<list[str]>": "TEXT",
    "<path>": "PATH",
    "<file>": "PATH",
    "<UUID>": "UUID",
    "<uuid>": "UUID",
}
"""What the help calls the types of options. Choices keep their values."""


class _Commands(TyperGroup):
    """All commands; the errors of their options are in plain words."""

    def invoke(self, ctx: Any) -> Any:
        """Parse and run a command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(
                "Value error, "
            )  # pydantic's, which Typer keeps for choices
            raise


app = typer.Typer(
    cls=_Commands,
    help="Sync marketing metrics from BigQuery to Postgres, date by date.\n\n"
    "To start: `engarde demo` runs a sync on local sample data and needs no accounts. `engarde doctor` checks"
    " whether your own servers are set up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": _HELP},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"engarde-pipeline {version('engarde-pipeline')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


app.command("sync")(sync.sync)
app.command("status")(status.status)
app.command("plan")(plan.plan)
app.command("jobs")(jobs.jobs)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.add_typer(alerts.app, name="alerts")
app.add_typer(db.app, name="db")
app.command("demo")(demo.demo)
app.command("dev")(dev.dev)
app.command("page")(page.page)
app.add_typer(api.app, name="api")
app.command("exporter")(exporter.exporter)
app.command("init")(init.init)
app.command("code-server")(processes.code_server)
app.command("ui")(processes.ui)
app.command("daemon")(processes.daemon)
app.command("worker")(worker.worker)


def _name_types(command: Any) -> None:
    """Name the types of options in plain words in the help of a command and of those below it."""
    context = typer.Context(command, help_option_names=_HELP)
    for option in command.get_params(context):
        if isinstance(option, TyperOption) and option.metavar is None:
            option.metavar = _TYPES.get(option.display_type(context))
    for subcommand in getattr(command, "commands", {}).values():
        _name_types(subcommand)


def main() -> None:
    """Run the command line; expected errors are printed as messages without a traceback."""
    command = typer.main.get_command(app)
    _name_types(command)
    try:
        command()
    except ServerEnded:
        sys.exit(1)  # it was printed at once
    except EngardeError as error:
        print_error(error)
        sys.exit(1)
    except Exception as error:
        import psycopg

        from engarde_pipeline.postgres.faults import explanation

        if not isinstance(error, psycopg.Error):
            raise
        print_error(EngardeError(explanation(error)))
        sys.exit(1)
