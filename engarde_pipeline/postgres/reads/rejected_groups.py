"""The page's query of a tenant's rejected records by reason (rules 3, 11 and 13)."""

from datetime import date
from uuid import UUID

from psycopg import sql

from engarde_pipeline.core.currencies import MALFORMED
from engarde_pipeline.core.metrics import CURRENCY_PATTERN
from engarde_pipeline.postgres.reads.metrics_queries import Statement

EXAMPLES = 3
"""How many records of each reason are shown."""

# By the index rejected_metric_rows_tenant; row-level security limits the rows to one tenant, too (migration 0010).
# Spend that is no number, or negative, is in no sum, as in `date_states`.
_GROUPS = sql.SQL("""
WITH open AS MATERIALIZED (
    SELECT id, metric_date, reason_code, first_seen_at, last_seen_at,
           CASE WHEN currency ~ %(pattern)s THEN currency
                WHEN currency IS NULL THEN ''
                ELSE %(malformed)s
           END AS currency,
           CASE jsonb_typeof(measures -> 'spend') WHEN 'number' THEN (measures ->> 'spend')::numeric END AS spend
    FROM rejected_metric_rows
    WHERE tenant_id = %(tenant_id)s
      AND metric_date BETWEEN %(start)s AND %(end)s
      AND resolved_at IS NULL
), groups AS (
    SELECT reason_code,
           count(*) AS records,
           count(DISTINCT metric_date) AS dates,
           min(metric_date) AS first_date,
           max(metric_date) AS last_date,
           min(first_seen_at) AS first_seen_at,
           max(last_seen_at) AS last_seen_at
    FROM open
    GROUP BY reason_code
), spend AS (
    SELECT reason_code, jsonb_object_agg(currency, spend::text) AS spend
    FROM (
        SELECT reason_code, currency, sum(spend) AS spend
        FROM open
        WHERE spend >= 0
        GROUP BY 1, 2
    ) s
    GROUP BY reason_code
), latest AS (
    SELECT id, metric_date
    FROM (
        SELECT id, metric_date,
               row_number() OVER (PARTITION BY reason_code ORDER BY metric_date DESC, id DESC) AS position
        FROM open
    ) o
    WHERE position <= %(examples)s
), examples AS (
    SELECT reason_code,
           min(reason) AS what_to_do,
           jsonb_agg(jsonb_build_object('table', table_name, 'date', metric_date, 'keys', keys)
                     ORDER BY metric_date DESC, id DESC) AS examples
    FROM latest
    JOIN rejected_metric_rows USING (metric_date, id)
    GROUP BY reason_code
)
SELECT g.*, e.what_to_do, s.spend, e.examples
FROM groups g
JOIN examples e USING (reason_code)
LEFT JOIN spend s USING (reason_code)
ORDER BY g.records DESC, g.reason_code
""")

_OLDER = sql.SQL("""
SELECT EXISTS (
    SELECT FROM rejected_metric_rows
    WHERE tenant_id = %(tenant_id)s AND metric_date < %(start)s AND resolved_at IS NULL
) AS has_older
""")


def rejected_groups(tenant_id: UUID, start: date, end: date) -> Statement:
    """Return the statement for the reasons of the tenant's open rejected records, the most frequent first.

    Each row has `reason_code`, `what_to_do`, the number of `records` and of `dates`, the first and last date and
    the first and last moment at which they were seen, the `spend` by currency as texts, and some `examples`.
    """
    return _GROUPS, {
        "tenant_id": tenant_id,
        "start": start,
        "end": end,
        "pattern": CURRENCY_PATTERN,
        "malformed": MALFORMED,
        "examples": EXAMPLES,
    }


def has_older(tenant_id: UUID, start: date) -> Statement:
    """Return the statement for whether the tenant has open rejected records before `start`."""
    return _OLDER, {"tenant_id": tenant_id, "start": start}
