"""Checks of access to BigQuery; each returns what it found, or raises a `SourceError` that says what to do."""

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.settings import Settings


def check_table(settings: Settings, table: MetricTable) -> str:
    """Check that a source table exists and has all columns with the right types."""
    found = Source(settings).find(table)
    if found is None:
        return "does not exist; it is optional, and only its own metrics are left out"
    return f"{found} has all columns ({'table' if found.is_base_table else 'view'})"


def check_reading(settings: Settings) -> str:
    """Read today's campaign metrics."""
    source = Source(settings)
    extraction = source.read(source.inspect(CAMPAIGN_METRICS), today(), today())
    rows = sum(batch.num_rows for batch in extraction.batches)
    if extraction.method == "query":
        how = "by a query; for the faster and cheaper Storage Read API grant the role BigQuery Read Session User"
    else:
        how = "through the Storage Read API"
    return f"{counted(rows, 'row')} of today, read {how}"


def check_queries(settings: Settings) -> str:
    """Run a trivial query: the comparison of sums and the fallback for reading need queries."""
    source = Source(settings)
    source.query("SELECT 1", [], source.inspect(CAMPAIGN_METRICS))
    return "allowed"
