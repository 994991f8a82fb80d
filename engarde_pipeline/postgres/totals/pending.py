"""The dates changed since the totals were last brought up to date."""

from datetime import datetime

import psycopg


def last_noted_change(connection: psycopg.Connection) -> datetime | None:
    """Return when a date last changed that is not in the totals yet; None where there is none."""
    row = connection.execute("SELECT max(changed_at) FROM changed_dates").fetchone()
    return row[0] if row else None
