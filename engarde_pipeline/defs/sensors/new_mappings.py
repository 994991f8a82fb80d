"""new_mappings: when campaigns or assets are added in Postgres, dates that lacked them are synced again."""

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.defs.budget import estimated_bytes, why_not
from engarde_pipeline.defs.jobs import performance_sync
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.runs.planning import mapped_dates, note_moved_rows
from engarde_pipeline.runs.requests import described, not_under_way, run_requests


@sensor(
    job=performance_sync,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sync the dates whose rejected records can be loaded now, since their tenant, campaign or asset"
    " was added in Postgres.",
)
def new_mappings(context: SensorEvaluationContext, postgres: Postgres) -> SensorResult:
    """Ask for the dates with rejected records that can be resolved now, once per set of records.

    It also notes the dates of rows that belong to another campaign space or asset now.
    """
    try:
        with postgres.connect() as connection:
            note_moved_rows(connection)  # the sensor changed_partitions asks for these
            due = mapped_dates(connection)
        ready = not_under_way(context.instance, due)
        if not ready:
            return SensorResult(
                skip_reason="No rejected record can be loaded that could not be before."
                if not due
                else f"Already in a run that has not ended: {described(due)}."
            )
        if reason := why_not(postgres, estimated_bytes(context.instance, ready)):
            return SensorResult(skip_reason=reason)
    except EngardeError as error:
        return SensorResult(skip_reason=f"Postgres cannot be asked: {error}")
    return SensorResult(run_requests=run_requests(ready))
