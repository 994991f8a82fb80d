"""What the asset checks ask of Postgres besides sums."""

from collections.abc import Sequence
from datetime import date
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.metrics import CAMPAIGN_METRICS, MetricTable


def rejected_and_processed(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> tuple[int, int]:
    """Return how many records of `dates` are rejected now, and how many there are altogether."""
    row = connection.execute(
        sql.SQL("""
            WITH rejected AS (
                SELECT kept_row_ids FROM rejected_metric_rows
                WHERE table_name = %(table)s AND metric_date = ANY(%(dates)s) AND resolved_at IS NULL
            )
            SELECT (SELECT count(*) FROM rejected),
                   (SELECT count(*) FROM {target}
                    WHERE metric_date = ANY(%(dates)s)
                      AND id NOT IN (SELECT unnest(kept_row_ids) FROM rejected))
        """).format(target=sql.Identifier(table.target)),
        {"table": table.source, "dates": list(dates)},
    ).fetchone()
    assert row is not None  # noqa: S101  a SELECT of scalars has one row
    rejected, loaded = row
    return rejected, rejected + loaded


def rows_with_more_clicks_than_impressions(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> dict[date, int]:
    """Return, for the dates that have any, the number of rows with more clicks than impressions."""
    rows = connection.execute(
        sql.SQL("""
            SELECT metric_date, count(*) FROM {}
            WHERE metric_date = ANY(%s) AND clicks > impressions
            GROUP BY metric_date ORDER BY metric_date
        """).format(sql.Identifier(table.target)),
        [list(dates)],
    ).fetchall()
    return dict(rows)


def dates_with_other_sums(connection: psycopg.Connection, dates: Sequence[date]) -> list[date]:
    """Return those of `dates` on which `platform_days` is not what the rows of `campaign_metrics` add up to."""
    rows = connection.execute(
        sql.SQL("""
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
        """).format(
            measures=_each("{}", ", "),
            minus_measures=_each("-{}", ", "),
            sums_differ=_each("sum({}) <> 0", " OR "),
        ),
        {"dates": list(dates)},
    ).fetchall()
    return [day for (day,) in rows]


def _each(template: LiteralString, separator: LiteralString) -> sql.Composed:
    return sql.SQL(separator).join(
        sql.SQL(template).format(sql.Identifier(name)) for name in CAMPAIGN_METRICS.measure_names
    )
