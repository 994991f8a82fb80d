"""The queries of the asset checks, besides sums."""

from collections.abc import Sequence
from datetime import date

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import MetricTable


def rejected_and_processed(
    connection: psycopg.Connection, table: MetricTable, dates: Sequence[date]
) -> dict[date, tuple[int, int]]:
    """Return, for the dates that have any, the number of rejected records and of all records."""
    rows = connection.execute(
        sql.SQL("""
            WITH records AS (
                SELECT metric_date, 0 AS rejected, count(*) AS processed
                FROM {target}
                WHERE metric_date = ANY(%(dates)s)
                  AND id NOT IN (
                      SELECT unnest(kept_row_ids)
                      FROM rejected_metric_rows
                      WHERE table_name = %(table)s AND metric_date = ANY(%(dates)s) AND resolved_at IS NULL
                  )
                GROUP BY metric_date
                UNION ALL
                SELECT metric_date, 1, 1
                FROM rejected_metric_rows
                WHERE table_name = %(table)s AND metric_date = ANY(%(dates)s) AND resolved_at IS NULL
            )
            SELECT metric_date, sum(rejected), sum(processed)::bigint FROM records GROUP BY metric_date
        """).format(target=sql.Identifier(table.target)),
        {"table": table.source, "dates": list(dates)},
    ).fetchall()
    return {day: (rejected, processed) for day, rejected, processed in rows}


def days_counted_twice(connection: psycopg.Connection, dates: Sequence[date]) -> dict[date, int]:
    """Return, for the dates that have any, the number of campaigns with rows for hours and for the whole day."""
    rows = connection.execute(
        """
        SELECT h.metric_date, count(DISTINCT h.campaign_space_id)
        FROM campaign_metrics h
        WHERE h.metric_date = ANY(%s) AND h.metric_hour IS NOT NULL
          AND EXISTS (
              SELECT FROM campaign_metrics d
              WHERE d.metric_date = h.metric_date
                AND d.campaign_space_id = h.campaign_space_id
                AND d.metric_hour IS NULL
          )
        GROUP BY h.metric_date ORDER BY h.metric_date
        """,
        [list(dates)],
    ).fetchall()
    return dict(rows)


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
