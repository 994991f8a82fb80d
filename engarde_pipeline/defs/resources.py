"""The two servers as Dagster resources. They carry no configuration of their own: addresses and secrets
come from the environment through `settings`, so none of them is ever shown in the UI."""

import psycopg
from dagster import ConfigurableResource

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.reads.diagnosis import check_usable
from engarde_pipeline.postgres.reads.usage import add_bytes
from engarde_pipeline.postgres.schema import application_schema, migrate
from engarde_pipeline.settings import load_settings


class BigQuery(ConfigurableResource[None]):
    """The source. Not dagster-gcp's resource: importing that takes every start of a run half a second, for a
    client which passes no credentials to an emulator and takes ours only in base64."""

    def open_source(self) -> Source:
        """Return the dataset to read from, with the bytes it reads counted; see `Source`."""
        settings = load_settings()
        database_url = settings.database_url.get_secret_value()

        def count_bytes(read: int) -> None:
            # A connection of its own: what was read counts whatever becomes of the sync.
            if read:
                with connect(database_url) as connection:
                    add_bytes(connection, read)

        return Source(settings, count_bytes)


class Postgres(ConfigurableResource[None]):
    """The target database."""

    def connect(self, run_id: str | None = None) -> psycopg.Connection:
        """Return a connection to a database whose schema is current, in a run's name; `with` closes it.

        Raises:
            DatabaseUnavailable: there is no such server, or it refuses the login.
            SchemaNotCurrent: `engarde db upgrade` has not been run.
            ApplicationUnfit: the application's tables are not as the pipeline needs them.
            DatabaseUnfit: over this connection a sync would fail or write wrong numbers.
        """
        database_url = load_settings().database_url.get_secret_value()
        migrate.check(database_url)
        connection = connect(database_url, run_id)
        try:
            check_usable(connection)
            application_schema.check(connection)
        except EngardeError:
            connection.close()
            raise
        return connection
