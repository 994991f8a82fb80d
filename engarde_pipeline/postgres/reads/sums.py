"""The exact sums of the records of some dates, loaded and rejected, for comparison with BigQuery."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from engarde_pipeline.core.metrics import AMOUNT_DECIMALS, AMOUNT_DIGITS, MetricTable
from engarde_pipeline.postgres.load.records import currency_group
from engarde_pipeline.postgres.sql_lists import sql_list

# A kept row has an earlier value, so its rejected record is added instead. Amounts out of range are left out, as
# they are in the sums of BigQuery, and so is money of several currencies, which is NULL.
#
# The rows are summed before the rejected records are added, so that their counts are not converted to numerics one
# by one. A common table expression with the rejected records would prevent a parallel scan of the rows.
_SUMS = """
WITH parts AS (
    SELECT t.metric_date, coalesce(t.currency, '') AS currency, {sums}
    FROM {target} t
    WHERE t.metric_date = ANY(%(dates)s)
      AND t.id NOT IN (
          SELECT unnest(kept_row_ids)
          FROM rejected_metric_rows
          WHERE table_name = {source} AND metric_date = ANY(%(dates)s) AND resolved_at IS NULL
      )
    GROUP BY t.metric_date, coalesce(t.currency, '')
    UNION ALL
    SELECT metric_date, {currency_group}, {payload}
    FROM rejected_metric_rows
    WHERE table_name = {source} AND metric_date = ANY(%(dates)s) AND resolved_at IS NULL
      AND greatest({magnitudes}) < {limit}
)
SELECT metric_date, currency, {sums}
FROM parts
GROUP BY metric_date, currency
"""


def sums_by_date(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> dict[tuple[date, str], dict[str, Decimal]]:
    """Return the exact sum of each measure by date and currency, over all records, loaded and rejected.

    The currency is "" where there is none. Malformed ones are one group, `MALFORMED`.
    """
    statement = sql.SQL(_SUMS).format(
        source=sql.Literal(table.source),
        currency_group=currency_group(),
        target=sql.Identifier(table.target),
        payload=sql_list("(measures ->> {text})::numeric", table.measure_names),
        # NaN is greater than every number, infinity included.
        magnitudes=sql_list("abs((measures ->> {text})::numeric)", table.measure_names),
        limit=sql.Literal(10 ** (AMOUNT_DIGITS - AMOUNT_DECIMALS)),
        sums=sql_list("coalesce(sum({name}), 0) AS {name}", table.measure_names),
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, {"dates": list(dates)}).fetchall()
    return {(row.pop("metric_date"), row.pop("currency")): row for row in rows}
