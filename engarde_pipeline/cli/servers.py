"""The servers that a command uses: those in the environment, or the embedded default, which is started for it."""

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
    """Yield the settings; if the embedded default is used, run it for the duration of the block.

    Raises:
        InvalidSettings: variables are missing or malformed.
        LocalServicesError: the embedded default does not start.
    """
    with embedded_default():
        yield load_settings()


@contextmanager
def database() -> Iterator[DatabaseSettings]:
    """Yield the settings of a command that uses only Postgres; otherwise like `servers`."""
    with embedded_default():
        yield load_database_settings()


@contextmanager
def embedded_default() -> Iterator[None]:
    """Run the embedded default for the duration of the block, if `is_embedded` says that it is used."""
    if not is_embedded():
        yield
        return
    from engarde_pipeline.local.services import running

    with running(load_pipeline_settings().engarde_home):
        yield


@contextmanager
def sample_servers() -> Iterator[tuple[Settings, list[date]]]:
    """Run the embedded default with sample data; yield its settings and the dates that were newly loaded.

    Configured servers are ignored, so that sample data never reaches a real database.
    """
    from engarde_pipeline.bigquery.client import create_client
    from engarde_pipeline.core.dates import today
    from engarde_pipeline.local.sample_data import fill_bigquery, seed_postgres
    from engarde_pipeline.local.services import running
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.schema import migrate

    ignored = sorted(name for name in CONNECTION_VARIABLES if os.environ.pop(name, None))
    if ignored:
        console.print(f"Ignored, because this command only uses its local sample servers: {', '.join(ignored)}")
    home = load_pipeline_settings().engarde_home.absolute()
    os.environ["ENGARDE_HOME"] = str(home)
    with ExitStack() as stack:
        with console.status("Starting Postgres and the BigQuery emulator ..."):
            stack.enter_context(running(home))
        settings = load_settings()
        with console.status("Loading sample data ..."):
            database_url = settings.database_url.get_secret_value()
            migrate.upgrade(database_url)
            with connect(database_url) as connection:
                seed_postgres(connection)
            loaded = fill_bigquery(create_client(settings), settings.bigquery_dataset_id, today())
        console.print(
            f"Postgres and a BigQuery emulator are running, with their data in {home.name}/; {len(loaded)} dates"
            " of sample data were loaded."
        )
        yield settings, loaded


def first_sample_date() -> date:
    """Return the first date that has sample data."""
    from engarde_pipeline.local.sample_data import DAYS

    return datetime.now(UTC).date() - timedelta(days=DAYS - 1)


@contextmanager
def dagster_instance() -> Iterator["DagsterInstance"]:
    """Yield the Dagster instance of DAGSTER_HOME, or of `<ENGARDE_HOME>/dagster` if that is not set.

    Raises:
        DagsterHomeUnusable, DagsterUnavailable: there is no such instance, or its storage cannot be used.
    """
    set_dagster_home()
    with open_instance() as instance:
        yield instance


def set_dagster_home() -> None:
    """Set DAGSTER_HOME for this process and those it starts, or check it if it is set.

    Raises:
        DagsterHomeUnusable: it is set, but is not a usable directory.
    """
    if not os.environ.get("DAGSTER_HOME"):
        home = load_pipeline_settings().engarde_home.absolute() / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(shipped(INSTANCE), home)
        os.environ["DAGSTER_HOME"] = str(home)
    check_dagster_home()
