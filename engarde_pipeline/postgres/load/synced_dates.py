"""The held versions: for each date, the version of the BigQuery partition that Postgres was synced from.

The version is written in the transaction that writes the date. It is therefore correct even if Dagster's history
is lost, and if an earlier state of the database is restored.
"""

from datetime import date, datetime
from uuid import UUID

import psycopg

from engarde_pipeline.core.metrics import MetricTable

# No write if the date was synced again at the same version.
_NOTE = """
INSERT INTO synced_dates AS s (table_name, metric_date, version, run_id)
VALUES (%s, %s, %s, %s)
ON CONFLICT (table_name, metric_date) DO UPDATE
SET version = excluded.version, run_id = excluded.run_id, synced_at = excluded.synced_at
WHERE s.version <> excluded.version
"""


def note_synced(connection: psycopg.Connection, table: MetricTable, day: date, version: str, run_id: UUID) -> None:
    """Store that `day` was synced from `version` of its BigQuery partition."""
    connection.execute(_NOTE, [table.target, day, version, run_id])


def synced_versions(connection: psycopg.Connection, table: MetricTable) -> dict[date, str]:
    """Return the held version of each synced date."""
    return dict(
        connection.execute(
            "SELECT metric_date, version FROM synced_dates WHERE table_name = %s", [table.target]
        ).fetchall()
    )


def synced_moments(connection: psycopg.Connection, table: MetricTable) -> dict[date, datetime]:
    """Return when each synced date was synced to its held version."""
    return dict(
        connection.execute(
            "SELECT metric_date, synced_at FROM synced_dates WHERE table_name = %s", [table.target]
        ).fetchall()
    )
