"""What Postgres knows of dates, from which `core.date_states` derives their states."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row

from engarde_pipeline.core.currencies import MALFORMED, ByCurrency, add, by_currency
from engarde_pipeline.core.date_states import MISSING_TABLE, DateFacts
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, CURRENCY_PATTERN, METRIC_TABLES, MetricTable

# One statement, and so one snapshot, for both tables. The sums of the source leave out the amounts that no sum can
# have (see `records`), and so do those of rejected records here. `rejected_metric_rows_open` finds the rejected
# records, and `platform_days_date` the sums of campaign_metrics; the rows themselves are not read.
_FACTS = """
WITH days AS (
    SELECT unnest(%(days)s::date[]) AS metric_date
    UNION
    SELECT metric_date FROM held_dates
), tables AS (
    SELECT * FROM unnest(%(targets)s::text[], %(sources)s::text[]) AS t (target, source)
), rejected_by_currency AS (
    SELECT r.table_name,
           r.metric_date,
           CASE WHEN r.currency ~ %(pattern)s THEN r.currency
                WHEN r.currency IS NULL THEN ''
                ELSE %(malformed)s
           END AS currency,
           count(*) AS records,
           sum(cardinality(r.kept_row_ids)) AS kept,
           sum(amount.spend) FILTER (WHERE amount.spend >= 0) AS spend
    FROM rejected_metric_rows r
    CROSS JOIN LATERAL (
        SELECT CASE jsonb_typeof(r.measures -> 'spend') WHEN 'number' THEN (r.measures ->> 'spend')::numeric END
    ) amount (spend)
    WHERE r.table_name = ANY(%(sources)s)
      AND r.metric_date IN (SELECT metric_date FROM days)
      AND r.resolved_at IS NULL
    GROUP BY 1, 2, 3
), rejected AS (
    SELECT table_name,
           metric_date,
           sum(records)::bigint AS records,
           sum(kept)::bigint AS kept,
           jsonb_object_agg(currency, spend::text) FILTER (WHERE spend IS NOT NULL) AS spend
    FROM rejected_by_currency
    GROUP BY 1, 2
), loaded_by_currency AS (
    SELECT metric_date, coalesce(currency, '') AS currency, sum(row_count) AS rows, sum(spend) AS spend,
           sum(revenue) AS revenue
    FROM platform_days
    WHERE metric_date IN (SELECT metric_date FROM days)
    GROUP BY 1, 2
    HAVING sum(row_count) <> 0
), loaded AS (
    SELECT metric_date,
           sum(rows)::bigint AS rows,
           jsonb_object_agg(currency, spend::text) AS spend,
           jsonb_object_agg(currency, revenue::text) AS revenue
    FROM loaded_by_currency
    GROUP BY 1
)
SELECT t.target,
       d.metric_date AS day,
       s.synced_at,
       coalesce(s.compared_at, s.synced_at) AS compared_at,
       s.version,
       s.source_run_id = s.run_id AS has_source_sums,
       s.records AS source_records,
       s.spend AS source_spend,
       h.evidence AS held,
       h.run_id AS held_by,
       coalesce(r.records, 0) AS rejected_records,
       coalesce(r.kept, 0) AS kept,
       r.spend AS rejected_spend,
       l.rows,
       l.spend,
       l.revenue
FROM days d
CROSS JOIN tables t
LEFT JOIN synced_dates s ON (s.table_name, s.metric_date) = (t.target, d.metric_date)
LEFT JOIN held_dates h ON (h.table_name, h.metric_date) = (t.target, d.metric_date)
LEFT JOIN rejected r ON (r.table_name, r.metric_date) = (t.source, d.metric_date)
LEFT JOIN loaded l ON l.metric_date = d.metric_date
ORDER BY d.metric_date DESC, array_position(%(targets)s::text[], t.target)
"""

_TABLES = {table.target: table for table in METRIC_TABLES}


def read_date_facts(connection: psycopg.Connection, days: Iterable[date]) -> list[DateFacts]:
    """Return the facts of each of `days`, and of the dates that are held, for both tables; the latest date first.

    The rows and money of campaign_metrics are those in Postgres. Those of campaign_asset_metrics, which has no
    sums by date, are what the last sync of the date loaded; slices that were synced since are not in them.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            _FACTS,
            {
                "days": list(days),
                "targets": list(_TABLES),
                "sources": [table.source for table in METRIC_TABLES],
                "pattern": CURRENCY_PATTERN,
                "malformed": MALFORMED,
            },
        ).fetchall()
    return [_facts(_TABLES[row["target"]], row) for row in rows]


def _facts(table: MetricTable, row: Mapping[str, Any]) -> DateFacts:
    has_table = row["version"] != MISSING_TABLE
    source_spend = _sums(row["source_spend"]) if row["has_source_sums"] and has_table else None
    rejected_spend = _sums(row["rejected_spend"]) or {}
    rows: int | None = None
    spend: ByCurrency | None = None
    revenue: ByCurrency | None = None
    if table is CAMPAIGN_METRICS:
        if row["synced_at"] is not None or row["rows"] is not None:
            rows, spend, revenue = row["rows"] or 0, _sums(row["spend"]) or {}, _sums(row["revenue"]) or {}
    elif source_spend is not None:
        rows = max(row["source_records"] - row["rejected_records"] + row["kept"], 0)
        spend = _less(source_spend, rejected_spend)
    return DateFacts(
        table=table,
        day=row["day"],
        synced_at=row["synced_at"],
        compared_at=row["compared_at"],
        has_table=has_table,
        held=row["held"],
        held_by=row["held_by"],
        rows=rows,
        spend=spend,
        revenue=revenue,
        source_spend=source_spend,
        rejected_records=row["rejected_records"],
        rejected_spend=rejected_spend,
    )


def _sums(texts: Mapping[str, str] | None) -> ByCurrency | None:
    return None if texts is None else by_currency(texts)


def _less(sums: ByCurrency, rejected: ByCurrency) -> ByCurrency:
    """Return the sums without what is rejected, in the currencies of which something is left."""
    left = add(sums, {currency: -amount for currency, amount in rejected.items()})
    return {currency: amount for currency, amount in left.items() if amount > 0}
