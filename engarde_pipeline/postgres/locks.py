"""One writer per date (rule 7): advisory locks, held from before the read until the date has landed.

They belong to the connection, so a process that dies releases them. Taken before BigQuery is read, so
that what is written last was also read last.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date

import psycopg

from engarde_pipeline.errors import EngardeError
from engarde_pipeline.metrics import MetricTable

WAIT = "10min"


class DatesLocked(EngardeError):
    """Another sync has been writing these dates for longer than we wait."""


@contextmanager
def dates_locked(connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]) -> Iterator[None]:
    """Hold the right to write `dates` of `table`; waits for a sync that has it.

    Raises:
        DatesLocked: the other sync did not end within ten minutes.
    """
    try:
        _wait_for(connection, table, dates)
        yield
    finally:
        with suppress(psycopg.OperationalError):  # a broken connection holds nothing any more
            connection.execute("SELECT pg_advisory_unlock_all()")


def _wait_for(connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]) -> None:
    connection.execute(f"SET lock_timeout = '{WAIT}'")
    try:
        for day in sorted(dates):  # one order for all: no deadlock
            connection.execute("SELECT pg_advisory_lock(hashtext(%s), %s)", [table.target, day.toordinal()])
    except psycopg.errors.LockNotAvailable:
        raise DatesLocked(
            f"Another sync has been writing {table.target} between {min(dates)} and {max(dates)} for more"
            f" than {WAIT}; wait for it to end (see Runs in Dagster), or cancel it."
        ) from None
    finally:
        with suppress(psycopg.OperationalError):
            connection.execute("RESET lock_timeout")
