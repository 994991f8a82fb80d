"""Dagster's storage: its history in a Postgres database of its own, over connections that stay open.

`dagster.yaml` names the class here. dagster-postgres opens a connection for every event that a run logs, which
takes longer than storing the event; it has pools only for the webserver. A pooled connection that was lost while
it was idle would fail the run that uses it next, so each connection is checked when it is taken from its pool.
"""

import os
from typing import Any

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import DagsterPostgresException as DagsterPostgresException
from psycopg2 import OperationalError
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError

from engarde_pipeline.dagster_internals import DagsterSqliteStorage
from engarde_pipeline.settings import has_dagster_database, load_dagster_settings, load_pipeline_settings

_POOL = {
    "statement_timeout": 60_000,  # milliseconds
    "pool_recycle": 3600,  # seconds
    "max_overflow": 20,
}


class HistoryStorage(DagsterPostgresStorage):
    """Dagster's history in the database of DAGSTER_DATABASE_URL, or of the embedded default."""

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        for storage in (self.run_storage, self.event_log_storage, self.schedule_storage):
            storage.optimize_for_webserver(**_POOL)
            # Missing public API: the engine of a storage, or its pool's options.
            event.listen(storage._engine, "checkout", _check_connection)  # type: ignore[union-attr]

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The configuration in dagster.yaml: none."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]  # Dagster accepts every storage
        cls,
        inst_data: Any,
        config_value: Any,  # noqa: ARG003  Dagster's signature
    ) -> "HistoryStorage | DagsterSqliteStorage":
        """Open the storage, as Dagster does when it reads dagster.yaml.

        Without a database, it is SQLite in DAGSTER_HOME, like Dagster's default.

        Raises:
            InvalidSettings: DAGSTER_DATABASE_URL is malformed.
            EmbeddedDefaultNotRunning: the embedded default is to be used, but is not running.
        """
        if has_dagster_database():
            return cls(load_dagster_settings().dagster_storage_url, inst_data)
        home = os.environ.get("DAGSTER_HOME") or str(load_pipeline_settings().engarde_home.absolute() / "dagster")
        return DagsterSqliteStorage(home, inst_data)


def _check_connection(connection: Any, _record: object, _proxy: object) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT")
    except OperationalError:
        raise DisconnectionError from None  # the pool opens another one
