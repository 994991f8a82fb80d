"""The servers a command works on: those the environment names, or the embedded default, started for it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from engarde_pipeline.cli.dagster_files import INSTANCE, shipped
from engarde_pipeline.cli.dagster_home import check_dagster_home, open_instance
from engarde_pipeline.cli.terminal import console
from engarde_pipeline.settings import (
    CONNECTION_VARIABLES,
    DatabaseSettings,
    Settings,
    is_embedded,
    load_database_settings,
    load_pipeline_settings,
    load_settings,
)

if TYPE_CHECKING:
    from dagster import DagsterInstance


@contextmanager
def servers() -> Iterator[Settings]:
    """Yield the settings; where the embedded default is meant, it runs for as long as the block.

    Raises:
        InvalidSettings: variables are missing or malformed.
        LocalServicesError: the embedded default does not start.
    """
    with embedded_default():
        yield load_settings()


@contextmanager
def database() -> Iterator[DatabaseSettings]:
    """Yield the settings of what uses Postgres alone; the rest is as in `servers`."""
    with embedded_default():
        yield load_database_settings()


@contextmanager
def embedded_default() -> Iterator[None]:
    """Run the embedded default for as long as the block, if it is meant; see `is_embedded`."""
    if not is_embedded():
        yield
        return
    from engarde_pipeline.local.services import running

    with running(load_pipeline_settings().engarde_home):
        yield


@contextmanager
def sample_servers() -> Iterator[tuple[Settings, list[date]]]:
    """Yield the embedded default's settings, its schema and sample data ready, and the dates newly filled.

    Whatever else is configured is set aside: sample data must never reach a real database.
    """
    from engarde_pipeline.bigquery.client import create_client
    from engarde_pipeline.core.dates import today
    from engarde_pipeline.local.sample_data import fill_bigquery, seed_postgres
    from engarde_pipeline.local.services import running
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.schema import migrate

    ignored = sorted(name for name in CONNECTION_VARIABLES if os.environ.pop(name, None))
    if ignored:
        console.print(f"Set aside, since this works on its own sample servers: {', '.join(ignored)}")
    home = load_pipeline_settings().engarde_home.absolute()
    os.environ["ENGARDE_HOME"] = str(home)
    with ExitStack() as stack:
        with console.status("Starting Postgres and the BigQuery emulator ..."):
            stack.enter_context(running(home))
        settings = load_settings()
        with console.status("Filling them with sample data ..."):
            database_url = settings.database_url.get_secret_value()
            migrate.upgrade(database_url)
            with connect(database_url) as connection:
                seed_postgres(connection)
            loaded = fill_bigquery(create_client(settings), settings.bigquery_dataset_id, today())
        console.print(f"Postgres and a BigQuery emulator run under {home.name}/: {len(loaded)} dates filled.")
        yield settings, loaded


def first_sample_date() -> date:
    """Return the first date that has sample data."""
    from engarde_pipeline.local.sample_data import DAYS

    return datetime.now(UTC).date() - timedelta(days=DAYS - 1)


@contextmanager
def dagster_instance() -> Iterator["DagsterInstance"]:
    """Yield the Dagster instance of DAGSTER_HOME, or of `<ENGARDE_HOME>/dagster` where that is not set.

    Raises:
        DagsterHomeUnusable, DagsterUnavailable: there is no such instance, or its storage does not answer.
    """
    set_dagster_home()
    with open_instance() as instance:
        yield instance


def set_dagster_home() -> None:
    """Make sure that DAGSTER_HOME is set and there, for this process and those it starts.

    Raises:
        DagsterHomeUnusable: it is set, and names no directory.
    """
    if not os.environ.get("DAGSTER_HOME"):
        home = load_pipeline_settings().engarde_home.absolute() / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(shipped(INSTANCE), home)
        os.environ["DAGSTER_HOME"] = str(home)
    check_dagster_home()
