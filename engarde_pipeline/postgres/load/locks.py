"""One writer per date (rule 7): advisory locks, held from before the read until the date has landed.

The locks belong to the connection, so they are released if the process dies. They are taken before BigQuery is
read, so that the last sync to write a date is also the last to read it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date

import psycopg

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import MetricTable

WAIT = "10min"

# An undetected pooler may have switched to a server connection other than the one with the locks. The locks would
# never be released there, so that connection is terminated.
_RELEASE = """
SELECT CASE WHEN pg_backend_pid() = %(backend)s THEN pg_advisory_unlock_all() IS NOT NULL
            ELSE pg_terminate_backend(%(backend)s) END
"""

LOCK_IS_HELD = """
EXISTS (SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
          AND classid = hashtext(%(locked_table)s)::oid AND objid = %(locked_day)s::oid AND objsubid = 2)
"""
"""The condition that this server connection holds the lock of a date; binds `lock_parameters`."""


class DatesLocked(EngardeError):
    """Another sync still holds the lock of one of these dates after the maximum wait."""


@contextmanager
def dates_locked(connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]) -> Iterator[None]:
    """Lock `dates` of `table` for writing; waits for a sync that holds one of them.

    Raises:
        DatesLocked: the other sync did not release its lock within ten minutes.
    """
    backend: int | None = None
    try:
        # In a transaction, which even an undetected pooler runs on one server connection.
        with connection.transaction():
            row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
            backend = row[0] if row else None
            _wait_for(connection, table, dates)
        yield
    finally:
        with suppress(psycopg.Error):  # a broken connection holds no locks
            connection.execute(_RELEASE, {"backend": backend}, prepare=False)


def _wait_for(connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]) -> None:
    connection.execute(f"SET LOCAL lock_timeout = '{WAIT}'")
    try:
        for day in sorted(dates):  # the same order in every sync prevents deadlocks
            connection.execute("SELECT pg_advisory_lock(hashtext(%s), %s)", [table.target, day.toordinal()])
    except psycopg.errors.LockNotAvailable:
        raise DatesLocked(
            f"Another sync has been writing {table.target} between {min(dates)} and {max(dates)} for more"
            f" than {WAIT}. Wait until it ends (see Runs in Dagster), or cancel it."
        ) from None


def lock_parameters(table: MetricTable, day: date) -> dict[str, object]:
    """Return the parameters of `LOCK_IS_HELD`."""
    return {"locked_table": table.target, "locked_day": day.toordinal()}
