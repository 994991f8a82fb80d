"""The held versions: for each date, the version of the BigQuery partition that Postgres was synced from.

The version is written in the transaction that writes the date. It is therefore correct even if Dagster's history
is lost, and if an earlier state of the database is restored. What the partition had is stored beside it (rule 12).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from engarde_pipeline.core.currencies import as_texts
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.load.held_dates import COMPLETE_AFTER_DAYS, NOTHING, SourceSums

# If the date was synced again and nothing is new, only `compared_at` is written. It is new that a date is complete
# at a sync (rule 12), or that this version of the pipeline has synced it.
_NOTE = """
INSERT INTO synced_dates AS s (table_name, metric_date, version, run_id, source_run_id,
                               source_rows, records, impressions, spend, compared_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, least(now(), %s))
ON CONFLICT (table_name, metric_date) DO UPDATE
SET version = excluded.version, run_id = excluded.run_id, synced_at = excluded.synced_at,
    source_run_id = excluded.source_run_id, source_rows = excluded.source_rows, records = excluded.records,
    impressions = excluded.impressions, spend = excluded.spend, compared_at = excluded.compared_at
WHERE (s.version, s.source_rows, s.records, s.impressions, s.spend) IS DISTINCT FROM
      (excluded.version, excluded.source_rows, excluded.records, excluded.impressions, excluded.spend)
   OR s.source_run_id IS DISTINCT FROM s.run_id
   OR (excluded.synced_at AT TIME ZONE 'UTC')::date >= s.metric_date + %s
      AND (s.synced_at AT TIME ZONE 'UTC')::date < s.metric_date + %s
"""

_NOTE_COMPARED = """
UPDATE synced_dates SET compared_at = least(now(), %s) WHERE table_name = %s AND metric_date = %s
"""

# Rows that a sync is writing are skipped: it notes the same.
_NOTE_UNCHANGED = """
WITH unchanged AS (
    SELECT table_name, metric_date
    FROM synced_dates
    WHERE table_name = ANY(%(tables)s)
      AND (table_name, metric_date) NOT IN (
          SELECT * FROM unnest(%(other_tables)s::text[], %(other_dates)s::date[])
      )
      AND coalesce(compared_at, synced_at) < %(moment)s - make_interval(mins => %(minutes)s)
    FOR UPDATE SKIP LOCKED
)
UPDATE synced_dates
SET compared_at = least(now(), %(moment)s)
FROM unchanged
WHERE (synced_dates.table_name, synced_dates.metric_date) = (unchanged.table_name, unchanged.metric_date)
"""

MINUTES_BETWEEN_NOTES = 5
"""A date that is compared more often is not noted each time."""


def note_synced(
    connection: psycopg.Connection,
    table: MetricTable,
    day: date,
    version: str,
    run_id: UUID,
    source: SourceSums = NOTHING,
    read_at: datetime | None = None,
) -> None:
    """Store that `day` was synced from `version` of its BigQuery partition, which had `source`.

    `read_at` is when the version was read, by default now.
    """
    sums = [source.source_rows, source.records, source.impressions, Jsonb(as_texts(source.spend))]
    noted = connection.execute(
        _NOTE,
        [table.target, day, version, run_id, run_id, *sums, read_at, COMPLETE_AFTER_DAYS, COMPLETE_AFTER_DAYS],
    )
    if not noted.rowcount:
        connection.execute(_NOTE_COMPARED, [read_at, table.target, day])


def note_unchanged(
    connection: psycopg.Connection, others: Mapping[MetricTable, Iterable[date]], moment: datetime
) -> None:
    """Store that at `moment` BigQuery had the held version of all synced dates of these tables but `others`."""
    pairs = [(table.target, day) for table, days in others.items() for day in days]
    connection.execute(
        _NOTE_UNCHANGED,
        {
            "tables": [table.target for table in others],
            "other_tables": [table for table, _ in pairs],
            "other_dates": [day for _, day in pairs],
            "moment": moment,
            "minutes": MINUTES_BETWEEN_NOTES,
        },
    )


def synced_by_older_version(connection: psycopg.Connection, table: MetricTable, days: Sequence[date]) -> set[date]:
    """Return those of `days` that a version of the pipeline before migration 0009 has synced last."""
    rows = connection.execute(
        """
        SELECT metric_date FROM synced_dates
        WHERE table_name = %s AND metric_date = ANY(%s) AND source_run_id IS DISTINCT FROM run_id
        """,
        [table.target, list(days)],
    )
    return {day for (day,) in rows}


def synced_versions(connection: psycopg.Connection, table: MetricTable) -> dict[date, str]:
    """Return the held version of each synced date."""
    return dict(
        connection.execute(
            "SELECT metric_date, version FROM synced_dates WHERE table_name = %s", [table.target]
        ).fetchall()
    )
