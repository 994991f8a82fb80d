"""The same job with Dagster's default executor, which starts a process for each step."""

from dagster import AssetSelection, Definitions, JobDefinition, define_asset_job, multiprocess_executor

from engarde_pipeline.definitions import defs

JOB = "performance_sync_spawned"


def spawned() -> JobDefinition:
    """Return performance_sync with a process per step."""
    job = define_asset_job(
        JOB,
        AssetSelection.assets("campaign_metrics", "campaign_asset_metrics", "campaign_space_aggregates"),
        executor_def=multiprocess_executor,
    )
    definitions = Definitions(
        assets=defs.assets, asset_checks=defs.asset_checks, jobs=[job], resources=defs.resources
    )
    return definitions.resolve_job_def(JOB)
