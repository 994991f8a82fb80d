"""A slice: a tenant's, platforms' or campaigns' part of some dates, replaced on its own (rule 8)."""

from collections.abc import Iterator, Sequence
from datetime import date
from uuid import UUID

import psycopg

from engarde_pipeline.bigquery.errors import TableMissing
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.sync.dates import FailedDate, SyncedDate, sync_dates


def sync_slice(
    dates: Sequence[date],
    scope: Scope,
    source: Source,
    connection: psycopg.Connection,
    run_id: UUID,
    shrink_threshold: float | None,
) -> Iterator[tuple[MetricTable, SyncedDate | FailedDate]]:
    """Sync the slice `scope` of `dates` in both tables, yielding each date as it lands.

    Raises as `sync_dates` does.
    """
    for table in (CAMPAIGN_METRICS, ASSET_METRICS):
        try:
            source.inspect(table)
        except TableMissing:
            if table.optional:
                continue
            raise
        outcomes = sync_dates(table, dates, source, connection, run_id, shrink_threshold, scope)
        for outcome in outcomes:
            yield table, outcome
