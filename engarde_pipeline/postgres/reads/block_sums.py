"""What the API adds up by campaign or asset: the sums of blocks of dates, and the rows of the other dates."""

from typing import LiteralString

from psycopg import sql

from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.sql_lists import sql_list
from engarde_pipeline.postgres.totals.metric_blocks import PLATFORM_DAYS, SUBJECTS, VERSION

ROWS = "block_or_row"
"""The common table expression with the result."""

# A block is read if it lies in the range, is valid in this snapshot, and no larger such block has its dates.
_ROWS = """
versions AS MATERIALIZED (
    SELECT metric_date, {version} AS version
    FROM {platform_days}
    WHERE tenant_id = %(tenant_id)s AND metric_date BETWEEN %(start)s AND %(end)s
    GROUP BY metric_date
), valid AS MATERIALIZED (
    SELECT b.id, b.days, b.first_date, b.first_date + b.days - 1 AS last_date
    FROM metric_blocks b
    JOIN versions v ON v.metric_date BETWEEN b.first_date AND b.first_date + b.days - 1
    WHERE b.table_name = %(table_name)s AND b.tenant_id = %(tenant_id)s
      AND b.first_date >= %(start)s AND b.first_date + b.days - 1 <= %(end)s
    GROUP BY b.id
    HAVING sum(v.version) = b.version
), largest AS MATERIALIZED (
    SELECT * FROM valid v
    WHERE NOT EXISTS (
        SELECT FROM valid w WHERE w.days > v.days AND v.first_date BETWEEN w.first_date AND w.last_date
    )
), other_dates AS MATERIALIZED (
    SELECT metric_date
    FROM versions v
    WHERE NOT EXISTS (SELECT FROM largest l WHERE v.metric_date BETWEEN l.first_date AND l.last_date)
), {name} AS (
    SELECT subject_id AS {subject}, platform, currency, {measures}
    FROM metric_block_sums
    WHERE tenant_id = %(tenant_id)s AND block_id = ANY(ARRAY(SELECT id FROM largest))
    UNION ALL
    SELECT {subject}, platform, currency, {measures}
    FROM {table}
    WHERE tenant_id = %(tenant_id)s AND metric_date = ANY(ARRAY(SELECT metric_date FROM other_dates))
)
"""


def rows(table: MetricTable) -> sql.Composed:
    """Return the common table expressions, the last of which is `ROWS`.

    Its rows have subject, platform, currency and measures; their sums are those of the table's rows. The statement
    binds the values of a `MetricsQuery`.
    """
    subject: LiteralString = SUBJECTS[table.target]
    return sql.SQL(_ROWS).format(
        version=sql.SQL(VERSION),
        platform_days=sql.Identifier(PLATFORM_DAYS[table.target]),
        name=sql.Identifier(ROWS),
        subject=sql.Identifier(subject),
        measures=sql_list("{name}", table.measure_names),
        table=sql.Identifier(table.target),
    )
