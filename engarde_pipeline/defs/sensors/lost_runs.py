"""lost_runs: mark runs whose process is gone as failed, so that other runs can take their dates.

Dagster's run monitoring notices a process that ends while its code server lives. Where that went too, only the
longest run time of `dagster.yaml` would, hours later. Nor does it notice a run that was recorded and never queued.
"""

from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.postgres.connection import connected_runs

SILENCE = timedelta(minutes=10)
"""A run that lives logs a date, or has a connection on which it waits; nothing else it does takes so long."""


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="End the runs whose process is gone: no connection to Postgres, and no event for ten minutes."
    " What they left is synced by a retry, or by the plan.",
)
def lost_runs(context: SensorEvaluationContext, postgres: Postgres) -> SkipReason:
    """Mark lost runs as failed; a run of another code location is left alone."""
    instance, now = context.instance, datetime.now(UTC)
    for record in instance.get_run_records(
        RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], created_before=now - SILENCE)
    ):
        if _is_ours(context, record.dagster_run):
            instance.report_run_failed(
                record.dagster_run,
                "The process that created this run ended before it queued the run.",
            )
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    silent = [run for run in started if _is_ours(context, run) and now - _last_event(instance, run) > SILENCE]
    if not silent:
        return SkipReason("Every run that has started has logged an event in the last ten minutes.")
    try:
        with postgres.connect() as connection:
            connected = connected_runs(connection)
    except EngardeError as error:
        return SkipReason(f"Postgres cannot be asked which runs are connected: {error}")
    lost = [run for run in silent if run.run_id not in connected]
    for run in lost:
        instance.report_run_failed(
            run,
            f"The run's process is gone: it has logged nothing for {SILENCE.seconds // 60} minutes and has no"
            " connection to Postgres. Dates that landed stay; the others are synced again automatically.",
        )
    return SkipReason(
        f"{len(lost)} lost runs were marked as failed; {len(silent) - len(lost)} silent runs are still connected."
    )


def _is_ours(context: SensorEvaluationContext, run: DagsterRun) -> bool:
    here, origin = context.code_location_origin, run.remote_job_origin
    if here and origin:
        return bool(origin.repository_origin.code_location_origin.location_name == here.location_name)
    return bool(context.repository_def and context.repository_def.has_job(run.job_name))


def _last_event(instance: DagsterInstance, run: DagsterRun) -> datetime:
    (record,) = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return datetime.fromtimestamp(record.timestamp, UTC)
