"""The Dagster definitions of the code location."""

from engarde_pipeline.core.imports import uncollected

with uncollected():
    from dagster import Definitions, in_process_executor

    from engarde_pipeline.defs.assets.campaign_asset_metrics import campaign_asset_metrics
    from engarde_pipeline.defs.assets.campaign_metrics import campaign_metrics
    from engarde_pipeline.defs.assets.campaign_space_aggregates import campaign_space_aggregates
    from engarde_pipeline.defs.assets.sources import bigquery_asset_metrics, bigquery_campaign_metrics
    from engarde_pipeline.defs.checks import (
        campaign_asset_metrics_checks,
        campaign_metrics_checks,
        totals_checks,
    )
    from engarde_pipeline.defs.jobs import performance_sync
    from engarde_pipeline.defs.locations import with_locations
    from engarde_pipeline.defs.resources import BigQuery, ObservedPostgres
    from engarde_pipeline.defs.schedules import hourly_sync, nightly_reconciliation
    from engarde_pipeline.defs.sensors.alerts import alerts
    from engarde_pipeline.defs.sensors.changed_partitions import changed_partitions
    from engarde_pipeline.defs.sensors.lost_runs import lost_runs
    from engarde_pipeline.defs.sensors.new_mappings import new_mappings
    from engarde_pipeline.defs.sensors.pending_totals import pending_totals, totals
    from engarde_pipeline.defs.slice_sync import slice_sync_job
    from engarde_pipeline.settings import check_environment
    from engarde_pipeline.telemetry import configure_telemetry

check_environment()
configure_telemetry("engarde-pipeline")

defs = Definitions(
    assets=with_locations(
        [
            bigquery_campaign_metrics,
            bigquery_asset_metrics,
            campaign_metrics,
            campaign_asset_metrics,
            campaign_space_aggregates,
        ]
    ),
    asset_checks=[campaign_metrics_checks, campaign_asset_metrics_checks, totals_checks],
    jobs=[performance_sync, slice_sync_job(), totals],
    sensors=[changed_partitions, new_mappings, pending_totals, lost_runs, alerts],
    schedules=[hourly_sync, nightly_reconciliation],
    resources={"bigquery": BigQuery(), "postgres": ObservedPostgres()},
    # Steps are short and reuse their connections; starting a process for each would take seconds.
    executor=in_process_executor,
)
