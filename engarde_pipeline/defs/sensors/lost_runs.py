"""The sensor `lost_runs`: marks runs as failed whose process no longer exists, and clears up after ended ones.

Until a run has ended, no other run is started for its dates. Dagster's run monitoring notices a process that ends
while its code server is running. If the code server ended too, only the maximum run time of `dagster.yaml` would
end the run, hours later. Run monitoring does not notice a run that was created and never queued.

The daemon gives up the retry of a run for good if the code server is not reachable when it creates it. This sensor
runs in the code server, so when it looks, the retry can be created.

A run plans a result of each check for each of its dates. One that is canceled before it starts, or is killed,
leaves these behind, and Dagster shows the checks of the dates as skipped instead of with their last results.
"""

from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from engarde_pipeline.core.plurals import counted
from engarde_pipeline.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    WILL_RETRY_TAG,
    forget_planned_checks,
    is_of_ended_backfill,
)
from engarde_pipeline.defs.resources import Postgres
from engarde_pipeline.defs.ticks import failing_tick
from engarde_pipeline.postgres.connection import connected_runs
from engarde_pipeline.runs.attempts import RETRIED_WITHIN

_NOT_RETRIED = "Failed to retry run"
"""The event that the daemon logs when it gives up a retry."""

_TRIES = 5

SILENCE = timedelta(minutes=10)
"""A running run logs an event more often than this, or has an open connection to Postgres on which it waits."""


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Mark runs as failed whose process no longer exists: no connection to Postgres, and no event for"
    " ten minutes. A retry or a later run syncs their remaining dates.",
)
@failing_tick("The runs that are connected to Postgres could not be looked up")
def lost_runs(context: SensorEvaluationContext, postgres: Postgres) -> SkipReason:
    """Mark lost runs of this code location as failed."""
    instance, now = context.instance, datetime.now(UTC)
    for record in instance.get_run_records(
        RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], created_before=now - SILENCE)
    ):
        if _is_ours(context, record.dagster_run):
            instance.report_run_failed(
                record.dagster_run,
                "The run was created but not queued: the process that created it ended too early.",
            )
    _retry_again(context, now)
    _forget_planned_checks(context, now)
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    silent = [run for run in started if _is_ours(context, run) and now - _last_event(instance, run) > SILENCE]
    if not silent:
        return SkipReason("All started runs have logged an event recently.")
    with postgres.connect() as connection:
        connected = connected_runs(connection)
    lost = [run for run in silent if run.run_id not in connected]
    for run in lost:
        instance.report_run_failed(
            run,
            f"The run's process no longer exists: it has logged nothing for {SILENCE.seconds // 60} minutes"
            " and has no connection to Postgres. Dates that landed are kept; the others are synced again"
            " automatically.",
        )
    return SkipReason(
        f"Marked as failed: {counted(len(lost), 'lost run')}. Waiting on a connection:"
        f" {counted(len(silent) - len(lost), 'run')}."
    )


def _retry_again(context: SensorEvaluationContext, now: datetime) -> None:
    """Report the failure of runs again whose retry could not be created: the daemon then creates it."""
    instance = context.instance
    given_up = RunsFilter(
        statuses=[DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: "false"}, updated_after=now - RETRIED_WITHIN
    )
    for run in instance.get_runs(given_up):
        if not _is_ours(context, run) or AUTO_RETRY_RUN_ID_TAG in run.tags or is_of_ended_backfill(instance, run):
            continue
        events = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT).records
        tries = sum(record.event_log_entry.get_dagster_event().message == _NOT_RETRIED for record in events)
        if 0 < tries <= _TRIES:
            instance.report_run_failed(run, "Its retry could not be created, and is created now.")


def _forget_planned_checks(context: SensorEvaluationContext, now: datetime) -> None:
    statuses = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    ended = context.instance.get_runs(RunsFilter(statuses=statuses, updated_after=now - RETRIED_WITHIN))
    if ours := [run.run_id for run in ended if _is_ours(context, run)]:
        forget_planned_checks(context.instance, *ours)


def _is_ours(context: SensorEvaluationContext, run: DagsterRun) -> bool:
    here, origin = context.code_location_origin, run.remote_job_origin
    if here and origin:
        return bool(origin.repository_origin.code_location_origin.location_name == here.location_name)
    return bool(context.repository_def and context.repository_def.has_job(run.job_name))


def _last_event(instance: DagsterInstance, run: DagsterRun) -> datetime:
    (record,) = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return datetime.fromtimestamp(record.timestamp, UTC)
