"""Syncs some dates, or a slice of them, of one table from BigQuery to Postgres.

Dates are read together and land one by one. Can be called from an asset, a job, a test or a notebook.
"""

import logging
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import psycopg

from engarde_pipeline.bigquery.extraction import Selection, Source
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.postgres.load.held_dates import DateHeld
from engarde_pipeline.postgres.load.merge import MergedDate
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.postgres.load.session import LoadSession
from engarde_pipeline.sync.retries import after_conflict
from engarde_pipeline.telemetry import spans

logger = logging.getLogger(__name__)

DATES_PER_READ = 31
"""The maximum number of dates that are read together: few reads, and the first dates still land soon."""


@dataclass(frozen=True)
class SyncedDate:
    """A date that landed. The bytes and seconds of a read of several dates are divided by source rows."""

    day: date
    merged: MergedDate
    method: str
    bytes_read: int
    seconds_reading: float
    seconds_merging: float


@dataclass(frozen=True)
class FailedDate:
    """A date that did not land; its rows in Postgres are unchanged."""

    day: date
    error: Exception


def sync_dates(
    table: MetricTable,
    dates: Sequence[date],
    source: Source,
    connection: psycopg.Connection,
    options: LoadOptions,
) -> Generator[SyncedDate | FailedDate]:
    """Sync `dates` and yield each when it is committed or has failed; a failed date does not stop the others.

    A dry run yields the same and rolls each date back (rule 16).

    Raises:
        SourceError: BigQuery cannot be read (rule 4). Dates not yet yielded are unchanged.
        StillLocked: another sync is writing the dates.
        WaitStopped: it was asked to end while it waited for another sync. Dates not yet yielded are unchanged.
        SessionLost: a connection pooler changed the server session. Dates not yet yielded are unchanged.
        psycopg.OperationalError: the connection broke. Dates not yet yielded are unchanged.
    """
    scope = options.scope
    source_table = source.inspect(table)
    selection = selection_of(scope)
    for span in reads(dates):
        load = LoadSession(connection, table, options)
        with load.locked(span), load.rolled_back_if_dry():
            started = time.perf_counter()
            about = {"table": table.target, "first_date": span[0], "last_date": span[-1]}
            with spans.span("read", **about):
                extraction = source.read(source_table, span[0], span[-1], selection)
            # In one transaction even a connection pooler keeps the same server connection.
            with connection.transaction():
                with spans.span("stage", **about) as attributes:
                    rows = load.stage(list(source_table.columns), extraction.batches)
                    attributes |= {"source_rows": rows, "method": extraction.method}
                seconds_reading = time.perf_counter() - started
                logger.info(
                    "%s: read %d rows of %s to %s in %.1f s (%s)",
                    table.source,
                    rows,
                    span[0],
                    span[-1],
                    seconds_reading,
                    extraction.method,
                )
                started = time.perf_counter()
                with spans.span("prepare", **about):
                    load.prepare()
            seconds_preparing = time.perf_counter() - started
            for day in span:
                started = time.perf_counter()
                try:
                    with spans.span("merge", table=table.target, date=day) as attributes:
                        merged = after_conflict(load.merge)(day)
                        attributes |= merged.counts.published
                except (DateHeld, psycopg.Error) as error:
                    if connection.closed:
                        raise
                    if isinstance(error, DateHeld):
                        load.hold(day, error)
                    yield FailedDate(day, error)
                    continue
                share = merged.counts.source_rows / rows if rows else 1 / len(span)
                yield SyncedDate(
                    day,
                    merged,
                    extraction.method,
                    bytes_read=round(extraction.bytes_read * share),
                    seconds_reading=seconds_reading * share,
                    seconds_merging=time.perf_counter() - started + seconds_preparing * share,
                )


def selection_of(scope: Scope) -> Selection:
    """Return the part of the source to read for a scope."""
    return Selection(scope.tenant_id, scope.platforms or (), scope.external_campaign_ids)


def reads(dates: Sequence[date]) -> Iterator[list[date]]:
    """Split dates into those that are read together: consecutive dates, at most `DATES_PER_READ` each."""
    span: list[date] = []
    for day in sorted(set(dates)):
        if span and (day - span[-1] > timedelta(days=1) or len(span) == DATES_PER_READ):
            yield span
            span = []
        span.append(day)
    if span:
        yield span
