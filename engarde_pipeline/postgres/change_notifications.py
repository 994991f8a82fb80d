"""Notifications of changed dates: which date of which table a commit has changed, and nothing of any tenant.

Any role may listen to any channel. A notification therefore has the table and the date only; who listens reads the
rest with its own rights.
"""

from datetime import date
from typing import NamedTuple

import psycopg

from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable

CHANNEL = "engarde_changes"

_TABLES = {table.target: table for table in METRIC_TABLES}


class ChangedDate(NamedTuple):
    """A date of a table some of whose rows were changed."""

    table: MetricTable
    day: date


def notify_changed(connection: psycopg.Connection, changed: ChangedDate) -> None:
    """Notify listeners that `changed` was changed, as soon as the caller's transaction is committed.

    Postgres takes a lock on all commits with notifications, so call it once per date, not in a trigger per row.
    """
    connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{changed.table.target} {changed.day}"])


def parse(payload: str) -> ChangedDate | None:
    """Return the changed date of a notification, or None if the notification is something else."""
    name, _, day = payload.partition(" ")
    try:
        return ChangedDate(_TABLES[name], date.fromisoformat(day))
    except (KeyError, ValueError):
        return None  # any role may notify, with any text
