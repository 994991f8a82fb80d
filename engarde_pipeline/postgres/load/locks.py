"""One writer per date (rule 7): advisory locks, held from before the read until the date has landed.

The locks belong to the connection, so they are released if the process dies. They are taken before BigQuery is
read, so that the last sync to write a date is also the last to read it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date

import psycopg

from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.advisory_locks import DEFAULT_WAIT, AdvisoryLock, LockWait, acquire

# An undetected pooler may have switched to a server connection other than the one with the locks. The locks would
# never be released there, so that connection is terminated.
_RELEASE = """
SELECT CASE WHEN pg_backend_pid() = %(backend)s THEN pg_advisory_unlock_all() IS NOT NULL
            ELSE pg_terminate_backend(%(backend)s) END
"""

_OF_DATE = "l.classid = hashtext(%(locked_table)s)::oid AND l.objid = %(locked_day)s::oid AND l.objsubid = 2"

LOCK_IS_HELD = f"""
EXISTS (SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.granted AND {_OF_DATE})
"""
"""The condition that this server connection holds the lock of a date; binds `lock_parameters`."""


@contextmanager
def dates_locked(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date], wait: LockWait = DEFAULT_WAIT
) -> Iterator[None]:
    """Lock `dates` of `table` for writing; waits for a sync that holds one of them.

    Raises:
        StillLocked: the other sync did not release its lock within ten minutes.
        WaitStopped: this sync was asked to end.
    """
    backend: int | None = None
    try:
        # In a transaction, which even an undetected pooler runs on one server connection.
        with connection.transaction():
            row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
            backend = row[0] if row else None
            for day in sorted(dates):  # the same order in every sync prevents deadlocks
                acquire(connection, _lock_of(table, day), wait)
        yield
    finally:
        with suppress(psycopg.Error):  # a broken connection holds no locks
            connection.execute(_RELEASE, {"backend": backend}, prepare=False)


def lock_parameters(table: MetricTable, day: date) -> dict[str, object]:
    """Return the parameters of `LOCK_IS_HELD`."""
    return {"locked_table": table.target, "locked_day": day.toordinal()}


def _lock_of(table: MetricTable, day: date) -> AdvisoryLock:
    arguments = "hashtext(%(locked_table)s), %(locked_day)s"
    return AdvisoryLock(f"{table.target} {day}", arguments, _OF_DATE, lock_parameters(table, day))
