"""The schedules: sync every hour what is due, and compare sums with BigQuery every night.

They find what the sensors missed. A tick that cannot read BigQuery or Postgres fails, and is repeated every minute
(`max_tick_retries` in dagster.yaml).
"""

from datetime import UTC, date, datetime

from dagster import (
    AssetKey,
    DagsterInstance,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from engarde_pipeline.core.dates import dates_ahead
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.defs.budget import estimated_bytes, over_budget
from engarde_pipeline.defs.date_checks import report_different_sums
from engarde_pipeline.defs.jobs import performance_sync
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.ticks import failing_tick
from engarde_pipeline.runs.history import bytes_last_read
from engarde_pipeline.runs.planning import (
    current_plan,
    dates_with_new_mappings,
    inspect_tables,
    note_compared,
    note_moved_rows,
    window,
)
from engarde_pipeline.runs.requests import run_requests, without_unfinished_run
from engarde_pipeline.sync.plan import SUMS_DIFFER, PlannedDate
from engarde_pipeline.sync.sums import DateSums, differing_sums


@schedule(
    job=performance_sync,
    cron_schedule="7 * * * *",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every hour, sync all dates that are due, including dates that failed before. If BigQuery does not"
    " report which dates changed (views, tables without daily partitions), sync the whole window.",
)
@failing_tick("The dates to sync could not be determined")
def hourly_sync(
    context: ScheduleEvaluationContext, bigquery: BigQuery, postgres: Postgres
) -> list[RunRequest] | SkipReason:
    """Request runs for all dates that are due, regardless of what the sensors have requested."""
    source = bigquery.open_source()
    with postgres.connect() as connection:
        note_moved_rows(connection)
        moment = datetime.now(UTC)
        plan = current_plan(context.instance, source, connection, inspect_tables(source))
        note_compared(connection, plan, moment)
        due = plan.due + dates_with_new_mappings(connection)
    return _requests(context, postgres, due, "All dates are up to date with BigQuery.")


@schedule(
    job=performance_sync,
    cron_schedule="23 3 * * *",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every night, compare each date's sums in Postgres with those in BigQuery, with one query per"
    " table, and sync the dates that differ.",
)
@failing_tick("The sums could not be compared")
def nightly_reconciliation(
    context: ScheduleEvaluationContext, bigquery: BigQuery, postgres: Postgres
) -> list[RunRequest] | SkipReason:
    """Request runs for the dates whose sums differ."""
    # The comparison reads as many bytes as a sync of the window.
    planned_bytes = sum(bytes_last_read(context.instance, AssetKey(t.target), window()) for t in METRIC_TABLES)
    if reason := over_budget(postgres, planned_bytes):
        return SkipReason(reason)
    due = differing_dates(context.instance, bigquery, postgres)
    return _requests(context, postgres, due, "The sums of all dates equal those in BigQuery.")


def differing_dates(instance: DagsterInstance, bigquery: BigQuery, postgres: Postgres) -> list[PlannedDate]:
    """Return the dates, of the window or ahead of UTC, whose sums differ between Postgres and BigQuery.

    The difference is recorded as a failed result of the check of the date, which the sync of the date would hide.
    """
    days = [*window(), *dates_ahead()]
    source = bigquery.open_source()
    due: list[PlannedDate] = []
    with postgres.connect() as connection:
        for table, found in inspect_tables(source).items():
            if found is None:
                continue
            # A date can differ in several currencies.
            different: dict[date, list[DateSums]] = {}
            for sums in differing_sums(source, found, connection, days):
                different.setdefault(sums.day, []).append(sums)
            report_different_sums(instance, table, different)
            due += [
                PlannedDate(table, day, SUMS_DIFFER, " ".join(map(_sums_version, of)))
                for day, of in different.items()
            ]
    return due


def _requests(
    context: ScheduleEvaluationContext, postgres: Postgres, due: list[PlannedDate], up_to_date: str
) -> list[RunRequest] | SkipReason:
    ready = without_unfinished_run(context.instance, due)
    if not ready:
        return SkipReason("All dates that are due are already in an unfinished run." if due else up_to_date)
    if reason := over_budget(postgres, estimated_bytes(context.instance, ready)):
        return SkipReason(reason)
    # The run key names the tick, so that dates which failed an hour ago are requested again.
    return run_requests(ready, run_key=f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}")


def _sums_version(sums: DateSums) -> str:
    return " ".join([sums.currency, *map(str, sums.bigquery.values())]).strip()
