"""POST /sync, GET /sync-status, /sync-jobs/{job_id} and its events."""

from collections.abc import AsyncIterable
from typing import Annotated

from dagster import DagsterInstance
from fastapi import APIRouter, Body, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.database import Database
from engarde_pipeline.api.dependencies import JobLog, Postgres, Progress, Submitting
from engarde_pipeline.api.errors import Problem, invalid, responses
from engarde_pipeline.api.references import ask_about, existing_tenant
from engarde_pipeline.api.schemas import (
    Count,
    SyncJobAnswer,
    SyncRequest,
    SyncStarted,
    SyncStatus,
    job_body,
)
from engarde_pipeline.api.submit import Asked
from engarde_pipeline.api.sync_events import Landed
from engarde_pipeline.api.tokens import SYNC_ALL, Authenticated, Caller
from engarde_pipeline.runs.job_log import SyncJob, count_jobs, get_job, in_progress, last_completed, list_jobs

router = APIRouter(tags=["sync"], responses=responses(401, 403, 422, 429, 503), route_class=AuthenticatedRoute)


@router.post("/sync", status_code=202, responses=responses(404, 409))
async def start_sync(
    caller: Authenticated,
    postgres: Postgres,
    submissions: Submitting,
    body: Annotated[SyncRequest | None, Body()] = None,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="A repeated request with this key starts nothing again."),
    ] = None,
) -> SyncStarted:
    """Queue a sync of this tenant's part of some dates, and return at once; the run goes on in Dagster."""
    wanted = body or SyncRequest()
    await _check(wanted, caller, postgres)
    asked = Asked(
        tenant_id=None if wanted.all_tenants else caller.tenant_id,
        start_date=wanted.start_date,
        end_date=wanted.end_date,
        campaign_space_ids=tuple(sorted(set(wanted.campaign_space_ids))),
        platform=wanted.platform,
        allow_shrink=wanted.allow_shrink,
        caller_tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        idempotency_key=idempotency_key,
    )
    job = await submissions.submit(asked)
    return SyncStarted(
        message=f"The sync of {job.start_date} to {job.end_date} is {job.status}.",
        sync_job=job_body(job, caller.may_sync_all),
    )


_of_a_tenant = [Depends(existing_tenant)]


@router.get("/sync-status", dependencies=_of_a_tenant)
async def sync_status(
    caller: Authenticated,
    dagster: JobLog,
    limit: Annotated[Count, Query(ge=1, le=50)] = 10,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")] = None,
) -> SyncStatus:
    """The syncs that concern this tenant: its own, and those of all tenants."""
    tenant_id = str(caller.tenant_id)

    def look_up(instance: DagsterInstance) -> SyncStatus:
        if cursor is not None and _visible(instance, cursor, caller) is None:
            raise invalid("cursor", "is none that a page of these jobs ended with")
        jobs = list_jobs(instance, limit + 1, tenant_id, before=cursor)
        last = last_completed(instance, tenant_id)
        return SyncStatus(
            last_sync=job_body(last, caller.may_sync_all) if last else None,
            is_syncing=bool(in_progress(instance, tenant_id)),
            recent_jobs=[job_body(job, caller.may_sync_all) for job in jobs[:limit]],
            total_jobs=count_jobs(instance, tenant_id),
            next_cursor=jobs[limit - 1].id if len(jobs) > limit else None,
        )

    return await dagster.call(look_up)


async def visible_job(job_id: str, caller: Authenticated, dagster: JobLog) -> SyncJob:
    """Return a job that concerns the caller's tenant.

    Raises:
        Problem: 404, there is none, or it is another tenant's.
    """
    job = await dagster.call(lambda instance: _visible(instance, job_id, caller))
    if job is None:
        raise Problem(404, "There is no such sync job.")
    return job


Visible = Annotated[SyncJob, Depends(visible_job)]


@router.get("/sync-jobs/{job_id}", responses=responses(404), dependencies=_of_a_tenant)
async def sync_job(job: Visible, caller: Authenticated) -> SyncJobAnswer:
    """One job."""
    return SyncJobAnswer(sync_job=job_body(job, caller.may_sync_all))


@router.get(
    "/sync-jobs/{job_id}/events",
    responses=responses(404),
    response_class=EventSourceResponse,
    dependencies=_of_a_tenant,
)
async def events(
    job: Visible,
    caller: Authenticated,
    feeds: Progress,
    last_event_id: Annotated[str | None, Header(description="Where a stream that broke goes on.")] = None,
) -> AsyncIterable[ServerSentEvent]:
    """A `progress` event as each date lands, then one `end` event with the job; then the stream ends."""
    sees_counts = job.tenant_id is not None or caller.may_sync_all
    async with feeds.of(job.id) as feed:
        async for event in feed.after(last_event_id):
            if isinstance(event, Landed):
                data = {k: v for k, v in event.data.items() if sees_counts or not k.startswith("records_")}
                yield ServerSentEvent(event="progress", id=event.id, data=data)
            else:
                ended = job_body(event, caller.may_sync_all).model_dump(mode="json")
                yield ServerSentEvent(event="end", id="end", data={"sync_job": ended})


def _visible(instance: DagsterInstance, job_id: str, caller: Caller) -> SyncJob | None:
    job = get_job(instance, job_id) if "\x00" not in job_id else None
    return job if job and job.tenant_id in (None, str(caller.tenant_id)) else None


async def _check(wanted: SyncRequest, caller: Caller, postgres: Database) -> None:
    """Check that the caller may ask for this, and that what is named is the tenant's.

    Raises:
        Problem: 403, 404 or 422.
    """
    if wanted.all_tenants:
        if not caller.may_sync_all:
            raise Problem(403, f"To sync all tenants the token needs the scope {SYNC_ALL}.")
        if wanted.campaign_space_ids or wanted.platform:
            raise invalid("all_tenants", "cannot be narrowed to campaigns or a platform")
        return
    found, _ = await ask_about(postgres, caller.tenant_id, wanted.campaign_space_ids, wanted.platform)
    if wanted.platform and (elsewhere := [row for row in found if row["platform"] != wanted.platform]):
        ids = ", ".join(str(row["id"]) for row in elsewhere)
        raise invalid("campaign_space_ids", f"not on {wanted.platform!r}: {ids}")
