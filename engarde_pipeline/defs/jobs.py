"""The job `performance_sync`: syncs all tables for a date or a range of dates."""

from dagster import AssetSelection, define_asset_job, in_process_executor

from engarde_pipeline.defs.assets.campaign_asset_metrics import campaign_asset_metrics
from engarde_pipeline.defs.assets.campaign_metrics import campaign_metrics
from engarde_pipeline.defs.assets.campaign_space_aggregates import campaign_space_aggregates

performance_sync = define_asset_job(
    "performance_sync",
    selection=AssetSelection.assets(campaign_metrics, campaign_asset_metrics, campaign_space_aggregates),
    description="Sync the metrics of campaigns and of their creatives for a date or a range of dates, then update"
    " the totals: everything that engarde sync does.",
    executor_def=in_process_executor,
)
