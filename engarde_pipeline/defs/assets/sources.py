"""The two BigQuery source tables as external assets; the pipeline only reads them."""

from dagster import AssetSpec

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.defs.metadata import source_key, source_schema

GROUP = "performance"
OWNERS = ["team:marketing-data"]


def _source(table: MetricTable, description: str) -> AssetSpec:
    return AssetSpec(
        source_key(table),
        description=description,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"bigquery", "table"},
        tags={"layer": "source"},
        metadata={"dagster/column_schema": source_schema(table)},
    )


bigquery_campaign_metrics = _source(
    CAMPAIGN_METRICS,
    "The ad platforms' daily metrics per campaign, as loaded into BigQuery. A campaign can have several rows per"
    " date (ad sets, regions). Ad platforms restate the last 7 to 30 days.",
)

bigquery_asset_metrics = _source(
    ASSET_METRICS,
    "The ad platforms' daily metrics per creative. The table is optional. If it has no column tenant_id, the"
    " tenant is that of the campaign.",
)
