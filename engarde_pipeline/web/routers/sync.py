"""GET and POST /sync: start a sync or a dry run, and the history of jobs; GET /sync/{job_id}: one job."""

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from engarde_pipeline.api.database import Database
from engarde_pipeline.api.dependencies import DagsterDep, DatabaseDep, RequestIdDep, SubmissionQueueDep
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.api.schemas import job_body
from engarde_pipeline.api.sessions import Session
from engarde_pipeline.api.sync_requests import checked_submission, job_with_dates, list_visible_jobs
from engarde_pipeline.core.dates import first_date, latest_date
from engarde_pipeline.postgres.reads.campaign_search import matching_campaigns, named_campaigns, platforms
from engarde_pipeline.web.job_view import COUNTS, job_view, progress
from engarde_pipeline.web.page_route import CurrentSession, PageRoute
from engarde_pipeline.web.rendering import render
from engarde_pipeline.web.sync_form import (
    LISTED,
    Choices,
    SyncForm,
    SyncQuery,
    campaign,
    choices_unknown,
    empty_form,
    field_errors,
    new_key,
)

JOBS = 20
"""Jobs on a page of the history."""

_SHOWN_IN_FORM = (404, 409, 422, 429, 503)

router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True)
class _Shown:
    """What the page shows besides the history: the form, and why it was refused."""

    form: SyncForm
    choices: Choices
    problem: Problem | None = None
    before: str | None = None


@router.get("/sync")
async def sync_page(
    request: Request,
    session: CurrentSession,
    database: DatabaseDep,
    dagster: DagsterDep,
    query: Annotated[SyncQuery, Query()],
) -> Response:
    """Show the form, with what the address has of it, and the history of jobs."""
    form = query if query.model_fields_set - {"before"} else empty_form()
    choices = await _choices(database, session, form)
    return await _page(request, session, dagster, _Shown(form, choices, before=query.before or None))


@router.post("/sync")
async def start(
    request: Request,
    session: CurrentSession,
    database: DatabaseDep,
    dagster: DagsterDep,
    queue: SubmissionQueueDep,
    request_id: RequestIdDep,
    form: Annotated[SyncForm, Form()],
) -> Response:
    """Start a sync or its dry run, and go to the page of its job; or show what is wrong beside the fields."""
    try:
        wanted = form.sync_request()
        submission = await checked_submission(wanted, session.caller, database)
        job = await queue.submit(
            replace(submission, idempotency_key=form.idempotency_key(wanted), request_id=request_id)
        )
    except Problem as problem:
        if problem.status not in _SHOWN_IN_FORM:
            raise
        try:
            choices = await _choices(database, session, form)
        except Problem:  # what was typed is kept in any case
            choices = choices_unknown(form)
        return await _page(request, session, dagster, _Shown(form, choices, problem))
    return RedirectResponse(f"/sync/{job.id}", 303)


@router.get("/sync/{job_id}")
async def job_page(
    request: Request, session: CurrentSession, database: DatabaseDep, dagster: DagsterDep, job_id: str
) -> Response:
    """Show a job: its progress date by date, and how it ended."""
    await check_and_execute(database, References(session.tenant_id))
    job, landed = await dagster.call(lambda instance: job_with_dates(instance, job_id, session.tenant_id))
    page = progress(job, landed, session.caller.may_sync_all)
    return render(request, "job.html", page=page, headings=tuple(COUNTS.values()), key=new_key())


async def _choices(database: Database, session: Session, form: SyncForm) -> Choices:
    statements = (
        platforms(),
        named_campaigns(form.valid_ids),
        matching_campaigns(form.q.strip(), form.platform or None, form.valid_ids, LISTED),
    )
    _, (of_tenant, chosen, matching) = await check_and_execute(
        database, References(session.tenant_id), *statements
    )
    return Choices(
        platforms=[row["platform"] for row in of_tenant],
        chosen=[campaign(row) for row in chosen],
        matching=[campaign(row) for row in matching],
        total=matching[0]["total"] if matching else 0,
    )


async def _page(request: Request, session: Session, dagster: DagsterDep, shown: _Shown) -> Response:
    try:
        found, next_cursor = await dagster.call(
            lambda instance: list_visible_jobs(instance, JOBS, session.tenant_id, shown.before)
        )
        jobs = [job_view(job_body(job, session.caller.may_sync_all)) for job in found]
    except Problem as error:
        if error.status == 422:  # an address can be older than the history, which has no such job any more
            return await _page(request, session, dagster, replace(shown, before=None))
        if error.status != 503:
            raise
        jobs, next_cursor = None, None
    problem = shown.problem
    return render(
        request,
        "sync.html",
        status=problem.status if problem else 200,
        headers=problem.headers if problem else None,
        form=shown.form,
        errors=field_errors(problem),
        running_job=problem.extensions.get("job_id") if problem else None,
        choices=shown.choices,
        key=new_key(),
        jobs=jobs,
        headings=tuple(COUNTS.values()),
        next_cursor=next_cursor,
        is_first=shown.before is None,
        first_date=first_date(),
        latest_date=latest_date(),
    )
