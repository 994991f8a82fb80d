"""Dagster's storage: its history in a Postgres database of its own, over connections that stay open.

`dagster.yaml` names the class here. dagster-postgres opens a connection for every event that a run logs, which
takes longer than storing the event; it has pools only for the webserver. A pooled connection that was lost while
it was idle would fail the run that uses it next, so each connection is checked when it is taken from its pool.

Dagster stores times without a time zone and takes them for UTC, which only a session in UTC writes.
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
from engarde_pipeline.telemetry.logs import configure_logs

_POOL = {
    "statement_timeout": 60_000,  # milliseconds
    "pool_recycle": 3600,  # seconds
    "max_overflow": 20,
}

_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "extra_float_digits": "1",  # times are floats, too
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
"""The session settings, whatever the role, the database or the server set."""

_APPLY = "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())

_SESSION = "SELECT pg_backend_pid(), current_setting('transaction_read_only')::boolean OR pg_is_in_recovery()"


class HistoryStorage(DagsterPostgresStorage):
    """Dagster's history in the database of DAGSTER_DATABASE_URL, or of the embedded default."""

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        for storage in (self.run_storage, self.event_log_storage, self.schedule_storage):
            storage.optimize_for_webserver(**_POOL)
            # Missing public API: the engine of a storage, or its pool's options.
            event.listen(storage._engine, "connect", _apply_settings)  # type: ignore[union-attr]
            event.listen(storage._engine, "checkout", _check_connection)  # type: ignore[union-attr]
        self._check_session(postgres_url)

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
            DatabaseUnfit: the database can only be read, or is behind a pooler that does not keep sessions.
            InvalidSettings: DAGSTER_DATABASE_URL is malformed.
            EmbeddedDefaultNotRunning: the embedded default is to be used, but is not running.
        """
        # Dagster's daemon and webserver load nothing else of this package.
        configure_logs()
        if has_dagster_database():
            return cls(load_dagster_settings().dagster_storage_url, inst_data)
        home = os.environ.get("DAGSTER_HOME") or str(load_pipeline_settings().engarde_home.absolute() / "dagster")
        return DagsterSqliteStorage(home, inst_data)

    def _check_session(self, postgres_url: str) -> None:
        with self.run_storage.connect() as connection:  # type: ignore[attr-defined]  # PostgresRunStorage
            backend, is_read_only = connection.exec_driver_sql(_SESSION).one()
            is_direct = backend == connection.connection.driver_connection.get_backend_pid()
        if is_direct and not is_read_only:
            return
        from engarde_pipeline.postgres.reads.diagnosis import check_history

        check_history(postgres_url)


def _apply_settings(connection: Any, _record: object) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(_APPLY)


def _check_connection(connection: Any, _record: object, _proxy: object) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT")
    except OperationalError:
        raise DisconnectionError from None  # the pool opens another one
