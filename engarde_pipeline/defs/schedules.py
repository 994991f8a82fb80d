"""The nets under the sensor: every hour what the plan says, every night what the sums say."""

from decimal import Decimal

from dagster import AssetKey, DefaultScheduleStatus, RunRequest, ScheduleEvaluationContext, SkipReason, schedule

from engarde_pipeline.bigquery.sums import sums_by_date as bigquery_sums
from engarde_pipeline.core.dates import dates_ahead
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.defs.budget import estimated_bytes, why_not
from engarde_pipeline.defs.jobs import performance_sync
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.reads.sums import sums_by_date as postgres_sums
from engarde_pipeline.runs.history import bytes_last_read
from engarde_pipeline.runs.planning import (
    TABLES,
    current_plan,
    inspect_tables,
    mapped_dates,
    note_moved_rows,
    window,
)
from engarde_pipeline.runs.requests import not_under_way, run_requests
from engarde_pipeline.sync.plan import DIFFERS, PlannedDate


@schedule(
    job=performance_sync,
    cron_schedule="7 * * * *",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every hour: sync what is due for any reason, failed dates once more, and, where BigQuery does not"
    " tell which dates changed (views, tables without daily partitions), the whole window.",
)
def hourly_sync(
    context: ScheduleEvaluationContext, bigquery: BigQuery, postgres: Postgres
) -> list[RunRequest] | SkipReason:
    """Ask for everything the plan says, whatever the sensor remembers."""
    try:
        source = bigquery.open_source()
        with postgres.connect() as connection:
            note_moved_rows(connection)
            due = current_plan(context.instance, source, connection, inspect_tables(source))
            due += mapped_dates(connection)
        return _requests(context, postgres, due, "Every date is as BigQuery's metadata says.")
    except EngardeError as error:
        return SkipReason(f"There is no plan: {error}")


@schedule(
    job=performance_sync,
    cron_schedule="23 3 * * *",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every night: compare Postgres' sums with BigQuery's for every date of the window, in one query"
    " per table, and sync the dates that differ.",
)
def nightly_reconciliation(
    context: ScheduleEvaluationContext, bigquery: BigQuery, postgres: Postgres
) -> list[RunRequest] | SkipReason:
    """Ask for the dates whose sums differ."""
    try:
        # The comparison reads what a sync of the window reads.
        planned_bytes = sum(bytes_last_read(context.instance, AssetKey(t.target), window()) for t in TABLES)
        if reason := why_not(postgres, planned_bytes):
            return SkipReason(reason)
        due = differing_dates(bigquery, postgres)
        return _requests(context, postgres, due, "Every date's sums are BigQuery's.")
    except EngardeError as error:
        return SkipReason(f"The sums could not be compared: {error}")


def differing_dates(bigquery: BigQuery, postgres: Postgres) -> list[PlannedDate]:
    """Return the dates of the window, or ahead of UTC, on which Postgres' sums are not BigQuery's."""
    days = [*window(), *dates_ahead()]
    source = bigquery.open_source()
    due: list[PlannedDate] = []
    with postgres.connect() as connection:
        for table, found in inspect_tables(source).items():
            if found is None:
                continue
            nothing = dict.fromkeys(table.measure_names, Decimal(0))
            theirs = bigquery_sums(source, found, days[0], days[-1])
            ours = postgres_sums(connection, table, days)
            different = (day for day in days if theirs.get(day, nothing) != ours.get(day, nothing))
            due += [PlannedDate(table, day, DIFFERS, _sums_version(theirs.get(day, nothing))) for day in different]
    return due


def _requests(
    context: ScheduleEvaluationContext, postgres: Postgres, due: list[PlannedDate], nothing: str
) -> list[RunRequest] | SkipReason:
    ready = not_under_way(context.instance, due)
    if not ready:
        return SkipReason("What is due is already in a run that has not ended." if due else nothing)
    if reason := why_not(postgres, estimated_bytes(context.instance, ready)):
        return SkipReason(reason)
    # The tick's own key: what failed an hour ago is asked for again.
    return run_requests(ready, run_key=f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}")


def _sums_version(sums: dict[str, Decimal]) -> str:
    return " ".join(str(value) for value in sums.values())
