"""Submission of a sync: Dagster's webserver creates and queues a run, and Dagster's daemon launches it."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from dagster import DagsterInstance, RunsFilter

from engarde_pipeline.api.errors import Problem, invalid
from engarde_pipeline.core.dates import InvalidDates, dates_between, latest_date, provisional_days, today
from engarde_pipeline.dagster_internals import HIDDEN_TAG_PREFIX, PRIORITY_TAG
from engarde_pipeline.runs.job_log import SyncJob, get_job, in_progress, last_completed
from engarde_pipeline.runs.run_config import DRY_RUN, RunSpec, SyncOptions, range_run, slice_run
from engarde_pipeline.runs.tags import JOB_TYPE, TRIGGER, USER
from engarde_pipeline.runs.telemetry import origin_tags
from engarde_pipeline.runs.webserver import RunNotSubmitted, Webserver

logger = logging.getLogger(__name__)

MAX_UNFINISHED = 10
"""Unfinished syncs of a tenant that were submitted through the API."""

_IDEMPOTENCY_KEY = f"{HIDDEN_TAG_PREFIX}engarde_idempotency_key"
_REQUEST = f"{HIDDEN_TAG_PREFIX}engarde_request"
"""Tags with digests, which the UI does not show."""

_BEFORE = ("engarde/idempotency_key", "engarde/request")
"""The names of these tags on runs of version 0.1.0."""

_DAEMON = "QUEUED_RUN_COORDINATOR"
_HEARTBEAT_SECONDS = 180
"""The daemon sends a heartbeat every 30 seconds."""


@dataclass(frozen=True)
class Submission:
    """A sync to submit. `tenant_id` is None for all tenants; `Submitter` chooses the dates that are None."""

    tenant_id: UUID | None
    start_date: date | None
    end_date: date | None
    campaign_space_ids: tuple[UUID, ...]
    platform: str | None
    options: SyncOptions
    caller_tenant_id: UUID
    user_id: str | None
    idempotency_key: str | None = None
    request_id: str | None = None

    @property
    def digest(self) -> str:
        """A digest of the request, to compare requests that have the same idempotency key."""
        return _digest(
            self.tenant_id,
            self.start_date,
            self.end_date,
            self.campaign_space_ids,
            self.platform,
            self.options.allow_shrink,
            self.options.allow_growth,
            *([DRY_RUN] if self.options.dry_run else []),
        )


class Submitter:
    """Submits syncs to Dagster. `SubmissionQueue` calls `submit` for one submission at a time."""

    def __init__(self, webserver: Webserver) -> None:
        self._webserver = webserver

    def submit(self, instance: DagsterInstance, submission: Submission) -> SyncJob:
        """Queue a run, or return the job that an equal request with the same idempotency key has started.

        Raises:
            Problem: 409, a sync of these dates is unfinished; 422, the dates cannot be synced, or the key was used
                for another request; 429, too many syncs of the tenant are unfinished; 503, Dagster's daemon is not
                running, or its webserver did not queue the run.
        """
        if earlier := _earlier_job(instance, submission):
            return earlier
        start, end = _dates(instance, submission)
        unfinished = in_progress(instance, str(submission.tenant_id) if submission.tenant_id else None)
        _check_no_overlap(unfinished, start, end, submission.options.dry_run)
        ahead = _check_limit(unfinished, submission)
        _check_daemon(instance)
        spec = _run_spec(submission, start, end)
        # A tenant's second sync has a lower priority than the first sync of every other tenant.
        tags = {**_tags(submission), PRIORITY_TAG: str(-ahead)}
        try:
            run_id = self._webserver.submit(spec, tags)
        except RunNotSubmitted as error:
            logger.error("The sync of %s to %s was not started: %s", start, end, error)  # noqa: TRY400
            raise Problem(
                503,
                "The sync was not started, because Dagster's webserver is not available or refused it; the log of"
                " the API has the reason. Try again in a few seconds.",
                {"Retry-After": "30"},
            ) from None
        return _job(instance, run_id)


def _run_spec(submission: Submission, start: date, end: date) -> RunSpec:
    if submission.tenant_id is None:
        return range_run(start, end, submission.options)
    return slice_run(
        start,
        end,
        tenant=str(submission.tenant_id),
        platforms=[submission.platform] if submission.platform else [],
        campaigns=[str(campaign) for campaign in submission.campaign_space_ids],
        options=submission.options,
    )


def _tags(submission: Submission) -> dict[str, str]:
    return {
        TRIGGER: "api",
        **origin_tags(submission.request_id),
        **({USER: submission.user_id} if submission.user_id else {}),
        **({JOB_TYPE: "incremental_sync"} if submission.start_date is None else {}),
        **(
            {_IDEMPOTENCY_KEY: _key(submission), _REQUEST: submission.digest} if submission.idempotency_key else {}
        ),
    }


def _earlier_job(instance: DagsterInstance, submission: Submission) -> SyncJob | None:
    if submission.idempotency_key is None:
        return None
    for key, request in ((_IDEMPOTENCY_KEY, _REQUEST), _BEFORE):
        runs = instance.get_runs(RunsFilter(tags={key: _key(submission)}))
        if not runs:
            continue
        first = runs[-1]  # retries have the same tags
        if first.tags[request] != submission.digest:
            raise invalid("Idempotency-Key", "was already used for a different request; use a new key")
        return _job(instance, first.run_id)
    return None


def _dates(instance: DagsterInstance, submission: Submission) -> tuple[date, date]:
    end = submission.end_date or latest_date()
    start = submission.start_date
    if start is None:
        oldest = date.fromordinal(max(1, min(end, today()).toordinal() - provisional_days() + 1))
        tenant_id = str(submission.tenant_id) if submission.tenant_id else None
        last = last_completed(instance, tenant_id, of_all_campaigns=True)
        if last and last.end_date:
            # Dates that had not ended when they were synced are synced again.
            start = min(end, max(oldest, min(last.end_date, today(last.started_at))))
        else:
            start = oldest
    try:
        dates_between(start, end)
    except InvalidDates as error:
        is_end_invalid = submission.end_date is not None and (end < start or end > latest_date())
        field = "end_date" if is_end_invalid else "start_date"
        raise invalid(field, str(error)) from None
    return start, end


def _check_no_overlap(unfinished: Sequence[SyncJob], start: date, end: date, dry_run: bool) -> None:
    for job in unfinished:
        if job.is_dry_run and not dry_run:
            continue  # the sync waits for it in Postgres (rule 7)
        # A job without dates is invalid and will fail.
        if job.start_date and job.end_date and job.start_date <= end and start <= job.end_date:
            raise Problem(
                409,
                f"A {job.kind} of {job.start_date} to {job.end_date} is {job.status}; wait until it has ended.",
                job_id=job.id,
            )


def _check_limit(unfinished: Sequence[SyncJob], submission: Submission) -> int:
    """Return the number of unfinished syncs that the API has started for this tenant (or for all tenants)."""
    tenant_id = str(submission.tenant_id) if submission.tenant_id else None
    ahead = sum(job.triggered_by == "api" and job.tenant_id == tenant_id for job in unfinished)
    if ahead >= MAX_UNFINISHED:
        raise Problem(
            429,
            f"{ahead} syncs that were started through this API are unfinished, which is the limit. Wait until one"
            " has ended, or sync more dates with one request.",
            {"Retry-After": "30"},
        )
    return ahead


def _check_daemon(instance: DagsterInstance) -> None:
    heartbeat = instance.get_daemon_heartbeats().get(_DAEMON)
    if heartbeat is None or heartbeat.timestamp < time.time() - _HEARTBEAT_SECONDS:
        raise Problem(
            503,
            "Dagster's daemon is not running, so the sync would not start. Start the daemon with `engarde dev` or"
            " `dagster-daemon run`.",
            {"Retry-After": "30"},
        )


def _job(instance: DagsterInstance, run_id: str) -> SyncJob:
    job = get_job(instance, run_id)
    assert job is not None  # noqa: S101  the run was found or created above
    return job


def _key(submission: Submission) -> str:
    return _digest(submission.caller_tenant_id, submission.idempotency_key)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
