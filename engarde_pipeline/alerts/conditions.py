"""The conditions that alert on-call; each function yields the current incidents of one kind."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.core.counts import total
from engarde_pipeline.core.date_states import DateFacts, DateState, current_calendar, state_of
from engarde_pipeline.core.dates import date_range
from engarde_pipeline.core.limits import REJECTED_SHARE_LIMIT
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.postgres.load.rejected import open_reasons
from engarde_pipeline.postgres.reads.date_states import read_date_facts
from engarde_pipeline.postgres.reads.usage import bytes_today
from engarde_pipeline.runs.attempts import reasons_of
from engarde_pipeline.runs.history import counts_of, latest_materializations
from engarde_pipeline.runs.job_log import last_ended
from engarde_pipeline.runs.planning import window
from engarde_pipeline.runs.sync_runs import dates_of, is_sync, job_of

FAILURES_IN_A_ROW = 3
LONGEST_SYNC = timedelta(minutes=10)
BUDGET_SHARE = 0.8

_LONGEST_REASON = 600
"""Characters of an error in an alert; the run has all of it."""


def failed_in_a_row(instance: DagsterInstance) -> Iterator[Incident]:
    """Yield an incident if the last three syncs failed, each after its retries.

    Dry runs, cancelled syncs, and syncs that failed because of what somebody asked for do not count.
    """
    last = last_ended(instance, FAILURES_IN_A_ROW)
    if len(last) == FAILURES_IN_A_ROW and all(run.status is DagsterRunStatus.FAILURE for run in last):
        reason = _shortened("\n".join(reasons_of(instance, last[0])) or "its log says why.")
        yield Incident(
            key="failed in a row",
            title=f"The last {FAILURES_IN_A_ROW} syncs failed",
            reason=f"Dates that could not be synced keep their previous numbers. The last sync failed: {reason}",
            what_to_do="Correct what the error says; `engarde doctor` checks BigQuery and Postgres. Then nothing"
            " else is needed: within an hour, the dates are synced automatically.",
            job=job_of(last[0]),
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
            reason=f"It started at {datetime.fromtimestamp(started, UTC):%Y-%m-%d %H:%M} UTC. This is normal for a"
            " large backfill. A sync of a few dates is waiting for a lock, Postgres or BigQuery.",
            what_to_do="Open the run's log. If a date lands every few seconds, wait. If not, cancel the run: dates"
            " that have landed are kept, and the others are synced again automatically.",
            job=job_of(run),
            dates=_dates(run),
            run_id=run.run_id,
        )


def many_rejected(instance: DagsterInstance, connection: psycopg.Connection) -> Iterator[Incident]:
    """Yield an incident for each table with dates of which more than 5 % of the records are rejected."""
    for table in METRIC_TABLES:
        latest = latest_materializations(instance, AssetKey(table.target), window())
        counts = {day: counts_of(record) for day, record in sorted(latest.items())}
        bad = [day for day, found in counts.items() if found.rejected > REJECTED_SHARE_LIMIT * found.processed]
        if bad:
            found = total(counts[day] for day in bad)
            reasons = [
                each for each in open_reasons(connection, bad[0], bad[-1]) if each.table_name == table.source
            ]
            most_frequent = f" Most often: {_shortened(reasons[0].reason)}" if reasons else ""
            yield Incident(
                key=f"rejected {table.target}",
                title=f"More than 5 % of the records of {table.target} are rejected",
                reason=f"On {counted(len(bad), 'date')}, {found.rejected:,} of {found.processed:,} records were"
                f" not loaded.{most_frequent}",
                what_to_do="Run `engarde status`: it lists all reasons and what to do. When a missing tenant,"
                " campaign or asset is added, its records are loaded automatically.",
                job="performance_sync",
                dates=date_range(bad[0], bad[-1]),
                run_id=latest[bad[-1]].run_id,
            )


def held_facts(connection: psycopg.Connection) -> list[DateFacts]:
    """Return all held dates, the latest first."""
    calendar = current_calendar()
    return [each for each in read_date_facts(connection, []) if state_of(each, calendar) is DateState.HELD]


def dates_held(connection: psycopg.Connection) -> Iterator[Incident]:
    """Yield an incident for each table with held dates (rules 5 and 12)."""
    held = held_facts(connection)
    for table in METRIC_TABLES:
        of_table = [each for each in held if each.table is table]
        if of_table:
            days = sorted(each.day for each in of_table)
            yield Incident(
                key=f"held {table.target}",
                title=f"{counted(len(days), 'date')} of {table.target} {'is' if len(days) == 1 else 'are'} held",
                reason=f"The loads look wrong and were refused; the numbers before are kept. The latest:"
                f" {of_table[0].held}",
                what_to_do="Repair the load into BigQuery, and the dates are synced again. If the numbers are"
                f" right, run `engarde sync --start {days[0]} --end {days[-1]}` with --allow-growth or"
                " --allow-shrink. `engarde status` says for each date which of them.",
                job="performance_sync",
                dates=date_range(days[0], days[-1]),
                run_id=str(of_table[0].held_by),
                items=tuple(map(str, days)),
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
    return date_range(start, end) if start and end else ""


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON].rstrip()} ..."
