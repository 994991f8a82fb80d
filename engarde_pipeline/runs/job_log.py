"""The job log: Dagster runs with their retries, as sync jobs.

Jobs are read from the Dagster instance by indexed queries only (run id, job name, tags, status), so that reading
stays fast with a long history. The counts of a job are in the tags of its runs. The events of a run are read only
while it is running, after it was killed, or to find out why it failed.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
)

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.dagster_internals import (
    BACKFILL_ID_TAG,
    RETRY_NUMBER_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
)
from engarde_pipeline.runs.attempts import (
    RETRIED_WITHIN,
    attempts_of,
    counts_of_attempts,
    errors_of,
    is_no_fault,
    is_retry,
    status_of,
    utc,
    will_be_retried,
)
from engarde_pipeline.runs.run_config import DRY_RUN, SLICE_JOB
from engarde_pipeline.runs.sync_runs import (
    RANGE_JOBS,
    UNFINISHED,
    dates_of,
    is_dry_run,
    is_of_all_campaigns,
    is_sync,
    slice_config,
    synced_assets,
    tenant_of,
)
from engarde_pipeline.runs.tags import (
    ALL_TENANTS,
    JOB_TYPE,
    NO_DATES,
    TENANT,
    TRIGGER,
    USER,
    recorded_not_landing,
)

CANCELLED = "cancelled"
"""The mark of a cancelled job in its metadata."""

_SUCCEEDED_OR_FAILED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE)
_TRIGGERS = {SCHEDULE_NAME_TAG: "schedule", SENSOR_NAME_TAG: "sensor", BACKFILL_ID_TAG: "backfill"}
_PAGE = 50
_MAXIMUM_SEARCHED = 1000


@dataclass(frozen=True)
class SyncJob:
    """A sync job: the first run and its retries. Times are in UTC; dates are the requested partitions.

    `tenant_id` is None for a sync of all tenants. The counts are those of the latest attempt of each asset; while
    a job is running, those of the dates that have landed. `records_failed` counts the rejected records. A dry run
    has `dry_run` in its metadata, and its counts are those that a sync would have. A cancelled job is
    `failed`, and has `cancelled` in its metadata.
    """

    id: str
    job_type: str
    status: str
    start_date: date | None
    end_date: date | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    records_processed: int
    records_inserted: int
    records_updated: int
    records_unchanged: int
    records_deleted: int
    records_failed: int
    error_message: str | None
    error_details: str | None
    retry_count: int
    max_retries: int
    triggered_by: str
    triggered_by_user_id: str | None
    metadata: dict[str, Any]
    created_at: datetime
    tenant_id: str | None

    @property
    def is_dry_run(self) -> bool:
        """Whether the job only reports what a sync would do (rule 16)."""
        return DRY_RUN in self.metadata

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was cancelled; its status is `failed`."""
        return CANCELLED in self.metadata

    @property
    def kind(self) -> str:
        """What the job is, in messages."""
        return "dry run" if self.is_dry_run else "sync"

    @property
    def has_ended(self) -> bool:
        """Whether the job has completed or failed for good."""
        return self.status in ("completed", "failed")

    @property
    def run_ids(self) -> list[str]:
        """The run ids of the attempts, first attempt first."""
        return list(self.metadata["attempts"])


def list_jobs(
    instance: DagsterInstance, limit: int, tenant_id: str | None = None, before: str | None = None
) -> list[SyncJob]:
    """Return the newest jobs, newest first; with `before`, a job's id, the jobs before that one.

    With `tenant_id`, only jobs that sync this tenant: its slices, and syncs of all tenants.
    """
    runs = _newest_first(instance, limit, tenant_id, before)
    first_runs = (record for record in runs if not is_retry(record))
    return _jobs(instance, list(islice(first_runs, limit)))


def get_job(instance: DagsterInstance, run_id: str) -> SyncJob | None:
    """Return the job of which a run is an attempt, or None."""
    records = [
        record
        for record in instance.get_run_records(RunsFilter(run_ids=[run_id]), limit=1)
        if is_sync(record.dagster_run)
    ]
    return next(iter(_jobs(instance, records)), None)


