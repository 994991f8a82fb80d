"""What Postgres itself knows of its dates: the version of BigQuery's partition whose numbers it has.

Noted in the transaction that writes a date: it holds whatever becomes of Dagster's history, and goes back together
with the numbers where an earlier state of the database is restored.
"""

from datetime import date, datetime
from uuid import UUID

import psycopg

from engarde_pipeline.core.metrics import MetricTable

# A date that was synced again at the same version is left untouched.
_NOTE = """
INSERT INTO synced_dates AS s (table_name, metric_date, version, run_id)
VALUES (%s, %s, %s, %s)
ON CONFLICT (table_name, metric_date) DO UPDATE
SET version = excluded.version, run_id = excluded.run_id, synced_at = excluded.synced_at
WHERE s.version <> excluded.version
"""


def note_synced(connection: psycopg.Connection, table: MetricTable, day: date, version: str, run_id: UUID) -> None:
    """Note that `day` is as BigQuery had it at `version`."""
    connection.execute(_NOTE, [table.target, day, version, run_id])


def synced_versions(connection: psycopg.Connection, table: MetricTable) -> dict[date, str]:
    """Return the version each synced date was last read at."""
    return dict(
        connection.execute(
            "SELECT metric_date, version FROM synced_dates WHERE table_name = %s", [table.target]
        ).fetchall()
    )


def synced_moments(connection: psycopg.Connection, table: MetricTable) -> dict[date, datetime]:
    """Return when each synced date was brought to the version that it has."""
    return dict(
        connection.execute(
            "SELECT metric_date, synced_at FROM synced_dates WHERE table_name = %s", [table.target]
        ).fetchall()
    )
