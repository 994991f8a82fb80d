"""Rows of the metric tables that were removed without a sync, so that their dates are synced again.

When the application deletes a campaign space or a tenant, foreign keys delete its metrics; rows can also be
deleted manually. BigQuery does not change, so the version of the date does not show that rows are missing.
Triggers (migration 0007) note the date in `removed_rows`, once per transaction. A sync of the whole date deletes
the notes that were there before it read the date.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date

import psycopg

from engarde_pipeline.core.metrics import MetricTable

_OPEN = """
SELECT metric_date, array_agg(transaction_id)
FROM removed_rows
WHERE table_name = %s AND metric_date = ANY(%s)
GROUP BY metric_date
"""

_DELETE = """
DELETE FROM removed_rows
WHERE table_name = %s AND metric_date = %s AND transaction_id = ANY(%s)
"""

_DATES = """
SELECT metric_date, md5(string_agg(transaction_id::text, ' ' ORDER BY transaction_id))
FROM removed_rows
WHERE table_name = %s
GROUP BY metric_date
"""


def open_removals(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> dict[date, list[int]]:
    """Return the transactions that removed rows of `dates`, for the dates that have any.

    Call this before the date is read: the sync cannot restore rows that are removed later.
    """
    # The table may be missing for a moment, while the schema is downgraded and upgraded during a run.
    with suppress(psycopg.errors.UndefinedTable), connection.transaction():
        return dict(connection.execute(_OPEN, [table.target, list(dates)]).fetchall())
    return {}


def delete_removals(
    connection: psycopg.Connection, table: MetricTable, day: date, removals: Sequence[int]
) -> None:
    """Delete the notes about `day` that `open_removals` returned, in the transaction that replaces the date."""
    connection.execute(_DELETE, [table.target, day, list(removals)])


def removed_dates(connection: psycopg.Connection, table: MetricTable) -> dict[date, str]:
    """Return the dates that have lost rows since they were synced, each with a digest of the transactions."""
    return dict(connection.execute(_DATES, [table.target]).fetchall())
