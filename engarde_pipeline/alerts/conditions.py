"""The conditions that alert on-call; each function yields the current incidents of one kind."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.core.counts import total
from engarde_pipeline.core.date_states import DateState, current_calendar, state_of
from engarde_pipeline.core.limits import REJECTED_SHARE_LIMIT
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.postgres.reads.date_states import read_date_facts
from engarde_pipeline.postgres.reads.usage import bytes_today
from engarde_pipeline.runs.history import counts_of, latest_materializations
from engarde_pipeline.runs.job_log import last_ended
from engarde_pipeline.runs.planning import window
from engarde_pipeline.runs.sync_runs import dates_of, is_sync

FAILURES_IN_A_ROW = 3
LONGEST_SYNC = timedelta(minutes=10)
BUDGET_SHARE = 0.8


def failed_in_a_row(instance: DagsterInstance) -> Iterator[Incident]:
    """Yield an incident if the last three syncs failed, each after its retries; cancelled syncs do not count."""
    last = last_ended(instance, FAILURES_IN_A_ROW)
    if len(last) == FAILURES_IN_A_ROW and all(run.status is DagsterRunStatus.FAILURE for run in last):
        yield Incident(
            key="failed in a row",
            title=f"The last {FAILURES_IN_A_ROW} syncs failed",
            reason="Dates that could not be synced keep their previous numbers in Postgres.",
            what_to_do="Open the run. The error of the failed step says what is wrong and what to do.",
            job=last[0].job_name,
            dates=_dates(last[0]),
            run_id=last[0].run_id,
        )


def running_long(instance: DagsterInstance, now: datetime) -> Iterator[Incident]:
    """Yield an incident for each sync that has been running for more than ten minutes."""
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        run = record.dagster_run
        started = record.start_time
        if not is_sync(run) or started is None or now.timestamp() - started < LONGEST_SYNC.total_seconds():
            continue
        yield Incident(
            key=f"long {run.run_id}",
            title="A sync has been running for more than 10 minutes",
            reason="This is normal for a large backfill. A sync of a few dates is waiting for a lock, Postgres or"
            " BigQuery.",
            what_to_do="Check the progress in the run's log. If there is none, cancel the run; dates that have"
            " landed are kept.",
            job=run.job_name,
            dates=_dates(run),
            run_id=run.run_id,
        )


def many_rejected(instance: DagsterInstance) -> Iterator[Incident]:
    """Yield an incident for each table with dates of which more than 5 % of the records are rejected."""
    for table in METRIC_TABLES:
        latest = latest_materializations(instance, AssetKey(table.target), window())
        counts = {day: counts_of(record) for day, record in sorted(latest.items())}
        bad = [day for day, found in counts.items() if found.rejected > REJECTED_SHARE_LIMIT * found.processed]
        if bad:
            found = total(counts[day] for day in bad)
            yield Incident(
                key=f"rejected {table.target}",
                title=f"More than 5 % of the records of {table.target} are rejected",
                reason=f"On {len(bad)} dates, {found.rejected:,} of {found.processed:,} records were not loaded.",
                what_to_do="Run `engarde status`: it lists the reasons and what to do. When a missing tenant,"
                " campaign or asset is added, its records are loaded automatically.",
                job="performance_sync",
                dates=f"{bad[0]} .. {bad[-1]}",
                run_id=latest[bad[-1]].run_id,
            )


def dates_held(connection: psycopg.Connection) -> Iterator[Incident]:
    """Yield an incident for each table with held dates (rules 5 and 12)."""
    calendar = current_calendar()
    held = [each for each in read_date_facts(connection, []) if state_of(each, calendar) is DateState.HELD]
    for table in METRIC_TABLES:
        of_table = [each for each in held if each.table is table]
        if of_table:
            days = sorted(each.day for each in of_table)
            yield Incident(
                key=f"held {table.target}",
                title=f"{len(days)} dates of {table.target} are held",
                reason=f"Their loads look wrong. The latest: {of_table[0].held}",
                what_to_do="Repair the load into BigQuery, and the dates are synced again. If the numbers are"
                " right, run `engarde sync` for them with --allow-growth or --allow-shrink. `engarde status` lists"
                " them.",
                job="performance_sync",
                dates=f"{days[0]} .. {days[-1]}",
                run_id=str(of_table[0].held_by),
            )


def budget_nearly_used(connection: psycopg.Connection, budget: int) -> Iterator[Incident]:
    """Yield an incident if 80 % of the daily byte budget is used."""
    used = bytes_today(connection)
    if used >= BUDGET_SHARE * budget:
        yield Incident(
            key="budget",
            title=f"BigQuery has read {100 * used / budget:.0f} % of today's budget",
            reason=f"{used:,} of {budget:,} bytes are used. At 100 %, schedules and sensors start no syncs until"
            " midnight UTC.",
            what_to_do="Check Runs in the Dagster UI for repeated backfills. If this much is expected, raise"
            " ENGARDE_DAILY_BYTES.",
        )


def _dates(run: DagsterRun) -> str:
    start, end = dates_of(run)
    return f"{start} .. {end}" if start and end else ""
