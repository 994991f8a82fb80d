"""`engarde ...`: what people do with the pipeline from a terminal.

Exit codes: 0 done, 1 something did not work (the message says what and the cure), 2 the call itself is wrong.
"""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.markup import escape

from engarde_pipeline.cli import api, db, demo, dev, doctor, jobs, plan, status, sync
from engarde_pipeline.cli.terminal import errors, visible
from engarde_pipeline.core.errors import EngardeError

app = typer.Typer(
    help="Keeps Postgres true to BigQuery: one date at a time, exactly, and says what it did.\n\n"
    "New here? `engarde demo` shows the whole thing on sample data, without an account anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
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
app.command("doctor")(doctor.doctor)
app.add_typer(db.app, name="db")
app.command("demo")(demo.demo)
app.command("dev")(dev.dev)
app.add_typer(api.app, name="api")


def main() -> None:
    """Run the command line; an error a person can act on is a message, not a stack trace."""
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
