"""One writer per date (rule 7): advisory locks, held from before the read until the date has landed.

They belong to the connection, so a process that dies releases them. Taken before BigQuery is read, so that what
is written last was also read last.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date

import psycopg

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import MetricTable

WAIT = "10min"

# A pooler that was not noticed may give us another connection of the server than the one with the locks, where
# they would stay for good: end that one.
_RELEASE = """
SELECT CASE WHEN pg_backend_pid() = %(backend)s THEN pg_advisory_unlock_all() IS NOT NULL
            ELSE pg_terminate_backend(%(backend)s) END
"""

IS_HELD = """
EXISTS (SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
          AND classid = hashtext(%(locked_table)s)::oid AND objid = %(locked_day)s::oid AND objsubid = 2)
"""
"""The condition that this connection of the server holds the lock of a date; see `held_values`."""


class DatesLocked(EngardeError):
    """Another sync has been writing these dates for longer than we wait."""


@contextmanager
def dates_locked(connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]) -> Iterator[None]:
    """Hold the right to write `dates` of `table`; waits for a sync that has it.

    Raises:
        DatesLocked: the other sync did not end within ten minutes.
    """
    backend: int | None = None
    try:
        # In a transaction, which a pooler that was not noticed runs on one connection of the server.
        with connection.transaction():
            row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
            backend = row[0] if row else None
            _wait_for(connection, table, dates)
        yield
    finally:
        with suppress(psycopg.Error):  # a broken connection holds nothing any more
            connection.execute(_RELEASE, {"backend": backend}, prepare=False)


def _wait_for(connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]) -> None:
    connection.execute(f"SET LOCAL lock_timeout = '{WAIT}'")
    try:
        for day in sorted(dates):  # one order for all: no deadlock
            connection.execute("SELECT pg_advisory_lock(hashtext(%s), %s)", [table.target, day.toordinal()])
    except psycopg.errors.LockNotAvailable:
        raise DatesLocked(
            f"Another sync has been writing {table.target} between {min(dates)} and {max(dates)} for more"
            f" than {WAIT}; wait for it to end (see Runs in Dagster), or cancel it."
        ) from None


def held_values(table: MetricTable, day: date) -> dict[str, object]:
    """Return the values that `IS_HELD` binds."""
    return {"locked_table": table.target, "locked_day": day.toordinal()}