def last_completed(
    instance: DagsterInstance, tenant_id: str | None = None, of_all_campaigns: bool = False
) -> SyncJob | None:
    """Return the most recently started job that succeeded, except dry runs.

    With `of_all_campaigns`, only a job that synced all campaigns of the tenant. Only recent runs are searched; the
    result is None if none of them matches.
    """
    runs = islice(_newest_first(instance, 1, tenant_id, None, [DagsterRunStatus.SUCCESS]), _MAXIMUM_SEARCHED)
    matching = (
        record
        for record in runs
        if not is_dry_run(record.dagster_run) and (not of_all_campaigns or is_of_all_campaigns(record.dagster_run))
    )
    return next(iter(_jobs(instance, list(islice(matching, 1)))), None)


def in_progress(instance: DagsterInstance, tenant_id: str | None = None) -> list[SyncJob]:
    """Return the jobs that are queued, running or about to be retried, newest first."""
    just_failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=datetime.now(UTC) - RETRIED_WITHIN)
    records = [
        *instance.get_run_records(RunsFilter(statuses=list(UNFINISHED))),
        *(record for record in instance.get_run_records(just_failed) if will_be_retried(instance, record)),
    ]
    jobs = _jobs(instance, [record for record in records if is_sync(record.dagster_run)])
    # A job appears once for each of its attempts.
    unfinished = {job.id: job for job in jobs if not job.has_ended}
    return [job for job in unfinished.values() if tenant_id is None or job.tenant_id in (None, tenant_id)]


def last_ended(instance: DagsterInstance, count: int) -> list[DagsterRun]:
    """Return the last attempts of the newest `count` jobs that succeeded or failed for good, newest first.

    Skipped are dry runs, jobs that were cancelled or have not ended, and failures that are no fault of the
    pipeline. The latter need one query each.
    """
    first_runs = (
        record
        for record in _newest_first(instance, count, None, None)
        if not is_retry(record) and not is_dry_run(record.dagster_run)
    )
    searched = islice(first_runs, _MAXIMUM_SEARCHED)
    found: list[DagsterRun] = []
    while len(found) < count and (page := list(islice(searched, count))):
        attempts = attempts_of(instance, page)
        last = [attempts[record.dagster_run.run_id][-1] for record in page]
        found += [
            record.dagster_run
            for record in last
            if record.dagster_run.status in _SUCCEEDED_OR_FAILED
            and status_of(instance, record) in ("completed", "failed")
            and not is_no_fault(instance, record.dagster_run)
        ]
    return found[:count]


def count_jobs(instance: DagsterInstance, tenant_id: str | None = None) -> int:
    """Return the number of jobs. The database counts them, so runs that only run checks are included."""
    retries = {RETRY_NUMBER_TAG: [str(number) for number in range(1, 20)]}

    def first_runs(job: str | None, tags: dict[str, str | Sequence[str]]) -> int:
        all_runs = instance.get_runs_count(RunsFilter(job_name=job, tags=tags))
        return all_runs - instance.get_runs_count(RunsFilter(job_name=job, tags={**tags, **retries}))

    return sum(first_runs(job, tags) - first_runs(job, {**tags, **NO_DATES}) for job, tags in _sources(tenant_id))


def _sources(tenant_id: str | None) -> Iterator[tuple[str | None, dict[str, str | Sequence[str]]]]:
    """Yield the Dagster jobs that sync a tenant, or any tenant, with the tags of their runs."""
    for job in RANGE_JOBS:
        yield job, {}
    if tenant_id:
        # Only slices have this tag. With their job name in the filter, SQLite would scan all runs of the job.
        yield None, {TENANT: [tenant_id, ALL_TENANTS]}
    else:
        yield SLICE_JOB, {}


def _newest_first(
    instance: DagsterInstance,
    expected: int,
    tenant_id: str | None,
    before: str | None,
    statuses: Sequence[DagsterRunStatus] = (),
) -> Iterator[RunRecord]:
    """Yield the runs that are syncs, newest first; `expected` is the probable number of runs to be read."""
    pages = [
        _paged(instance, RunsFilter(job_name=job, tags=tags, statuses=statuses), expected, before)
        for job, tags in _sources(tenant_id)
    ]
    for record in heapq.merge(*pages, key=lambda record: -record.storage_id):
        if is_sync(record.dagster_run):
            yield record


