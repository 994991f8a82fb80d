"""`engarde doctor`: checks the setup and says how to fix what is wrong."""

import os
from collections.abc import Callable, Iterator

import typer
from rich.text import Text

from engarde_pipeline.cli.dagster_files import missing_features, storage_advice
from engarde_pipeline.cli.servers import servers
from engarde_pipeline.cli.terminal import console, visible
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import Settings, has_dagster_database, load_dagster_settings


def doctor() -> None:
    """Check settings, connections, permissions and schemas of BigQuery and Postgres.

    Prints one line per check and, if a check fails, how to fix it. The exit code is 1 if a sync would fail.
    """
    try:
        with servers() as settings:
            console.print("[green]✓[/] settings: all required variables are set and valid")
            failures = sum(not all(_passes(*check) for check in checks) for checks in _checks(settings))
            failures += not _dagster_instance_opens()
    except EngardeError as error:
        _print_failure("settings", error)
        failures = 1
    if failures:
        console.print(f"Failed checks: {failures}. Fix them and run `engarde doctor` again.")
        raise typer.Exit(1)
    console.print("All checks passed. Next: `engarde sync --help` shows how to sync dates.")


def _passes(name: str, check: Callable[[], str]) -> bool:
    try:
        found = check()
    except EngardeError as error:
        _print_failure(name, error)
        return False
    console.print(Text.assemble(("✓", "green"), f" {name}: {visible(found)}"))
    return True


def _dagster_instance_opens() -> bool:
    """Check the Dagster instance. A missing feature is only a warning, because a sync works without it."""
    name = "Dagster instance"
    if not os.environ.get("DAGSTER_HOME"):
        home = "DAGSTER_HOME is not set; <ENGARDE_HOME>/dagster is used, with the pipeline's dagster.yaml"
        return _passes(name, lambda: home)
    try:
        warnings = [warning for warning in (missing_features(), storage_advice()) if warning]
    except EngardeError as error:
        _print_failure(name, error)
        return False
    for warning in warnings:
        console.print(Text.assemble(("!", "yellow"), f" {name}: {visible(warning)}"))
    return bool(warnings) or _passes(
        name,
        lambda: "run retries, run monitoring, the run queue and tick retention are on; its history is in Postgres",
    )


def _print_failure(name: str, error: EngardeError) -> None:
    console.print(Text.assemble(("✗", "red"), f" {name}: {visible(str(error))}"))


def _checks(settings: Settings) -> Iterator[list[tuple[str, Callable[[], str]]]]:
    """Yield the checks in groups; in a group, a check is run only if the previous ones passed."""
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
    if has_dagster_database():
        history = load_dagster_settings().dagster_database_url.get_secret_value()
        yield [("Dagster's database", lambda: postgres.check_history(history))]
