"""The parts of what the exporter reads, such as Dagster's state, the sensor `alerts` and Postgres."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import requests
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from prometheus_client.core import Metric

from engarde_pipeline.alerts.conditions import FAILURES_IN_A_ROW
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.dagster_internals import runs_by_job_and_status
from engarde_pipeline.defs.sensors.alerts import AlertState, stored_states
from engarde_pipeline.observability.catalogue import METRICS
from engarde_pipeline.observability.collector import DEADLINE_SECONDS, Part
from engarde_pipeline.observability.sync_totals import SYNC_JOBS, SyncTotals
from engarde_pipeline.observability.workers import Workers
from engarde_pipeline.postgres.connection import open_connection
from engarde_pipeline.postgres.reads import monitoring
from engarde_pipeline.postgres.reads.usage import bytes_today
from engarde_pipeline.runs.job_log import last_ended
from engarde_pipeline.runs.planning import window
from engarde_pipeline.runs.sync_runs import is_dry_run, is_sync
from engarde_pipeline.settings import ExporterSettings

OTHER_JOBS = "other"
"""The label of all jobs that do not sync."""

INCIDENTS = {
    "unreadable BigQuery": "bigquery_unreadable",
    "unreadable Postgres": "postgres_unreadable",
    "unreadable plan": "plan_unreadable",
    "failed in a row": "failed_in_a_row",
    "long": "running_long",
    "freshness": "freshness",
    "budget": "budget",
    "held": "held",
    "rejected": "rejected",
}
"""The kind of incident by what its key begins with."""

_SEARCHED = (5, 50)
"""Of the last successful runs of a job, how many are searched for one that is no dry run: first few, then more."""


def parts(settings: ExporterSettings, instance: DagsterInstance) -> dict[str, Part]:
    """Return the parts by name."""
    found: dict[str, Part] = {
        "dagster": partial(read_dagster, instance),
        "runs": SyncTotals(instance).read,
        "alerts": partial(read_alerts, instance),
        "postgres": partial(read_postgres, settings),
        "workers": Workers(instance).read,
    }
    if settings.engarde_webserver_url:
        found["webserver"] = partial(read_webserver, settings.engarde_webserver_url)
    return found


def read_dagster(instance: DagsterInstance) -> Iterator[Metric]:
    """Yield heartbeats, runs by status, the queue, and how the last syncs ended; each query uses an index."""
    now = datetime.now(UTC)
    beats = instance.get_daemon_heartbeats()
    yield METRICS.heartbeat.family({(name,): beat.timestamp for name, beat in beats.items()})
    yield METRICS.runs.family(_runs_by_status(instance))
    queued = RunsFilter(statuses=[DagsterRunStatus.QUEUED])
    oldest = instance.get_run_records(queued, limit=1, ascending=True)
    yield METRICS.queue_oldest.family(
        max((now - record.create_timestamp.astimezone(UTC)).total_seconds() for record in oldest) if oldest else 0
    )
    run_queue = instance.get_concurrency_config().run_queue_config
    yield METRICS.max_concurrent_runs.family(run_queue.max_concurrent_runs if run_queue else None)
    started = instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    running = [
        now.timestamp() - record.start_time
        for record in started
        if record.start_time and is_sync(record.dagster_run)
    ]
    yield METRICS.running_longest.family(max(running, default=0))
    yield METRICS.last_success.family(dict(_last_successes(instance)))
    yield METRICS.failures_in_a_row.family(_failures_in_a_row(instance))


def _runs_by_status(instance: DagsterInstance) -> dict[tuple[str, ...], float]:
    # A series that is 0 exists, too: Prometheus cannot tell how much a new one has changed.
    counts: dict[tuple[str, ...], float] = {
        (job, status.value.lower()): 0 for job in (*SYNC_JOBS, OTHER_JOBS) for status in DagsterRunStatus
    }
    for (job, status), number in runs_by_job_and_status(instance).items():
        counts[job if job in SYNC_JOBS else OTHER_JOBS, status.value.lower()] += number
    return counts


def _last_successes(instance: DagsterInstance) -> Iterator[tuple[tuple[str], float]]:
    for job in SYNC_JOBS:
        newest = RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS])
        for number in _SEARCHED:
            ends = (
                record.end_time
                for record in instance.get_run_records(newest, limit=number)
                if record.end_time and is_sync(record.dagster_run) and not is_dry_run(record.dagster_run)
            )
            if last := max(ends, default=None):
                yield (job,), last
                break


def _failures_in_a_row(instance: DagsterInstance) -> int:
    last = last_ended(instance, FAILURES_IN_A_ROW)
    succeeded = (n for n, run in enumerate(last) if run.status is not DagsterRunStatus.FAILURE)
    return next(succeeded, len(last))


def read_alerts(instance: DagsterInstance) -> Iterator[Metric]:
    """Yield what the sensor `alerts` found at its last tick: due dates, incidents, outages, messages."""
    state = max(stored_states(instance), key=lambda state: state.evaluated_at, default=AlertState())
    due = Counter(what.split()[0] for what in state.due_since)
    yield METRICS.due_dates.family({(table.target,): due[table.target] for table in METRIC_TABLES})
    yield METRICS.due_since.family(min(state.due_since.values(), default=None))
    yield METRICS.alerts_evaluated.family(state.evaluated_at)
    yield METRICS.alerts_channels.family(len(state.channels))
    yield METRICS.alerts_waiting.family(len(state.waiting))
    kinds = Counter(_kind(key) for key in state.incidents)
    yield METRICS.incidents.family({(kind,): kinds[kind] for kind in INCIDENTS.values()})
    yield METRICS.outage.family({(server.lower(),): outage.since for server, outage in state.outages.items()})


def _kind(key: str) -> str:
    return next(kind for start, kind in INCIDENTS.items() if re.match(rf"{start}\b", key))


def read_postgres(settings: ExporterSettings) -> Iterator[Metric]:
    """Yield the states of dates, rejected records, bytes read and sizes, in one read-only transaction."""
    yield METRICS.bytes_budget.family(settings.engarde_daily_bytes)
    with open_connection(settings.database_url.get_secret_value()) as connection, connection.transaction():
        monitoring.begin(connection, DEADLINE_SECONDS)
        yield METRICS.bytes_today.family(bytes_today(connection))
        yield METRICS.held_dates.family(monitoring.number_of_held_dates(connection))
        dates = monitoring.dates_of_tables(connection, window())
        yield METRICS.missing_dates.family({(each.table_name,): each.missing for each in dates})
        yield METRICS.compared.family(
            {(each.table_name,): each.compared_at.timestamp() for each in dates if each.compared_at}
        )
        yield METRICS.mostly_rejected.family({(each.table_name,): each.much_rejected for each in dates})
        rejected = monitoring.rejected_by_reason(connection)
        yield METRICS.rejected_open.family({(reason,): records for reason, records in rejected.items()})
        sizes = monitoring.table_sizes(connection)
        yield METRICS.table_bytes.family({(each.table_name,): each.bytes for each in sizes})
        yield METRICS.table_rows.family({(each.table_name,): each.rows for each in sizes})


def read_webserver(url: str) -> Iterator[Metric]:
    """Yield whether Dagster's webserver responds."""
    try:
        is_up = requests.get(f"{url}/server_info", timeout=DEADLINE_SECONDS).ok
    except requests.RequestException:
        is_up = False
    yield METRICS.webserver_up.family(is_up)
