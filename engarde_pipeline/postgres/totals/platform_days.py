"""The sums per tenant, date and platform that the API reads; triggers keep them (migration 0005)."""

from collections.abc import Sequence
from datetime import date
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.sql_lists import sql_list

# A part that another transaction adds meanwhile is not seen, and stays.
_COMPACT = """
WITH parts AS (
    DELETE FROM platform_days WHERE metric_date = %(date)s RETURNING *
)
INSERT INTO platform_days (tenant_id, metric_date, platform, row_count, {measures})
SELECT tenant_id, metric_date, platform, sum(row_count), {sums}
FROM parts
GROUP BY tenant_id, metric_date, platform
HAVING sum(row_count) <> 0
"""

_DIFFERENT = """
WITH parts AS (
    SELECT tenant_id, metric_date, platform, 1 AS row_count, {measures}
    FROM campaign_metrics
    WHERE metric_date = ANY(%(dates)s)
    UNION ALL
    SELECT tenant_id, metric_date, platform, -row_count, {minus_measures}
    FROM platform_days
    WHERE metric_date = ANY(%(dates)s)
), different AS (
    SELECT metric_date FROM parts
    GROUP BY tenant_id, metric_date, platform
    HAVING sum(row_count) <> 0 OR {sums_differ}
)
SELECT DISTINCT metric_date FROM different ORDER BY metric_date
"""


def compact(connection: psycopg.Connection, day: date) -> None:
    """Make one row of the parts of each sum of `day`, in the transaction that changed them."""
    # A run goes on while the schema is taken down and up again. No migration comes between this and the end of the
    # transaction: it would need the lock that the rows just written hold on their table.
    row = connection.execute("SELECT to_regclass('platform_days')").fetchone()
    if row and row[0]:
        connection.execute(_compose(_COMPACT), {"date": day})


def dates_with_other_sums(connection: psycopg.Connection, dates: Sequence[date]) -> list[date]:
    """Return those of `dates` on which the sums are not what the rows of `campaign_metrics` add up to."""
    return [day for (day,) in connection.execute(_compose(_DIFFERENT), {"dates": list(dates)}).fetchall()]


def _compose(text: LiteralString) -> sql.Composed:
    names = CAMPAIGN_METRICS.measure_names
    return sql.SQL(text).format(
        measures=sql_list("{name}", names),
        sums=sql_list("sum({name})", names),
        minus_measures=sql_list("-{name}", names),
        sums_differ=sql_list("sum({name}) <> 0", names, " OR "),
    )
