"""The sums per tenant, date, platform and currency for the API, kept up to date by triggers (migration 0005)."""

from collections.abc import Sequence
from datetime import date
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.sql_lists import sql_list

# Parts that other transactions add at the same time are not visible here, and remain.
_COMPACT = """
WITH parts AS (
    DELETE FROM platform_days WHERE metric_date = %(date)s RETURNING *
)
INSERT INTO platform_days (tenant_id, metric_date, platform, currency, row_count, {measures})
SELECT tenant_id, metric_date, platform, currency, sum(row_count), {sums}
FROM parts
GROUP BY tenant_id, metric_date, platform, currency
HAVING sum(row_count) <> 0
"""

_REBUILD = """
WITH parts AS (
    DELETE FROM platform_days WHERE metric_date = %(date)s
)
INSERT INTO platform_days (tenant_id, metric_date, platform, currency, row_count, {measures})
SELECT tenant_id, metric_date, platform, currency, count(*), {sums}
FROM campaign_metrics
WHERE metric_date = %(date)s
GROUP BY tenant_id, metric_date, platform, currency
"""

# The rows are summed first. Otherwise each of their counts would be converted to a numeric, as those of the sums.
_DIFFERENT = """
WITH parts AS (
    SELECT tenant_id, metric_date, platform, currency, count(*) AS row_count, {sums}
    FROM campaign_metrics
    WHERE metric_date = ANY(%(dates)s)
    GROUP BY tenant_id, metric_date, platform, currency
    UNION ALL
    SELECT tenant_id, metric_date, platform, currency, -row_count, {minus_measures}
    FROM platform_days
    WHERE metric_date = ANY(%(dates)s)
), different AS (
    SELECT metric_date FROM parts
    GROUP BY tenant_id, metric_date, platform, currency
    HAVING sum(row_count) <> 0 OR {sums_differ}
)
SELECT DISTINCT metric_date FROM different ORDER BY metric_date
"""


def compact(connection: psycopg.Connection, day: date) -> None:
    """Combine the parts of each sum of `day` into one row, in the transaction that added them."""
    # The table may be missing, while the schema is downgraded and upgraded during a run. No migration can run
    # between this check and the end of the transaction: it would wait for the lock on campaign_metrics.
    row = connection.execute("SELECT to_regclass('platform_days')").fetchone()
    if row and row[0]:
        connection.execute(_compose(_COMPACT), {"date": day})


def rebuild(connection: psycopg.Connection, day: date) -> None:
    """Sum the rows of `day` again; like `compact`, without what other transactions add at the same time."""
    connection.execute(_compose(_REBUILD), {"date": day})
    connection.execute("INSERT INTO due_blocks VALUES (%s, %s)", [CAMPAIGN_METRICS.target, day])


def dates_with_other_sums(connection: psycopg.Connection, dates: Sequence[date]) -> list[date]:
    """Return those of `dates` whose sums differ from the sums of the rows of `campaign_metrics`."""
    return [day for (day,) in connection.execute(_compose(_DIFFERENT), {"dates": list(dates)}).fetchall()]


def _compose(text: LiteralString) -> sql.Composed:
    names = CAMPAIGN_METRICS.measure_names
    return sql.SQL(text).format(
        measures=sql_list("{name}", names),
        sums=sql_list("sum({name}) AS {name}", names),
        minus_measures=sql_list("-{name}", names),
        sums_differ=sql_list("sum({name}) <> 0", names, " OR "),
    )
