"""campaign_asset_metrics: each creative's numbers per date."""

from dagster import AssetExecutionContext, Output, asset

from engarde_pipeline.assets.landing import SyncConfig, sync_partitions
from engarde_pipeline.assets.metadata import source_key, target_lineage, target_schema
from engarde_pipeline.assets.resources import BigQuery, Postgres
from engarde_pipeline.assets.sources import GROUP, OWNERS
from engarde_pipeline.metrics import ASSET_METRICS
from engarde_pipeline.partitions import backfill_policy, daily


@asset(
    partitions_def=daily,
    backfill_policy=backfill_policy(),
    deps=[source_key(ASSET_METRICS)],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "table"},
    metadata={
        "dagster/table_name": ASSET_METRICS.target,
        "dagster/column_schema": target_schema(ASSET_METRICS),
        "dagster/column_lineage": target_lineage(ASSET_METRICS),
    },
)
def campaign_asset_metrics(
    context: AssetExecutionContext, config: SyncConfig, bigquery: BigQuery, postgres: Postgres
) -> Output[None]:
    """Each creative's numbers per date, with engagements.

    Creatives need not add up to their campaign: some campaign types report nothing per creative, so campaign
    numbers never come from here. Where BigQuery has no such table, nothing is changed and the
    date says so.
    """
    return sync_partitions(context, ASSET_METRICS, config, bigquery, postgres)
