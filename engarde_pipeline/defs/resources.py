"""BigQuery and Postgres as Dagster resources.

They have no configuration of their own: addresses and secrets come from the environment through `settings`, so
that the UI never shows them.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import psycopg
from dagster import ConfigurableResource, InitResourceContext
from dagster_gcp import BigQueryResource
from pydantic import model_validator

from engarde_pipeline.bigquery.client import Client, create_client
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.reads.diagnosis import check_usable, is_current
from engarde_pipeline.postgres.reads.usage import add_bytes
from engarde_pipeline.postgres.schema import application_schema, migrate
from engarde_pipeline.runs.telemetry import observed_run
from engarde_pipeline.settings import load_settings


class BigQuery(BigQueryResource):
    """The source dataset in BigQuery.

    It is configured by BIGQUERY_PROJECT_ID, BIGQUERY_DATASET_ID, BIGQUERY_LOCATION and BIGQUERY_CREDENTIALS_JSON.
    Other assets can use it as any BigQueryResource.
    """

    # Unlike its base class, it accepts credentials as JSON, connects to an emulator without credentials, and sets
    # neither an environment variable nor a file.

    @model_validator(mode="before")
    @classmethod
    def _check_unconfigured(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values:
            raise ValueError(
                f"{', '.join(values)}: this resource is configured by BIGQUERY_PROJECT_ID, BIGQUERY_LOCATION and"
                " BIGQUERY_CREDENTIALS_JSON. Remove its configuration."
            )
        return values

    @contextmanager
    def get_client(self) -> Iterator[Client]:
        """Yield a client for the configured project or emulator, and close it.

        Raises:
            InvalidSettings: variables are missing or malformed.
            AccessDenied: there are no valid credentials.
        """
        with closing(create_client(load_settings())) as client:
            yield client

    def open_source(self, count: bool = True) -> Source:
        """Return the dataset to read from; the bytes that it reads are added to the daily total if `count`."""
        settings = load_settings()
        database_url = settings.database_url.get_secret_value()

        def count_bytes(read: int) -> None:
            # A separate connection, so that the bytes count even if the sync is rolled back.
            if read:
                with connect(database_url) as connection:
                    add_bytes(connection, read)

        return Source(settings, count_bytes if count else None)


class Postgres(ConfigurableResource[Any]):
    """The target database in Postgres. It is configured by DATABASE_URL."""

    def connect(self, run_id: str | None = None) -> psycopg.Connection:
        """Return a connection to a database whose schema is current, labelled with the run's id; `with` closes it.

        Raises:
            DatabaseUnavailable: there is no such server, or it refuses the login.
            SchemaNotCurrent: `engarde db upgrade` has not been run.
            ApplicationUnfit: the application's tables do not have what the pipeline needs.
            DatabaseUnfit: a sync over this connection would fail or write wrong numbers.
        """
        database_url = load_settings().database_url.get_secret_value()
        connection = connect(database_url, run_id)
        try:
            if not is_current(connection):
                migrate.check(database_url)
            check_usable(connection)
            application_schema.check(connection)
        except EngardeError:
            connection.close()
            raise
        return connection


class ObservedPostgres(Postgres):
    """The resource in the definitions: during a run, all log lines and spans say which run it is.

    Every step needs it, and the in-process executor creates it once per run.
    """

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Generator[Any]:
        """Yield the resource for the steps of a run, or for the tick of a sensor."""
        with observed_run(context.run) if context.run else nullcontext():
            yield self
