"""`engarde doctor`: is everything in place? One line each, with the cure."""

import os
from collections.abc import Callable, Iterator

import typer
from rich.text import Text

from engarde_pipeline.cli.dagster_files import missing_features
from engarde_pipeline.cli.servers import servers
from engarde_pipeline.cli.terminal import console, visible
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import Settings


def doctor() -> None:
    """Check settings, connections, permissions and schemas on both sides; one line each, with the cure.

    Exits with 1 if anything would keep a sync from working.
    """
    try:
        with servers() as settings:
            console.print("[green]✓[/] settings: every variable that is needed is set and well-formed")
            failures = sum(not all(_passes(*check) for check in checks) for checks in _checks(settings))
            failures += not _dagster_instance_opens()
    except EngardeError as error:
        _print_failure("settings", error)
        failures = 1
    if failures:
        console.print(f"{failures} to mend.")
        raise typer.Exit(1)
    console.print("All is well; `engarde sync --help` says how to start.")


def _passes(name: str, check: Callable[[], str]) -> bool:
    try:
        found = check()
    except EngardeError as error:
        _print_failure(name, error)
        return False
    console.print(Text.assemble(("✓", "green"), f" {name}: {visible(found)}"))
    return True


def _dagster_instance_opens() -> bool:
    """Check the Dagster instance. A feature that it lacks is a warning: a sync works without it."""
    name = "Dagster instance"
    if not os.environ.get("DAGSTER_HOME"):
        home = "DAGSTER_HOME is not set: <ENGARDE_HOME>/dagster is used, with the pipeline's dagster.yaml"
        return _passes(name, lambda: home)
    try:
        missing = missing_features()
    except EngardeError as error:
        _print_failure(name, error)
        return False
    if missing:
        console.print(Text.assemble(("!", "yellow"), f" {name}: {visible(missing)}"))
        return True
    return _passes(name, lambda: "run retries, run monitoring, the run queue and tick retention are on")


def _print_failure(name: str, error: EngardeError) -> None:
    console.print(Text.assemble(("✗", "red"), f" {name}: {visible(str(error))}"))


def _checks(settings: Settings) -> Iterator[list[tuple[str, Callable[[], str]]]]:
    """Yield the checks in groups; within one, each makes sense only where those before it pass."""
    from engarde_pipeline.bigquery import diagnosis as bigquery
    from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
    from engarde_pipeline.postgres.reads import diagnosis as postgres

    database_url = settings.database_url.get_secret_value()
    yield [
        ("BigQuery table campaign_metrics", lambda: bigquery.check_table(settings, CAMPAIGN_METRICS)),
        ("BigQuery reading", lambda: bigquery.check_reading(settings)),
        ("BigQuery queries", lambda: bigquery.check_queries(settings)),
    ]
    yield [("BigQuery table asset_metrics", lambda: bigquery.check_table(settings, ASSET_METRICS))]
    yield [
        ("Postgres connection", lambda: postgres.check_connection(database_url)),
        ("Postgres session", lambda: postgres.check_session(database_url)),
        ("Postgres schema", lambda: postgres.check_schema(database_url)),
        ("Postgres permissions", lambda: postgres.check_permissions(database_url)),
    ]
