"""The versions of a tenant's rows by date, which show whether a change of a date concerns the tenant."""

from collections.abc import Iterable
from datetime import date
from functools import cache
from typing import LiteralString, NamedTuple
from uuid import UUID

from psycopg import sql

from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.reads.metrics_queries import Statement

# A sync sets synced_from_bigquery_at of the rows that it writes and leaves the others as they are. So a sync that
# writes or deletes a row of the tenant changes the number of its rows, or the latest time. By the index on
# (tenant_id, metric_date).
_VERSIONS = """
SELECT metric_date AS date, count(*) AS rows, max(synced_from_bigquery_at) AS written_at
FROM {table}
WHERE tenant_id = %(tenant_id)s AND {has_date}
GROUP BY metric_date
"""

_IN_RANGE = "metric_date BETWEEN %(start)s AND coalesce(%(end)s, 'infinity'::date)"


class DateRange(NamedTuple):
    """The dates from `start` to `end`, or all from `start` on if `end` is None."""

    start: date
    end: date | None

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.start <= day and (self.end is None or day <= self.end)

    def union(self, other: "DateRange") -> "DateRange":
        """Return the smallest range that includes both."""
        end = None if self.end is None or other.end is None else max(self.end, other.end)
        return DateRange(min(self.start, other.start), end)


def versions_in_range(table: MetricTable, tenant_id: UUID, dates: DateRange) -> Statement:
    """Return the statement for the number of the tenant's rows and the time of the latest one, by date."""
    return _versions(table, _IN_RANGE), {"tenant_id": tenant_id, "start": dates.start, "end": dates.end}


def versions_of_dates(table: MetricTable, tenant_id: UUID, days: Iterable[date]) -> Statement:
    """As `versions_in_range`, for single dates."""
    return _versions(table, "metric_date = ANY(%(days)s)"), {"tenant_id": tenant_id, "days": sorted(set(days))}


@cache
def _versions(table: MetricTable, has_date: LiteralString) -> bytes:
    return sql.SQL(_VERSIONS).format(table=sql.Identifier(table.target), has_date=sql.SQL(has_date)).as_bytes()
