"""When on-call is told: each function returns the incidents of one kind that there are now."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.core.counts import total
from engarde_pipeline.core.limits import REJECTED_SHARE_LIMIT
from engarde_pipeline.postgres.reads.usage import bytes_today
from engarde_pipeline.runs.history import counts_of, latest_materializations
from engarde_pipeline.runs.job_log import last_ended
from engarde_pipeline.runs.planning import TABLES, window
from engarde_pipeline.runs.sync_runs import dates_of, is_sync

FAILURES_IN_A_ROW = 3
LONGEST_SYNC = timedelta(minutes=10)
BUDGET_SHARE = 0.8


def failed_in_a_row(instance: DagsterInstance) -> Iterator[Incident]:
    """The last three syncs failed, each after its retries; one that was cancelled does not count."""
    last = last_ended(instance, FAILURES_IN_A_ROW)
    if len(last) == FAILURES_IN_A_ROW and all(run.status is DagsterRunStatus.FAILURE for run in last):
        yield Incident(
            key="failed in a row",
            title=f"The last {FAILURES_IN_A_ROW} syncs failed",
            reason="Postgres keeps the last good numbers of the dates that did not land.",
            what_to_do="Open the run: its failed step says what is wrong and the cure.",
            job=last[0].job_name,
            dates=_dates(last[0]),
            run_id=last[0].run_id,
        )


def running_long(instance: DagsterInstance, now: datetime) -> Iterator[Incident]:
    """A sync has been running for more than ten minutes."""
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        run = record.dagster_run
        started = record.start_time
        if not is_sync(run) or started is None or now.timestamp() - started < LONGEST_SYNC.total_seconds():
            continue
        yield Incident(
            key=f"long {run.run_id}",
            title="A sync has been running for more than 10 minutes",
            reason="A large backfill takes so long; a sync of a few dates waits for a lock, Postgres or BigQuery.",
            what_to_do="See in the run's log where it is. If it does not move, cancel it: landed dates stay.",
            job=run.job_name,
            dates=_dates(run),
            run_id=run.run_id,
        )


def many_rejected(instance: DagsterInstance) -> Iterator[Incident]:
    """More than 5 % of a date's records were rejected when it was last synced."""
    for table in TABLES:
        latest = latest_materializations(instance, AssetKey(table.target), window())
        counts = {day: counts_of(record) for day, record in sorted(latest.items())}
        bad = [day for day, found in counts.items() if found.rejected > REJECTED_SHARE_LIMIT * found.processed]
        if bad:
            found = total(counts[day] for day in bad)
            yield Incident(
                key=f"rejected {table.target}",
                title=f"More than 5 % of {table.target}'s records are rejected",
                reason=f"{found.rejected:,} of {found.processed:,} records could not be loaded on {len(bad)}"
                " dates.",
                what_to_do="`engarde status` lists the reasons and cures; what is mapped then loads by itself.",
                job="performance_sync",
                dates=f"{bad[0]} .. {bad[-1]}",
                run_id=latest[bad[-1]].run_id,
            )


def budget_nearly_used(connection: psycopg.Connection, budget: int) -> Iterator[Incident]:
    """BigQuery has read 80 % of the day's bytes."""
    used = bytes_today(connection)
    if used >= BUDGET_SHARE * budget:
        yield Incident(
            key="budget",
            title=f"BigQuery has read {100 * used / budget:.0f} % of today's budget",
            reason=f"{used:,} of {budget:,} bytes. At 100 % sensors and schedules stop until tomorrow (UTC).",
            what_to_do="Look for repeated backfills under Runs; if so much is meant, raise ENGARDE_DAILY_BYTES.",
        )


def _dates(run: DagsterRun) -> str:
    start, end = dates_of(run)
    return f"{start} .. {end}" if start and end else ""
