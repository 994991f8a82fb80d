"""The servers that a command uses: those in the environment, or the embedded default, which is started for it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from engarde_pipeline.cli.dagster_files import INSTANCE, shipped
from engarde_pipeline.cli.dagster_home import DagsterHomeUnusable, check_dagster_home, open_instance
from engarde_pipeline.cli.terminal import announce, console, print_error
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.settings import (
    CONNECTION_VARIABLES,
    DatabaseSettings,
    Settings,
    first_date_file,
    is_embedded,
    load_database_settings,
    load_pipeline_settings,
    load_settings,
)

if TYPE_CHECKING:
    from dagster import DagsterInstance


@contextmanager
def servers(*, may_exit: bool = True) -> Iterator[Settings]:
    """Yield the settings; if the embedded default is used, run it for the duration of the block.

    If one of its servers ends, the block is interrupted; `may_exit` is that of `watching`.

    Raises:
        InvalidSettings: variables are missing or malformed.
        LocalServicesError: the embedded default does not start, or one of its servers has ended.
    """
    with embedded_default(may_exit=may_exit):
        yield load_settings()


@contextmanager
def database() -> Iterator[DatabaseSettings]:
    """Yield the settings of a command that uses only Postgres; otherwise like `servers`."""
    with embedded_default():
        yield load_database_settings()


@contextmanager
def embedded_default(*, may_exit: bool = True) -> Iterator[None]:
    """Run the embedded default for the duration of the block, if it is to be used; otherwise like `servers`."""
    if not is_embedded():
        yield
        return
    from engarde_pipeline.local.services import running, servers_of
    from engarde_pipeline.local.watch import watching

    home = load_pipeline_settings().engarde_home
    with running(home), watching(servers_of(home), print_error, may_exit=may_exit):
        yield


@contextmanager
def sample_servers(*, may_exit: bool = True) -> Iterator[tuple[Settings, list[date]]]:
    """Run the embedded default with sample data; yield its settings and the dates that were newly loaded.

    Configured servers are ignored, so that sample data never reaches a real database. `may_exit` is that of
    `watching`.
    """
    from engarde_pipeline.bigquery.client import create_client, source_errors
    from engarde_pipeline.core.dates import today
    from engarde_pipeline.local.sample_data import fill_bigquery, seed_postgres
    from engarde_pipeline.local.services import running, servers_of
    from engarde_pipeline.local.watch import watching
    from engarde_pipeline.postgres.connection import connect
    from engarde_pipeline.postgres.schema import migrate

    ignored = sorted(name for name in CONNECTION_VARIABLES if os.environ.pop(name, None))
    if ignored:
        announce(f"Ignored, because this command only uses its local sample servers: {', '.join(ignored)}")
    home = load_pipeline_settings().engarde_home.absolute()
    os.environ["ENGARDE_HOME"] = str(home)
    with ExitStack() as stack:
        with console.status("Starting Postgres and the BigQuery emulator ..."):
            stack.enter_context(running(home))
        stack.enter_context(watching(servers_of(home), print_error, may_exit=may_exit))
        _keep_first_date(home)
        settings = load_settings()
        with console.status("Loading sample data ..."):
            database_url = settings.database_url.get_secret_value()
            migrate.upgrade(database_url)
            with connect(database_url) as connection:
                seed_postgres(connection)
            with source_errors("the sample data"):
                loaded = fill_bigquery(create_client(settings), settings.bigquery_dataset_id, today())
        samples = f"{counted(len(loaded), 'date')} of sample data {'was' if len(loaded) == 1 else 'were'} loaded"
        announce(
            f"Postgres and a BigQuery emulator are running, with their data in {home.name}/;"
            f" {samples if loaded else 'the sample data is up to date'}."
        )
        yield settings, loaded


def _keep_first_date(home: Path) -> None:
    """Let the partitions start with the sample data, so that the UI does not show years of missing dates.

    The date is kept in a file, for the Dagster UI and for commands in other terminals.
    """
    from engarde_pipeline.core.dates import today
    from engarde_pipeline.local.sample_data import DAYS

    file = first_date_file(home)
    if not file.exists():
        # Renamed when complete, so that readers never see a part of it.
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(f"{today() - timedelta(days=DAYS - 1)}\n")
        unfinished.replace(file)


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
        try:
            home.mkdir(parents=True, exist_ok=True)
            shutil.copy(shipped(INSTANCE), home)
        except OSError as error:
            raise DagsterHomeUnusable(
                f"The directory for Dagster's files, {home}, cannot be used: {error.strerror or error}. Make it a"
                " directory that you can write to, with free space, or set ENGARDE_HOME to another one."
            ) from None
        os.environ["DAGSTER_HOME"] = str(home)
    check_dagster_home()
