"""A slice: a tenant's, platforms' or campaigns' part of some dates, replaced on its own (rule 8)."""

from collections.abc import Iterator, Sequence
from datetime import date

import psycopg

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.sync.dates import FailedDate, SyncedDate, sync_dates


def sync_slice(
    dates: Sequence[date],
    source: Source,
    connection: psycopg.Connection,
    options: LoadOptions,
) -> Iterator[tuple[MetricTable, SyncedDate | FailedDate]]:
    """Sync the slice that is the options' scope of `dates` in both tables, yielding each date as it lands.

    Raises as `sync_dates` does.
    """
    for table in (CAMPAIGN_METRICS, ASSET_METRICS):
        if source.find(table) is None:
            continue
        for outcome in sync_dates(table, dates, source, connection, options):
            yield table, outcome
