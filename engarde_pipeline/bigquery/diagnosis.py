"""Can BigQuery be read? Each function returns what it found, or raises a SourceError with the cure."""

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.settings import Settings


def check_table(settings: Settings, table: MetricTable) -> str:
    """Check that a source table is there, with every column and type."""
    found = Source(settings).find(table)
    if found is None:
        return "not there; it is optional, and only its own metrics are left out"
    return f"{found} has every column ({'table' if found.is_base_table else 'view'})"


def check_reading(settings: Settings) -> str:
    """Read today's campaign metrics, and say how."""
    source = Source(settings)
    extraction = source.read(source.inspect(CAMPAIGN_METRICS), today(), today())
    rows = sum(batch.num_rows for batch in extraction.batches)
    if extraction.method == "query":
        how = "by queries; for the faster and cheaper Storage Read API grant BigQuery Read Session User"
    else:
        how = "through the Storage Read API"
    return f"{rows} rows of today, {how}"


def check_queries(settings: Settings) -> str:
    """Run the smallest query, which the check of sums and the fallback need."""
    source = Source(settings)
    source.query("SELECT 1", [], source.inspect(CAMPAIGN_METRICS))
    return "allowed"
