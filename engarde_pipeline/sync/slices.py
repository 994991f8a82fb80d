"""Syncs a slice: the part of some dates of one tenant, some platforms or some campaigns (rule 8)."""

from collections.abc import Iterator, Sequence
from datetime import date

import psycopg

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.sync.dates import FailedDate, SyncedDate, sync_dates


def sync_slice(
    dates: Sequence[date],
    source: Source,
    connection: psycopg.Connection,
    options: LoadOptions,
) -> Iterator[tuple[MetricTable, SyncedDate | FailedDate]]:
    """Sync the scope of `options` on `dates` in both tables, and yield each date; raises as `sync_dates`."""
    for table in METRIC_TABLES:
        if source.find(table) is None:
            continue
        for outcome in sync_dates(table, dates, source, connection, options):
            yield table, outcome
