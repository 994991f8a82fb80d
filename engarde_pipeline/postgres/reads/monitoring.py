"""The sums for monitoring: held and missing dates, rejected records, bytes read, sizes of tables.

All of them are over all tenants. `EXPORTER_PRIVILEGES` are the rights that they need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg.rows import class_row

from engarde_pipeline.core.limits import REJECTED_SHARE_LIMIT
from engarde_pipeline.core.metrics import METRIC_TABLES, RejectReason
from engarde_pipeline.postgres.schema.tables import metadata

# Set in the transaction, because poolers refuse startup options.
_TRANSACTION_SETTINGS = """
SELECT set_config('transaction_read_only', 'on', true),
       set_config('statement_timeout', %(milliseconds)s, true),
       set_config('lock_timeout', %(milliseconds)s, true),
       set_config('jit', 'off', true)
"""

# `records` are those of the source at the last sync, rejected ones included, unless an older version of the
# pipeline has synced the date since. `rejected_metric_rows_open` finds the rejected ones of a date.
_DATES = """
WITH days AS (
    SELECT unnest(%(days)s::date[]) AS metric_date
), tables AS (
    SELECT * FROM unnest(%(targets)s::text[], %(sources)s::text[]) AS t (target, source)
), rejected AS (
    SELECT table_name, metric_date, count(*) AS records
    FROM rejected_metric_rows
    WHERE resolved_at IS NULL
      AND table_name = ANY(%(sources)s)
      AND metric_date IN (SELECT metric_date FROM days)
    GROUP BY 1, 2
)
SELECT t.target AS table_name,
       count(*) FILTER (WHERE s.metric_date IS NULL) AS missing,
       min(coalesce(s.compared_at, s.synced_at)) AS compared_at,
       count(*) FILTER (WHERE s.source_run_id = s.run_id AND r.records > %(limit)s * s.records) AS much_rejected
FROM days d
CROSS JOIN tables t
LEFT JOIN synced_dates s ON (s.table_name, s.metric_date) = (t.target, d.metric_date)
LEFT JOIN rejected r ON (r.table_name, r.metric_date) = (t.source, d.metric_date)
GROUP BY t.target
"""

_REJECTED = """
SELECT reason_code, count(*) FROM rejected_metric_rows WHERE resolved_at IS NULL GROUP BY reason_code
"""

# `pg_partition_tree` has no row for a table that is not partitioned. A partitioned table itself has neither rows
# nor a size.
_TABLES = """
SELECT t.name AS table_name,
       sum(pg_total_relation_size(p.relid))::bigint AS bytes,
       sum(pg_stat_get_live_tuples(p.relid))::bigint AS rows
FROM unnest(%(names)s::text[]) AS t (name)
CROSS JOIN LATERAL (
    SELECT to_regclass(t.name)::oid
    UNION
    SELECT relid::oid FROM pg_partition_tree(to_regclass(t.name))
) AS p (relid)
WHERE p.relid IS NOT NULL
GROUP BY t.name
"""


@dataclass(frozen=True)
class TableDates:
    """The dates of a table that are missing or have many rejected records, and the oldest comparison."""

    table_name: str
    missing: int
    compared_at: datetime | None
    much_rejected: int


@dataclass(frozen=True)
class TableSize:
    """The size of a table, and its estimated number of rows."""

    table_name: str
    bytes: int
    rows: int


def begin(connection: psycopg.Connection, timeout_seconds: float) -> None:
    """Make the current transaction read-only, and limit the time of each of its statements."""
    connection.execute(_TRANSACTION_SETTINGS, {"milliseconds": str(int(1000 * timeout_seconds))})


def dates_of_tables(connection: psycopg.Connection, days: Sequence[date]) -> list[TableDates]:
    """Return what is missing or rejected among `days`, for both metric tables."""
    values = {
        "days": list(days),
        "targets": [table.target for table in METRIC_TABLES],
        "sources": [table.source for table in METRIC_TABLES],
        "limit": REJECTED_SHARE_LIMIT,
    }
    with connection.cursor(row_factory=class_row(TableDates)) as cursor:
        return cursor.execute(_DATES, values).fetchall()


def number_of_held_dates(connection: psycopg.Connection) -> int:
    """Return the number of held dates of both tables."""
    row = connection.execute("SELECT count(metric_date) FROM held_dates").fetchone()
    return row[0] if row else 0


def rejected_by_reason(connection: psycopg.Connection) -> dict[str, int]:
    """Return the number of open rejected records for every reason."""
    found: dict[str, int] = {str(reason): 0 for reason in RejectReason}
    return found | dict(connection.execute(_REJECTED).fetchall())


def table_sizes(connection: psycopg.Connection) -> list[TableSize]:
    """Return the sizes of the pipeline's and the application's tables."""
    with connection.cursor(row_factory=class_row(TableSize)) as cursor:
        return cursor.execute(_TABLES, {"names": sorted(metadata.tables)}).fetchall()