def _paged(instance: DagsterInstance, only: RunsFilter, expected: int, cursor: str | None) -> Iterator[RunRecord]:
    limit = expected
    while records := instance.get_run_records(only, limit=limit, cursor=cursor):
        yield from records
        cursor = records[-1].dagster_run.run_id
        limit = _PAGE  # more than `expected` runs are needed if some of them are not syncs


def _jobs(instance: DagsterInstance, records: Sequence[RunRecord]) -> list[SyncJob]:
    """Return the job of each record, in the same order."""
    attempts = attempts_of(instance, records)
    return [_job(instance, attempts[record.dagster_run.run_id]) for record in records]


def _job(instance: DagsterInstance, attempts: Sequence[RunRecord]) -> SyncJob:
    first, last = attempts[0].dagster_run, attempts[-1].dagster_run
    status = status_of(instance, attempts[-1])
    start_date, end_date = dates_of(first)
    started = _moment(attempts[0].start_time)
    completed = _moment(attempts[-1].end_time) if status in ("completed", "failed") else None
    counts = counts_of_attempts(instance, attempts)
    errors = errors_of(instance, last) if status in ("failed", "retrying") else []
    message = errors[0].summary if errors else None
    details = "\n".join(error.details for error in errors)
    return SyncJob(
        id=first.run_id,
        job_type=_job_type(first),
        status=status,
        start_date=start_date,
        end_date=end_date,
        started_at=started,
        completed_at=completed,
        duration_seconds=round((completed - started).total_seconds(), 3) if started and completed else None,
        records_processed=counts.processed,
        records_inserted=counts.inserted,
        records_updated=counts.updated,
        records_unchanged=counts.unchanged,
        records_deleted=counts.deleted,
        records_failed=counts.rejected,
        error_message=message,
        error_details=details if details and details != message else None,
        retry_count=len(attempts) - 1,
        max_retries=instance.run_retries_max_retries,
        triggered_by=_triggered_by(first),
        triggered_by_user_id=None if first.parent_run_id else first.tags.get(USER),
        metadata=_metadata(attempts),
        created_at=attempts[0].create_timestamp.replace(tzinfo=UTC),
        tenant_id=tenant_of(first),
    )


def _job_type(run: DagsterRun) -> str:
    if JOB_TYPE in run.tags:
        return run.tags[JOB_TYPE]
    if run.tags.keys() & {SCHEDULE_NAME_TAG, SENSOR_NAME_TAG}:
        return "incremental_sync"  # schedules and sensors request the dates that are due (rule 6)
    assets = synced_assets(run)
    if len(assets) > 1:
        return "full_sync"
    return CAMPAIGN_METRICS.source if AssetKey(CAMPAIGN_METRICS.target) in assets else ASSET_METRICS.source


def _triggered_by(run: DagsterRun) -> str:
    if run.parent_run_id:
        return "manual"  # a manual re-execution, which copies the tags of the earlier run
    for tag, trigger in _TRIGGERS.items():
        if tag in run.tags:
            return trigger
    return run.tags.get(TRIGGER, "manual")


def _metadata(attempts: Iterable[RunRecord]) -> dict[str, Any]:
    runs = [record.dagster_run for record in attempts]
    tags, config = runs[0].tags, slice_config(runs[0])
    known = {
        "attempts": [run.run_id for run in runs],
        "dagster_job": runs[0].job_name,
        "schedule": tags.get(SCHEDULE_NAME_TAG),
        "sensor": tags.get(SENSOR_NAME_TAG),
        "backfill": tags.get(BACKFILL_ID_TAG),
        "platforms": config.get("platforms"),
        "campaign_space_ids": config.get("campaigns"),
        DRY_RUN: is_dry_run(runs[0]),
        CANCELLED: runs[-1].status is DagsterRunStatus.CANCELED,
        "would_not_land": recorded_not_landing(runs[-1].tags),
    }
    return {name: value for name, value in known.items() if value}


def _moment(timestamp: float | None) -> datetime | None:
    return utc(timestamp) if timestamp else None
