"""The API's query of the records that could not be loaded (rules 3 and 11)."""

from datetime import date
from functools import cache
from uuid import UUID

from psycopg import sql

from engarde_pipeline.core.metrics import RejectReason
from engarde_pipeline.postgres.reads.metrics_queries import Statement

# Newest date first, by the index rejected_metric_rows_tenant. Row-level security limits the rows to one
# tenant, too (migration 0010).
_RECORDS = """
WITH open AS (
    SELECT metric_date, id
    FROM rejected_metric_rows
    WHERE tenant_id = %(tenant_id)s
      AND metric_date BETWEEN %(start)s AND %(end)s
      AND resolved_at IS NULL
      AND {has_reason}
), remaining AS (
    SELECT * FROM open WHERE {after}
), page AS (
    SELECT * FROM remaining ORDER BY metric_date DESC, id DESC LIMIT %(limit)s
), records AS (
    SELECT id, table_name AS "table", metric_date AS date, keys, currency, measures - 'source_rows' AS measures,
           measures -> 'source_rows' AS source_rows, reason_code AS reason, reason AS what_to_do,
           {first_seen_at} AS first_seen_at, {last_seen_at} AS last_seen_at
    FROM page
    JOIN rejected_metric_rows USING (metric_date, id)
)
SELECT coalesce(json_agg(r ORDER BY date DESC, id DESC), '[]')::text AS records,
       CASE WHEN count(*) < (SELECT count(*) FROM remaining)
            THEN (SELECT concat(metric_date, '|', id) FROM page ORDER BY metric_date, id LIMIT 1) END AS next_key,
       (SELECT count(*) FROM open) AS total
FROM records r
"""

_IN_UTC = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def rejected_records(
    tenant_id: UUID,
    dates: tuple[date, date],
    reason: RejectReason | None,
    limit: int,
    after: tuple[date, UUID] | None,
) -> Statement:
    """Return the statement for up to `limit` records of the tenant that are not loaded, newest date first.

    Its only row has `records`, a JSON array; `next_key`, what the next page is after ("date|id") if there are
    more; and `total`, the number of all of them.
    """
    after_date, after_id = after or (None, None)
    values = {
        "tenant_id": tenant_id,
        "start": dates[0],
        "end": dates[1],
        "reason": reason and str(reason),
        "limit": limit,
        "after_date": after_date,
        "after_id": after_id,
    }
    return _records(reason is not None, after is not None), values


@cache
def _records(has_reason: bool, has_cursor: bool) -> bytes:
    return (
        sql.SQL(_RECORDS)
        .format(
            has_reason=sql.SQL("reason_code = %(reason)s" if has_reason else "true"),
            after=sql.SQL("(metric_date, id) < (%(after_date)s, %(after_id)s)" if has_cursor else "true"),
            first_seen_at=sql.SQL(_IN_UTC).format(sql.Identifier("first_seen_at")),
            last_seen_at=sql.SQL(_IN_UTC).format(sql.Identifier("last_seen_at")),
        )
        .as_bytes()
    )
