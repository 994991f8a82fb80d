"""The asset `campaign_asset_metrics`: each creative's metrics per date."""

from dagster import AssetExecutionContext, Output, asset

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.defs.assets.sources import GROUP, OWNERS
from engarde_pipeline.defs.landing import SyncConfig, sync_partitions
from engarde_pipeline.defs.metadata import source_key, target_lineage, target_schema
from engarde_pipeline.defs.partitions import backfill_policy, daily
from engarde_pipeline.defs.resources import BigQuery, Postgres


@asset(
    partitions_def=daily,
    backfill_policy=backfill_policy(),
    deps=[source_key(ASSET_METRICS)],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "table"},
    tags={"layer": "metrics"},
    metadata={
        "dagster/table_name": ASSET_METRICS.target,
        "dagster/column_schema": target_schema(ASSET_METRICS),
        "dagster/column_lineage": target_lineage(ASSET_METRICS),
    },
)
def campaign_asset_metrics(
    context: AssetExecutionContext, config: SyncConfig, bigquery: BigQuery, postgres: Postgres
) -> Output[None]:
    """Each creative's metrics per date, including engagements.

    The creatives of a campaign need not add up to the campaign, because some campaign types report nothing per
    creative. Campaign metrics are therefore never computed from this table. If BigQuery has no such table, nothing
    is changed, and each date's description says so.

    Materializing this asset alone does not sync the metrics of campaigns. To sync both and the totals, materialize
    the job performance_sync, or all assets of the group performance.
    """
    return sync_partitions(context, ASSET_METRICS, config, bigquery, postgres)
