"""The command line, `engarde ...`.

Exit codes: 0 success, 1 failure (the message says what failed and how to fix it), 2 invalid usage.
"""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.markup import escape

from engarde_pipeline.cli import (
    alerts,
    api,
    db,
    demo,
    dev,
    doctor,
    export,
    init,
    jobs,
    plan,
    processes,
    status,
    sync,
    worker,
)
from engarde_pipeline.cli.terminal import errors, visible
from engarde_pipeline.core.errors import EngardeError

app = typer.Typer(
    help="Sync marketing metrics from BigQuery to Postgres, date by date.\n\n"
    "To start: `engarde demo` runs a sync on local sample data and needs no accounts. `engarde doctor` checks"
    " whether your own servers are set up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
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
app.add_typer(api.app, name="api")
app.command("init")(init.init)
app.command("code-server")(processes.code_server)
app.command("ui")(processes.ui)
app.command("daemon")(processes.daemon)
app.command("worker")(worker.worker)


def main() -> None:
    """Run the command line; expected errors are printed as messages without a traceback."""
    try:
        app()
    except EngardeError as error:
        _fail(str(error))
    except Exception as error:
        import psycopg

        from engarde_pipeline.postgres.faults import explanation

        if not isinstance(error, psycopg.Error):
            raise
        _fail(explanation(error))


def _fail(message: str) -> None:
    errors.print(f"[bold red]Error:[/] {escape(visible(message))}")
    sys.exit(1)
