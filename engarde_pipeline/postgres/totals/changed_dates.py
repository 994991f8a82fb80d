"""The dates whose rows changed since the stored sums were last updated."""

from datetime import date, datetime

import psycopg

# An existing note is locked by the update, so that a transaction that collects it waits and then sees the new
# rows.
_NOTE = """
INSERT INTO changed_dates (metric_date) VALUES (%s)
ON CONFLICT (metric_date) DO UPDATE SET changed_at = now()
"""


def note_changed(connection: psycopg.Connection, day: date) -> None:
    """Note that rows of `day` changed, in the transaction that changed them."""
    connection.execute(_NOTE, [day])


def last_noted_change(connection: psycopg.Connection) -> datetime | None:
    """Return the time of the latest change that the totals do not include yet; None if there is none."""
    row = connection.execute("SELECT max(changed_at) FROM changed_dates").fetchone()
    return row[0] if row else None


def collect_changed(connection: psycopg.Connection) -> list[date]:
    """Delete the notes and return their dates, in the transaction that sums the rows of these dates again.

    Wait for transactions that are writing such a note again. A statement after this sees their rows.
    """
    dates = connection.execute("DELETE FROM changed_dates RETURNING metric_date").fetchall()
    return sorted(day for (day,) in dates)
