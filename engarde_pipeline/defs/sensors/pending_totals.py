"""pending_totals: where a date of a run failed, its totals step was skipped; the totals follow all the same."""

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

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.defs.assets.campaign_space_aggregates import campaign_space_aggregates
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.totals.campaign_totals import last_noted_change
from engarde_pipeline.runs.sync_runs import UNFINISHED

totals = define_asset_job(
    "totals",
    selection=AssetSelection.assets(campaign_space_aggregates),
    description="Bring the totals on campaign_spaces up to date.",
    executor_def=in_process_executor,
)


@sensor(
    job=totals,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Bring the totals up to date when a sync changed dates and ended without doing it.",
)
def pending_totals(context: SensorEvaluationContext, postgres: Postgres) -> RunRequest | SkipReason:
    """Ask for the totals when changed dates are left and no run is on its way that will sum them."""
    try:
        with postgres.connect() as connection:
            changed_at = last_noted_change(connection)
    except EngardeError as error:
        return SkipReason(f"Postgres cannot be asked: {error}")
    if changed_at is None:
        return SkipReason("The totals are up to date.")
    if context.instance.get_runs(RunsFilter(statuses=UNFINISHED), limit=1):
        return SkipReason("A run that has not ended may bring the totals up to date.")
    return RunRequest(run_key=changed_at.isoformat())
