"""Estimates the bytes that BigQuery would bill for a sync, before anything is read (rule 16)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.postgres.load.scope import EVERYTHING, Scope
from engarde_pipeline.sync.dates import reads, selection_of


@dataclass(frozen=True)
class SyncEstimate:
    """How a table would be read, and the bytes that BigQuery would bill; None if BigQuery does not report them."""

    table: MetricTable
    method: str
    bytes_billed: int | None


def estimate_sync(source: Source, dates: Sequence[date], scope: Scope = EVERYTHING) -> list[SyncEstimate]:
    """Return an estimate for each source table that exists; free of charge.

    Raises:
        SourceError: BigQuery cannot be read.
    """
    estimates = []
    for table in METRIC_TABLES:
        source_table = source.find(table)
        if source_table is None:
            continue
        spans = [source.estimate(source_table, days[0], days[-1], selection_of(scope)) for days in reads(dates)]
        sizes = [span.bytes_billed for span in spans if span.bytes_billed is not None]
        methods = " and ".join(sorted({span.method for span in spans}))
        estimates.append(SyncEstimate(table, methods, sum(sizes) if len(sizes) == len(spans) else None))
    return estimates
