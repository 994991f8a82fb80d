"""Submitting a sync: a run is recorded and queued, and Dagster's daemon takes it from there."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from dagster import DagsterInstance, RunsFilter

from engarde_pipeline.api.errors import Problem, invalid
from engarde_pipeline.core.dates import PROVISIONAL_DAYS, InvalidDates, dates_between, latest_date, today
from engarde_pipeline.dagster_internals import PRIORITY_TAG, loaded_code_location, submit_run
from engarde_pipeline.defs.sensors.changed_partitions import changed_partitions
from engarde_pipeline.runs.job_log import SyncJob, get_job, in_progress, last_completed
from engarde_pipeline.runs.run_config import RANGE_JOB, SLICE_JOB, RunSpec, range_run, slice_run
from engarde_pipeline.runs.tags import JOB_TYPE, TRIGGER, USER

MOST_UNFINISHED = 10
"""Syncs of a tenant that the API has started and that have not ended."""

_IDEMPOTENCY_KEY = "engarde/idempotency_key"
_REQUEST = "engarde/request"
_DAEMON = "QUEUED_RUN_COORDINATOR"
_HEARTBEAT_SECONDS = 180
"""The daemon's heart beats every 30 seconds."""


@dataclass(frozen=True)
class Asked:
    """A sync that was asked for. `tenant_id` is None for all tenants; dates that are None are chosen here."""

    tenant_id: UUID | None
    start_date: date | None
    end_date: date | None
    campaign_space_ids: tuple[UUID, ...]
    platform: str | None
    allow_shrink: bool
    caller_tenant_id: UUID
    user_id: str | None
    idempotency_key: str | None

    @property
    def digest(self) -> str:
        """What was asked for, to tell whether a repeated request is the same."""
        return _digest(
            self.tenant_id,
            self.start_date,
            self.end_date,
            self.campaign_space_ids,
            self.platform,
            self.allow_shrink,
        )


class Submitter:
    """Submits syncs to an instance. `Submissions` sees to it that only one at a time calls `submit`."""

    def __init__(self) -> None:
        from engarde_pipeline.definitions import defs

        self._jobs = {name: defs.resolve_job_def(name) for name in (RANGE_JOB, SLICE_JOB)}

    def submit(self, instance: DagsterInstance, asked: Asked) -> SyncJob:
        """Queue a run for what was asked, or return the one that an equal request with this key has started.

        Raises:
            Problem: 409, a sync over these dates is running; 422, the dates cannot be synced, or the key was used
                for something else; 429, too many of the tenant's syncs have not ended; 503, nobody would start the
                run.
        """
        if earlier := _started_before(instance, asked):
            return earlier
        start, end = _dates(instance, asked)
        unfinished = in_progress(instance, str(asked.tenant_id) if asked.tenant_id else None)
        _check_nothing_runs(unfinished, start, end)
        ahead = _check_how_many(unfinished, asked)
        _check_daemon(instance)
        wanted = _run(asked, start, end)
        # A tenant's second sync waits for the first of every other tenant.
        tags = {**wanted.tags, **_tags(asked), PRIORITY_TAG: str(-ahead)}
        location = loaded_code_location(instance, changed_partitions.name)
        run_id = submit_run(instance, self._jobs[wanted.job], wanted.run_config, tags, location)
        return _job(instance, run_id)


def _run(asked: Asked, start: date, end: date) -> RunSpec:
    if asked.tenant_id is None:
        return range_run(start, end, allow_shrink=asked.allow_shrink)
    return slice_run(
        start,
        end,
        tenant=str(asked.tenant_id),
        platforms=[asked.platform] if asked.platform else [],
        campaigns=[str(campaign) for campaign in asked.campaign_space_ids],
        allow_shrink=asked.allow_shrink,
    )


def _tags(asked: Asked) -> dict[str, str]:
    return {
        TRIGGER: "api",
        **({USER: asked.user_id} if asked.user_id else {}),
        **({JOB_TYPE: "incremental_sync"} if asked.start_date is None else {}),
        **({_IDEMPOTENCY_KEY: _key(asked), _REQUEST: asked.digest} if asked.idempotency_key else {}),
    }


def _started_before(instance: DagsterInstance, asked: Asked) -> SyncJob | None:
    if asked.idempotency_key is None:
        return None
    runs = instance.get_runs(RunsFilter(tags={_IDEMPOTENCY_KEY: _key(asked)}))
    if not runs:
        return None
    first = runs[-1]  # its retries bear the key, too
    if first.tags[_REQUEST] != asked.digest:
        raise invalid("Idempotency-Key", "was used for another request; use a new key")
    return _job(instance, first.run_id)


def _dates(instance: DagsterInstance, asked: Asked) -> tuple[date, date]:
    end = asked.end_date or latest_date()
    start = asked.start_date
    if start is None:
        oldest = date.fromordinal(max(1, min(end, today()).toordinal() - PROVISIONAL_DAYS + 1))
        tenant_id = str(asked.tenant_id) if asked.tenant_id else None
        last = last_completed(instance, tenant_id, of_all_campaigns=True)
        if last and last.end_date:
            # Dates that were not over when they were synced are synced again.
            start = min(end, max(oldest, min(last.end_date, today(last.started_at))))
        else:
            start = oldest
    try:
        dates_between(start, end)
    except InvalidDates as error:
        is_about_the_end = asked.end_date is not None and (end < start or end > latest_date())
        field = "end_date" if is_about_the_end else "start_date"
        raise invalid(field, str(error)) from None
    return start, end


def _check_nothing_runs(unfinished: Sequence[SyncJob], start: date, end: date) -> None:
    for job in unfinished:
        # A job without dates is about to fail for that.
        if job.start_date and job.end_date and job.start_date <= end and start <= job.end_date:
            raise Problem(
                409,
                f"A sync of {job.start_date} to {job.end_date} is {job.status}; wait for it to end.",
                job_id=job.id,
            )


def _check_how_many(unfinished: Sequence[SyncJob], asked: Asked) -> int:
    """Return how many of the unfinished syncs the API has started for this tenant, or for all of them."""
    tenant_id = str(asked.tenant_id) if asked.tenant_id else None
    ahead = sum(job.triggered_by == "api" and job.tenant_id == tenant_id for job in unfinished)
    if ahead >= MOST_UNFINISHED:
        raise Problem(
            429,
            f"{ahead} syncs that were started here have not ended yet, which is as many as may wait; wait for one"
            " of them to end, or ask for more dates at once.",
            {"Retry-After": "30"},
        )
    return ahead


def _check_daemon(instance: DagsterInstance) -> None:
    heartbeat = instance.get_daemon_heartbeats().get(_DAEMON)
    if heartbeat is None or heartbeat.timestamp < time.time() - _HEARTBEAT_SECONDS:
        raise Problem(
            503,
            "Dagster's daemon is not running, so the sync would not start; `engarde dev` or `dagster-daemon run`"
            " starts it.",
            {"Retry-After": "30"},
        )


def _job(instance: DagsterInstance, run_id: str) -> SyncJob:
    job = get_job(instance, run_id)
    assert job is not None  # noqa: S101  it was found or made above
    return job


def _key(asked: Asked) -> str:
    return _digest(asked.caller_tenant_id, asked.idempotency_key)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
