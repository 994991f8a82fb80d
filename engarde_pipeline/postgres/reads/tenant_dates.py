"""What a tenant may know of dates, from which `core.date_states` derives the same states as for the operators.

The evidence of held dates, the reasons of failed ones and all sums are over all tenants, and are left out.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

from psycopg import sql

from engarde_pipeline.core.date_states import DateFacts, FailedDay
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.postgres.reads.metrics_queries import Statement

HELD = (
    "The last load looked wrong: most rows gone, rows repeated, or far larger than before. Earlier numbers are"
    " kept until the load is repaired in BigQuery, or the operators release it."
)
FAILED = "The last sync failed. Earlier numbers are kept. The operators can see the reason."

# The rejected records are found by the index rejected_metric_rows_tenant, the dates by the keys of their tables.
_FACTS = sql.SQL("""
WITH days AS (
    SELECT unnest(%(days)s::date[]) AS metric_date
    UNION
    SELECT metric_date FROM held_dates
), tables AS (
    SELECT * FROM unnest(%(targets)s::text[], %(sources)s::text[]) AS t (target, source)
), rejected AS (
    SELECT table_name, metric_date, count(*) AS records
    FROM rejected_metric_rows
    WHERE tenant_id = %(tenant_id)s
      AND metric_date = ANY(ARRAY(SELECT metric_date FROM days))
      AND resolved_at IS NULL
    GROUP BY 1, 2
)
SELECT t.target,
       d.metric_date AS day,
       s.synced_at,
       coalesce(s.compared_at, s.synced_at) AS compared_at,
       n.metric_date IS NULL AS has_table,
       h.held_at,
       coalesce(r.records, 0) AS rejected_records
FROM days d
CROSS JOIN tables t
LEFT JOIN synced_dates s ON (s.table_name, s.metric_date) = (t.target, d.metric_date)
LEFT JOIN engarde_api.dates_without_table n ON (n.table_name, n.metric_date) = (t.target, d.metric_date)
LEFT JOIN held_dates h ON (h.table_name, h.metric_date) = (t.target, d.metric_date)
LEFT JOIN rejected r ON (r.table_name, r.metric_date) = (t.source, d.metric_date)
ORDER BY d.metric_date DESC, array_position(%(targets)s::text[], t.target)
""")

_TABLES = {table.target: table for table in METRIC_TABLES}


def tenant_dates(tenant_id: UUID, days: Iterable[date]) -> Statement:
    """Return the statement for each of `days` and all held dates, for both tables; the latest date first.

    `facts_of` reads its rows.
    """
    return _FACTS, {
        "tenant_id": tenant_id,
        "days": sorted(days),
        "targets": [table.target for table in METRIC_TABLES],
        "sources": [table.source for table in METRIC_TABLES],
    }


def facts_of(rows: Iterable[Mapping[str, Any]], failed: Collection[FailedDay]) -> list[DateFacts]:
    """Return the facts of the rows of `tenant_dates`; `failed` are the dates whose last sync failed."""
    return [_facts(_TABLES[row["target"]], row, failed) for row in rows]


def _facts(table: MetricTable, row: Mapping[str, Any], failed: Collection[FailedDay]) -> DateFacts:
    return DateFacts(
        table=table,
        day=row["day"],
        synced_at=row["synced_at"],
        compared_at=row["compared_at"],
        has_table=row["has_table"],
        held=HELD if row["held_at"] else None,
        failed=FAILED if (table, row["day"]) in failed else None,
        rejected_records=row["rejected_records"],
    )
