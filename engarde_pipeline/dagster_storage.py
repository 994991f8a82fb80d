"""Dagster's storage: its history in a Postgres database of its own, over connections that stay open.

`dagster.yaml` names the class here. dagster-postgres opens a connection for every event that a run logs, which
takes longer than storing the event; it has pools only for the webserver. A pooled connection that was lost while
it was idle would fail the run that uses it next, so each connection is checked when it is taken from its pool.

Events that Dagster logs together, such as those of all dates of a run, are stored together (`EventLog`).

Dagster stores times without a time zone and takes them for UTC, which only a session in UTC writes.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage
from dagster_postgres.utils import DagsterPostgresException as DagsterPostgresException
from psycopg2 import OperationalError
from sqlalchemy import Connection, event
from sqlalchemy.exc import DisconnectionError

from engarde_pipeline.dagster_internals import (
    PLANNED,
    AssetCheckExecutionsTable,
    AssetKeyTable,
    DagsterSqliteStorage,
    RunsTable,
    SqlEventLogStorageTable,
)
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


_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
"""Dagster's variable for the number of events that it stores together; by default, it stores each alone."""


_MATERIALIZATION = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_CHECK = DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED


_COLUMNS = """
SELECT c.relname, a.attname
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
"""


class _Schema:
    """Which tables and columns exist in Dagster's database; Dagster's migrations drop none.

    All are read by one statement. Dagster reads one table for each question, in several statements.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect
        self._columns: dict[str, set[str]] = {}

    def has_table(self, name: str) -> bool:
        if name not in self._columns:
            self._read()
        return name in self._columns

    def has_columns(self, table: str, *names: str) -> bool:
        if not self._columns.get(table, set()).issuperset(names):
            self._read()
        return self._columns.get(table, set()).issuperset(names)

    def _read(self) -> None:
        columns = defaultdict(set)
        with self._connect() as connection:
            for table, column in connection.exec_driver_sql(_COLUMNS):
                columns[table].add(column)
        self._columns = dict(columns)


class Runs(PostgresRunStorage):
    """The run storage of dagster-postgres, which does not look up its columns for each run."""

    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url)
        self._schema = _Schema(self.connect)

    def has_run_stats_index_cols(self) -> bool:
        """Return whether there are columns for the times of runs."""
        return self._schema.has_columns(RunsTable.name, "start_time", "end_time")

    def has_backfill_id_column(self) -> bool:
        """Return whether there is a column for the backfill of a run."""
        return self._schema.has_columns(RunsTable.name, "backfill_id")

    def dispose(self) -> None:
        """Close the connections of the pool, with the instance."""
        super().dispose()
        self._engine.dispose()


class EventLog(PostgresEventLogStorage):
    """The event log of dagster-postgres, with fewer statements per event."""

    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url)
        self._schema = _Schema(self.index_connection)

    def has_table(self, table_name: str) -> bool:
        """Return whether a table exists; Dagster asks it for each materialization."""
        return self._schema.has_table(table_name)

    def has_asset_key_col(self, column_name: str) -> bool:
        """Return whether the table of assets has a column; Dagster asks it for each asset that it reads."""
        return self._schema.has_columns(AssetKeyTable.name, column_name)

    def dispose(self) -> None:
        """Stop watching runs, and close the connections of the pool, with the instance."""
        super().dispose()
        self._engine.dispose()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that were logged together.

        A run is created with a planned materialization of each of its dates, and a planned result of each check
        for each date. dagster-postgres stores each event in several statements.
        """
        by_type: dict[DagsterEventType | None, list[EventLogEntry]]
        by_type = {_MATERIALIZATION: [], _CHECK: [], None: []}
        for entry in events:
            event_type = entry.get_dagster_event().event_type
            by_type[event_type if event_type in by_type else None].append(entry)
        if by_type[_MATERIALIZATION]:
            self._store_planned_materializations(by_type[_MATERIALIZATION])
        if by_type[_CHECK]:
            self._store_planned_checks(by_type[_CHECK])
        if by_type[None]:
            super().store_event_batch(by_type[None])

    def _store_planned_materializations(self, planned: Sequence[EventLogEntry]) -> None:
        with self.index_connection() as connection:
            ids = _insert_events(connection, [self._event_to_row(entry) for entry in planned])
        pairs = zip(planned, ids, strict=True)
        latest = {entry.get_dagster_event().asset_key: (entry, event_id) for entry, event_id in pairs}
        for entry, event_id in latest.values():
            self.store_asset_event(entry, event_id)

    def _store_planned_checks(self, planned: Sequence[EventLogEntry]) -> None:
        # Each event plans a result for many partitions. Dagster would serialize it again for each of them.
        rows = [self._event_to_row(entry) for entry in planned]
        with self.index_transaction() as connection:
            ids = _insert_events(connection, rows)
            connection.execute(
                AssetCheckExecutionsTable.insert(),
                [
                    {
                        "asset_key": check.asset_key.to_string(),
                        "check_name": check.check_name,
                        "partition": partition,
                        "run_id": row["run_id"],
                        "execution_status": PLANNED,
                        "evaluation_event": row["event"],
                        "evaluation_event_timestamp": row["timestamp"],
                        "evaluation_event_storage_id": event_id,
                    }
                    for entry, row, event_id in zip(planned, rows, ids, strict=True)
                    for check in [entry.get_dagster_event().asset_check_planned_data]
                    for partition in (
                        check.partitions_subset.get_partition_keys() if check.partitions_subset else [None]
                    )
                ],
            )


class HistoryStorage(DagsterPostgresStorage):
    """Dagster's history in the database of DAGSTER_DATABASE_URL, or of the embedded default."""

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._runs = Runs(postgres_url)
        self._events = EventLog(postgres_url)
        os.environ.setdefault(_BATCH_SIZE, "500")
        for storage in (self.run_storage, self.event_log_storage, self.schedule_storage):
            storage.optimize_for_webserver(**_POOL)
            # Missing public API: the engine of a storage, or its pool's options.
            event.listen(storage._engine, "connect", _apply_settings)  # type: ignore[union-attr]
            event.listen(storage._engine, "checkout", _check_connection)  # type: ignore[union-attr]
        self._check_session(postgres_url)

    @property
    def run_storage(self) -> Runs:
        """The storage of runs."""
        return self._runs

    @property
    def event_log_storage(self) -> EventLog:
        """The storage of events."""
        return self._events

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
        with self.run_storage.connect() as connection:
            backend, is_read_only = connection.exec_driver_sql(_SESSION).one()
            is_direct = backend == connection.connection.driver_connection.get_backend_pid()  # type: ignore[union-attr]
        if is_direct and not is_read_only:
            return
        from engarde_pipeline.postgres.reads.diagnosis import check_history

        check_history(postgres_url)


def _insert_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    # The statement is compiled once for all rows, while Dagster's own has each value of each row compiled.
    insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id)
    return sorted(connection.execute(insert, rows).scalars())


def _apply_settings(connection: Any, _record: object) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(_APPLY)


def _check_connection(connection: Any, _record: object, _proxy: object) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT")
    except OperationalError:
        raise DisconnectionError from None  # the pool opens another one
