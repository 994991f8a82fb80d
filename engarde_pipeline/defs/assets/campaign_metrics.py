"""The asset `campaign_metrics`: each campaign space's metrics per date."""

from dagster import AssetExecutionContext, Output, asset

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.defs.assets.sources import GROUP, OWNERS
from engarde_pipeline.defs.landing import SyncConfig, sync_partitions
from engarde_pipeline.defs.metadata import source_key, target_lineage, target_schema
from engarde_pipeline.defs.partitions import backfill_policy, daily
from engarde_pipeline.defs.resources import BigQuery, Postgres


@asset(
    partitions_def=daily,
    backfill_policy=backfill_policy(),
    deps=[source_key(CAMPAIGN_METRICS)],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "table"},
    tags={"layer": "metrics"},
    metadata={
        "dagster/table_name": CAMPAIGN_METRICS.target,
        "dagster/column_schema": target_schema(CAMPAIGN_METRICS),
        "dagster/column_lineage": target_lineage(CAMPAIGN_METRICS),
    },
)
def campaign_metrics(
    context: AssetExecutionContext, config: SyncConfig, bigquery: BigQuery, postgres: Postgres
) -> Output[None]:
    """Each campaign's impressions, clicks, spend, conversions and revenue per date, exactly as in BigQuery, with
    ratios recomputed from the sums.

    A materialized date had the same numbers in BigQuery and Postgres when it was synced. A date is
    provisional while an ad platform may still restate it (ENGARDE_RESTATEMENT_DAYS). Records that could not be
    loaded are counted as rejected and listed in the date's metadata, with what to do about them.

    Materializing this asset alone does not sync the metrics of creatives. To sync both and the totals, materialize
    the job performance_sync, or all assets of the group performance.
    """
    return sync_partitions(context, CAMPAIGN_METRICS, config, bigquery, postgres)
