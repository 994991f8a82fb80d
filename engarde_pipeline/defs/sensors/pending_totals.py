"""The sensor `pending_totals`: updates the totals after runs that skipped them because a date failed."""

from dagster import (
    AssetSelection,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    sensor,
)

from engarde_pipeline.defs.assets.campaign_space_aggregates import campaign_space_aggregates
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.defs.ticks import failing_tick
from engarde_pipeline.postgres.totals.changed_dates import last_noted_change
from engarde_pipeline.runs.sync_runs import UNFINISHED

totals = define_asset_job(
    "totals",
    selection=AssetSelection.assets(campaign_space_aggregates),
    description="Update the totals in campaign_spaces.",
    executor_def=in_process_executor,
)


@sensor(
    job=totals,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Update the totals when a sync changed dates and ended without updating them.",
)
@failing_tick("The state of the totals could not be read")
def pending_totals(context: SensorEvaluationContext, postgres: Postgres) -> RunRequest | SkipReason:
    """Request a run of totals if there are changed dates and no unfinished run that may sum them."""
    with postgres.connect() as connection:
        changed_at = last_noted_change(connection)
    if changed_at is None:
        return SkipReason("The totals are up to date.")
    if context.instance.get_runs(RunsFilter(statuses=UNFINISHED), limit=1):
        return SkipReason("An unfinished run may update the totals.")
    return RunRequest(run_key=changed_at.isoformat())
