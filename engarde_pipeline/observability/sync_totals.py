"""What became of the sync runs of the current day (UTC), as counters that a restart does not change.

The runs of the day are read once, and then only those that have ended since the last read. So an exporter that
restarts has the same totals, and what happened while it was down is counted. Each day, totals start again from 0,
which Prometheus handles as it handles the restart of a process; without that, the first read would take longer
with every run that has ever been.

Between two days, all totals are 0 for `_ZERO`. Prometheus would otherwise miss a start from 0 if the new total
were as large as the last one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter
from prometheus_client.core import Metric

from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.dagster_internals import AUTO_RETRY_RUN_ID_TAG
from engarde_pipeline.observability.catalogue import METRICS
from engarde_pipeline.runs.attempts import is_no_fault, is_retry, will_be_retried
from engarde_pipeline.runs.run_config import SLICE_JOB
from engarde_pipeline.runs.sync_runs import RANGE_JOBS, is_dry_run, is_sync
from engarde_pipeline.runs.tags import recorded_counts

SYNC_JOBS = (*RANGE_JOBS, SLICE_JOB)

_OUTCOMES = ("inserted", "updated", "unchanged", "rejected", "deleted")
_STATUSES = ("success", "failure", "canceled", "retried", "refused")
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_PAGE = 500

_OVERLAP = timedelta(minutes=2)
"""How far each read goes back before the last one: clocks differ, and a change is committed after its time."""

_GRACE = timedelta(minutes=3)
"""How long after midnight the totals are still those of the day before, so that its last runs are scraped."""

_ZERO = timedelta(minutes=3)
"""How long the totals are 0 after that: at least one scrape, also if one fails."""


class SyncTotals:
    """The totals of the sync runs that have ended in the current day; each run is counted once."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._day = datetime.min.replace(tzinfo=UTC)

    def read(self, now: datetime | None = None) -> list[Metric]:
        """Count the runs that have ended since the last read, and return the totals."""
        now = now or datetime.now(UTC)
        day = (now - _GRACE).replace(hour=0, minute=0, second=0, microsecond=0)
        if day != self._day:
            self._start(day)
        if now - day >= _GRACE + _ZERO:
            first, end = day.timestamp(), (day + timedelta(days=1)).timestamp()
            for record in self._ended():
                is_counted = record.storage_id in self._counted
                if not is_counted and record.end_time and first <= record.end_time < end:
                    self._count(record)
            self._read_until = now - _OVERLAP
        return [
            METRICS.sync_runs.family({**self._runs}),
            METRICS.sync_retries.family(self._retries),
            METRICS.sync_duration.family(self._durations, self._seconds),
            METRICS.records.family({**self._records}),
        ]

    def _start(self, day: datetime) -> None:
        self._day = day
        self._read_until = day - _OVERLAP
        self._counted: set[int] = set()
        self._undecided: set[str] = set()
        # The series exist from the beginning: Prometheus cannot tell how much a new one has increased.
        self._runs: dict[tuple[str, ...], float] = {
            (job, status): 0.0 for job in SYNC_JOBS for status in _STATUSES
        }
        self._records: dict[tuple[str, ...], float] = {
            (table.target, outcome): 0.0 for table in METRIC_TABLES for outcome in _OUTCOMES
        }
        self._durations = [0] * (len(METRICS.sync_duration.bounds) + 1)
        self._seconds = 0.0
        self._retries = 0

    def _ended(self) -> Iterator[RunRecord]:
        if self._undecided:
            yield from self._instance.get_run_records(RunsFilter(run_ids=sorted(self._undecided)))
        only = RunsFilter(statuses=list(_ENDED), updated_after=self._read_until)
        cursor = None
        while records := self._instance.get_run_records(only, limit=_PAGE, cursor=cursor):
            yield from records
            cursor = records[-1].dagster_run.run_id

    def _count(self, record: RunRecord) -> None:
        run = record.dagster_run
        if is_sync(run) and not is_dry_run(run):
            if will_be_retried(self._instance, record):
                self._undecided.add(run.run_id)
                return
            self._undecided.discard(run.run_id)
            self._runs[run.job_name, self._status(record)] += 1
            self._retries += is_retry(record)
            for asset, counts in recorded_counts(run.run_id, run.tags).items():
                for outcome in _OUTCOMES:
                    self._records[asset, outcome] += getattr(counts, outcome)
            if run.status is DagsterRunStatus.SUCCESS and record.start_time and record.end_time:
                self._add_duration(record.end_time - record.start_time)
        self._counted.add(record.storage_id)

    def _status(self, record: RunRecord) -> str:
        run = record.dagster_run
        if run.status is not DagsterRunStatus.FAILURE:
            return str(run.status.value).lower()
        if AUTO_RETRY_RUN_ID_TAG in run.tags:
            return "retried"
        return "refused" if is_no_fault(self._instance, run) else "failure"

    def _add_duration(self, seconds: float) -> None:
        bounds = METRICS.sync_duration.bounds
        bucket = next((number for number, bound in enumerate(bounds) if seconds <= bound), len(bounds))
        self._durations[bucket] += 1
        self._seconds += seconds
