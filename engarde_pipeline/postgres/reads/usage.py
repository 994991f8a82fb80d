"""The bytes read from BigQuery per day, added as they are read, so that those of a killed run count, too."""

from datetime import date

import psycopg

_ADD = """
INSERT INTO bigquery_usage AS u (day, bytes_read) VALUES ((now() AT TIME ZONE 'UTC')::date, %s)
ON CONFLICT (day) DO UPDATE SET bytes_read = u.bytes_read + excluded.bytes_read
"""


def add_bytes(connection: psycopg.Connection, bytes_read: int) -> None:
    """Add `bytes_read` to the total of today (UTC)."""
    connection.execute(_ADD, [bytes_read])


def bytes_today(connection: psycopg.Connection) -> int:
    """Return the total of today (UTC)."""
    row = connection.execute(
        "SELECT bytes_read FROM bigquery_usage WHERE day = (now() AT TIME ZONE 'UTC')::date"
    ).fetchone()
    return row[0] if row else 0


def bytes_by_day(connection: psycopg.Connection, days: int) -> dict[date, int]:
    """Return the totals of the last `days` days that have one, newest first."""
    return dict(
        connection.execute(
            "SELECT day, bytes_read FROM bigquery_usage"
            " WHERE day > (now() AT TIME ZONE 'UTC')::date - %s ORDER BY day DESC",
            [days],
        ).fetchall()
    )
