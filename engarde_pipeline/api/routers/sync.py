"""POST /sync, GET /sync-status, /sync-jobs/{job_id} and /sync-jobs/{job_id}/events."""

from collections.abc import AsyncIterable
from typing import Annotated

from dagster import DagsterInstance
from fastapi import APIRouter, Body, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.database import Database
from engarde_pipeline.api.dependencies import (
    DagsterDep,
    DatabaseDep,
    EventBrokerDep,
    RequestIdDep,
    SubmissionQueueDep,
)
from engarde_pipeline.api.errors import Problem, invalid, responses
from engarde_pipeline.api.references import References, check_and_execute, check_tenant
from engarde_pipeline.api.schemas import (
    Count,
    SyncJobAnswer,
    SyncRequest,
    SyncStarted,
    SyncStatus,
    job_body,
)
from engarde_pipeline.api.submit import Submission
from engarde_pipeline.api.sync_events import LandedDate
from engarde_pipeline.api.tokens import SYNC_ALL, Caller, CurrentCaller
from engarde_pipeline.runs.job_log import SyncJob, count_jobs, get_job, in_progress, last_completed, list_jobs
from engarde_pipeline.runs.run_config import SyncOptions

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
    request = body or SyncRequest()
    await _check(request, caller, database)
    submission = Submission(
        tenant_id=None if request.all_tenants else caller.tenant_id,
        start_date=request.start_date,
        end_date=request.end_date,
        campaign_space_ids=tuple(sorted(set(request.campaign_space_ids))),
        platform=request.platform,
        options=SyncOptions(request.allow_shrink, request.allow_growth, request.dry_run),
        caller_tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        idempotency_key=idempotency_key,
        request_id=request_id,
    )
    job = await queue.submit(submission)
    return SyncStarted(
        message=f"The {job.kind} of {job.start_date} to {job.end_date} is {job.status}.",
        sync_job=job_body(job, caller.may_sync_all),
    )


_COUNTED = ("records_", "would_not_land")
"""The beginnings of the fields of an event that include other tenants in a sync of all tenants."""

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
        if cursor is not None and _visible(instance, cursor, caller) is None:
            raise invalid("cursor", "is not valid for this request; use the next_cursor of the previous page")
        jobs = list_jobs(instance, limit + 1, tenant_id, before=cursor)
        last = last_completed(instance, tenant_id)
        return SyncStatus(
            last_sync=job_body(last, caller.may_sync_all) if last else None,
            is_syncing=any(not job.is_dry_run for job in in_progress(instance, tenant_id)),
            recent_jobs=[job_body(job, caller.may_sync_all) for job in jobs[:limit]],
            total_jobs=count_jobs(instance, tenant_id),
            next_cursor=jobs[limit - 1].id if len(jobs) > limit else None,
        )

    return await dagster.call(read_status)


async def visible_job(job_id: str, caller: CurrentCaller, dagster: DagsterDep) -> SyncJob:
    """Return a job of the caller's tenant or of all tenants.

    Raises:
        Problem: 404, the job does not exist, or belongs to another tenant.
    """
    job = await dagster.call(lambda instance: _visible(instance, job_id, caller))
    if job is None:
        raise Problem(404, "This sync job does not exist.")
    return job


VisibleJob = Annotated[SyncJob, Depends(visible_job)]


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
                data = {k: v for k, v in event.data.items() if may_see_counts or not k.startswith(_COUNTED)}
                yield ServerSentEvent(event="progress", id=event.id, data=data)
            else:
                ended = job_body(event, caller.may_sync_all).model_dump(mode="json")
                yield ServerSentEvent(event="end", id="end", data={"sync_job": ended})


def _visible(instance: DagsterInstance, job_id: str, caller: Caller) -> SyncJob | None:
    job = get_job(instance, job_id) if "\x00" not in job_id else None
    return job if job and job.tenant_id in (None, str(caller.tenant_id)) else None


async def _check(request: SyncRequest, caller: Caller, database: Database) -> None:
    """Check that the caller may start this sync, and that what it refers to exists.

    Raises:
        Problem: 403, 404 or 422.
    """
    if request.all_tenants:
        if not caller.may_sync_all:
            raise Problem(403, f"To sync all tenants, the token needs the scope {SYNC_ALL}.")
        if request.campaign_space_ids or request.platform:
            raise invalid("all_tenants", "cannot be combined with campaign_space_ids or platform")
        return
    references = References(caller.tenant_id, request.campaign_space_ids, platform=request.platform)
    found, _ = await check_and_execute(database, references)
    if request.platform and (elsewhere := [row for row in found if row["platform"] != request.platform]):
        ids = ", ".join(str(row["id"]) for row in elsewhere)
        raise invalid("campaign_space_ids", f"these campaign spaces are not on {request.platform!r}: {ids}")
