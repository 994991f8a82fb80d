"""POST /sync, GET /sync-status, /sync-jobs/{job_id} and /sync-jobs/{job_id}/events."""

from collections.abc import AsyncIterable
from dataclasses import replace
from typing import Annotated

from dagster import DagsterInstance
from fastapi import APIRouter, Body, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.dependencies import (
    DagsterDep,
    DatabaseDep,
    EventBrokerDep,
    RequestIdDep,
    SubmissionQueueDep,
    check_tenant,
)
from engarde_pipeline.api.errors import Problem, responses
from engarde_pipeline.api.schemas import (
    Count,
    SyncJobAnswer,
    SyncRequest,
    SyncStarted,
    SyncStatus,
    job_body,
)
from engarde_pipeline.api.sync_events import LandedDate
from engarde_pipeline.api.sync_requests import checked_submission, list_visible_jobs, visible_job
from engarde_pipeline.api.tokens import CurrentCaller
from engarde_pipeline.runs.job_log import SyncJob, count_jobs, in_progress, last_completed

router = APIRouter(tags=["sync"], responses=responses(401, 403, 422, 429, 503), route_class=AuthenticatedRoute)


@router.post("/sync", status_code=202, responses=responses(404, 409))
async def start_sync(
    caller: CurrentCaller,
    database: DatabaseDep,
    queue: SubmissionQueueDep,
    request_id: RequestIdDep,
    body: Annotated[SyncRequest | None, Body()] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="If a request with this key has started a sync, its job is returned.",
        ),
    ] = None,
) -> SyncStarted:
    """Queue a sync of the tenant's data for some dates, or its dry run. Returns immediately; Dagster runs it."""
    submission = await checked_submission(body or SyncRequest(), caller, database)
    job = await queue.submit(replace(submission, idempotency_key=idempotency_key, request_id=request_id))
    return SyncStarted(
        message=f"The {job.kind} of {job.start_date} to {job.end_date} is {job.status}.",
        sync_job=job_body(job, caller.may_sync_all),
    )


_requires_tenant = [Depends(check_tenant)]


@router.get("/sync-status", dependencies=_requires_tenant)
async def sync_status(
    caller: CurrentCaller,
    dagster: DagsterDep,
    limit: Annotated[Count, Query(ge=1, le=50)] = 10,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the previous page.")] = None,
) -> SyncStatus:
    """The status of the tenant's syncs, including syncs of all tenants."""
    tenant_id = str(caller.tenant_id)

    def read_status(instance: DagsterInstance) -> SyncStatus:
        jobs, next_cursor = list_visible_jobs(instance, limit, caller.tenant_id, cursor)
        last = last_completed(instance, tenant_id)
        return SyncStatus(
            last_sync=job_body(last, caller.may_sync_all) if last else None,
            is_syncing=any(not job.is_dry_run for job in in_progress(instance, tenant_id)),
            recent_jobs=[job_body(job, caller.may_sync_all) for job in jobs],
            total_jobs=count_jobs(instance, tenant_id),
            next_cursor=next_cursor,
        )

    return await dagster.call(read_status)


async def _visible_job(job_id: str, caller: CurrentCaller, dagster: DagsterDep) -> SyncJob:
    """Return a job of the caller's tenant or of all tenants.

    Raises:
        Problem: 404, the job does not exist, or belongs to another tenant.
    """
    job = await dagster.call(lambda instance: visible_job(instance, job_id, caller.tenant_id))
    if job is None:
        raise Problem(404, "This sync job does not exist.")
    return job


VisibleJob = Annotated[SyncJob, Depends(_visible_job)]


@router.get("/sync-jobs/{job_id}", responses=responses(404), dependencies=_requires_tenant)
async def sync_job(job: VisibleJob, caller: CurrentCaller) -> SyncJobAnswer:
    """The status of one sync job."""
    return SyncJobAnswer(sync_job=job_body(job, caller.may_sync_all))


@router.get(
    "/sync-jobs/{job_id}/events",
    responses=responses(404),
    response_class=EventSourceResponse,
    dependencies=_requires_tenant,
)
async def events(
    job: VisibleJob,
    caller: CurrentCaller,
    broker: EventBrokerDep,
    last_event_id: Annotated[
        str | None,
        Header(description="The id of the last event that was received; the stream continues after it."),
    ] = None,
) -> AsyncIterable[ServerSentEvent]:
    """A sync job's progress as server-sent events: `progress` when a date lands, finally `end` with the job."""
    may_see_counts = job.tenant_id is not None or caller.may_sync_all
    async with broker.subscribe(job.id) as stream:
        async for event in stream.after(last_event_id):
            if isinstance(event, LandedDate):
                yield ServerSentEvent(event="progress", id=event.id, data=event.shown(may_see_counts))
            else:
                ended = job_body(event, caller.may_sync_all).model_dump(mode="json")
                yield ServerSentEvent(event="end", id="end", data={"sync_job": ended})
