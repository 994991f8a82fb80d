"""The sensor `new_mappings`: syncs dates again once the campaigns or assets that they lacked are in Postgres."""

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor

from engarde_pipeline.defs.budget import estimated_bytes, over_budget
from engarde_pipeline.defs.jobs import performance_sync
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.defs.ticks import failing_tick
from engarde_pipeline.runs.planning import dates_with_new_mappings, note_moved_rows
from engarde_pipeline.runs.requests import described, run_requests, without_unfinished_run


@sensor(
    job=performance_sync,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sync the dates whose rejected records can be loaded now, because their tenant, campaign or asset"
    " was added to Postgres.",
)
@failing_tick("The rejected records could not be checked")
def new_mappings(context: SensorEvaluationContext, postgres: Postgres) -> SensorResult:
    """Request runs for the dates with rejected records that can be resolved now, once per set of records.

    Also notes the dates of rows that belong to another campaign space or asset now.
    """
    with postgres.connect() as connection:
        note_moved_rows(connection)  # the sensor changed_partitions syncs these
        due = dates_with_new_mappings(connection)
    ready = without_unfinished_run(context.instance, due)
    if not ready:
        return SensorResult(
            skip_reason="No rejected record has become loadable."
            if not due
            else f"Already in an unfinished run: {described(due)}."
        )
    if reason := over_budget(postgres, estimated_bytes(context.instance, ready)):
        return SensorResult(skip_reason=reason)
    return SensorResult(run_requests=run_requests(ready))
