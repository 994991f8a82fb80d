"""What the API's endpoints and the pages have in common: which syncs a caller may start, and which jobs see."""

from uuid import UUID

from dagster import DagsterInstance

from engarde_pipeline.api.database import Database
from engarde_pipeline.api.errors import Problem, invalid
from engarde_pipeline.api.parameters import invalid_cursor
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.api.schemas import SyncRequest
from engarde_pipeline.api.submit import Submission
from engarde_pipeline.api.sync_events import LandedDate, landed_dates
from engarde_pipeline.api.tokens import SYNC_ALL, Caller
from engarde_pipeline.runs.job_log import SyncJob, get_job, list_jobs
from engarde_pipeline.runs.run_config import SyncOptions


async def checked_submission(request: SyncRequest, caller: Caller, database: Database) -> Submission:
    """Return the submission of a request, after checking that the caller may start this sync.

    Raises:
        Problem: 403, the caller may not; 404 or 422, what the request refers to does not exist.
    """
    await _check(request, caller, database)
    return Submission(
        tenant_id=None if request.all_tenants else caller.tenant_id,
        start_date=request.start_date,
        end_date=request.end_date,
        campaign_space_ids=tuple(sorted(set(request.campaign_space_ids))),
        platform=request.platform,
        options=SyncOptions(request.allow_shrink, request.allow_growth, request.dry_run),
        caller_tenant_id=caller.tenant_id,
        user_id=caller.user_id,
    )


def visible_job(instance: DagsterInstance, job_id: str, tenant_id: UUID) -> SyncJob | None:
    """Return a job of a tenant or of all tenants, or None if there is none with this id."""
    job = get_job(instance, job_id) if "\x00" not in job_id else None
    return job if job and job.tenant_id in (None, str(tenant_id)) else None


def list_visible_jobs(
    instance: DagsterInstance, limit: int, tenant_id: UUID, cursor: str | None
) -> tuple[list[SyncJob], str | None]:
    """Return the newest jobs of a tenant and of all tenants, and the cursor of the next page if there is one.

    Raises:
        Problem: 422, the cursor is none of them.
    """
    if cursor is not None and visible_job(instance, cursor, tenant_id) is None:
        raise invalid_cursor()
    jobs = list_jobs(instance, limit + 1, str(tenant_id), before=cursor)
    return jobs[:limit], jobs[limit - 1].id if len(jobs) > limit else None


def list_jobs_or_newest(
    instance: DagsterInstance, limit: int, tenant_id: UUID, cursor: str | None
) -> tuple[list[SyncJob], str | None, bool]:
    """Return jobs as `list_visible_jobs`, and whether they are the newest.

    The newest are returned if the job of the cursor is gone: the address of a page can be older than the history.
    """
    is_first = cursor is None or visible_job(instance, cursor, tenant_id) is None
    return *list_visible_jobs(instance, limit, tenant_id, None if is_first else cursor), is_first


def job_with_dates(instance: DagsterInstance, job_id: str, tenant_id: UUID) -> tuple[SyncJob, list[LandedDate]]:
    """Return a job of a tenant or of all tenants, and its dates that have landed so far.

    Raises:
        Problem: 404, the job does not exist, or belongs to another tenant.
    """
    job = visible_job(instance, job_id, tenant_id)
    if job is None:
        raise Problem(404, "This sync job does not exist.")
    return job, landed_dates(instance, job)


async def _check(request: SyncRequest, caller: Caller, database: Database) -> None:
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
