"""GET /attention: what needs a person; and /attention/rejected: the rejected records of a reason."""

import json
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from engarde_pipeline.api.dependencies import DagsterDep, DatabaseDep
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.parameters import after_record
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.api.schemas import SyncJobBody, job_body
from engarde_pipeline.api.sync_requests import list_visible_jobs
from engarde_pipeline.core.date_states import SyncCalendar, current_calendar
from engarde_pipeline.core.dates import latest_date
from engarde_pipeline.core.metrics import RejectReason
from engarde_pipeline.postgres.reads.rejected_groups import has_older, rejected_groups
from engarde_pipeline.postgres.reads.rejected_queries import rejected_records
from engarde_pipeline.postgres.reads.tenant_dates import facts_of, tenant_dates
from engarde_pipeline.web.attention import (
    JOBS_SEARCHED,
    Attention,
    date_problems,
    reason_name,
    rejected_group,
    shown_keys,
    table_name,
    unresolved,
)
from engarde_pipeline.web.date_ranges import RANGES, checked_days
from engarde_pipeline.web.failed_dates import FailedDaysDep
from engarde_pipeline.web.freshness import shown_days
from engarde_pipeline.web.job_view import job_view
from engarde_pipeline.web.page_route import CurrentSession, PageRoute
from engarde_pipeline.web.rendering import render

RECORDS = 50
"""Rejected records on a page."""

router = APIRouter(route_class=PageRoute)


@router.get("/attention")
async def attention_page(
    request: Request,
    session: CurrentSession,
    database: DatabaseDep,
    dagster: DagsterDep,
    failed: FailedDaysDep,
    days: Annotated[int, Query()] = 30,
) -> Response:
    """Show rejected records by reason, the dates that need a person, and the failed jobs."""
    calendar, tenant = current_calendar(), session.tenant_id
    dates = _dates(checked_days(days), calendar)
    window = shown_days(calendar.window_days, calendar, calendar.today)
    _, (groups, older, rows) = await check_and_execute(
        database,
        References(tenant),
        rejected_groups(tenant, *dates),
        has_older(tenant, dates[0]),
        tenant_dates(tenant, {*window, *(day for _, day in failed or ())}),
    )
    jobs: list[SyncJobBody] | None
    try:
        found, _ = await dagster.call(lambda instance: list_visible_jobs(instance, JOBS_SEARCHED, tenant, None))
        jobs = [job_body(job, session.caller.may_sync_all) for job in found]
    except Problem:  # Dagster does not respond
        jobs = None
    page = Attention(
        rejected=[rejected_group(row) for row in groups],
        dates=date_problems(facts_of(rows, failed or frozenset()), calendar),
        jobs=[job_view(job) for job in unresolved(jobs or [])],
    )
    return render(
        request,
        "attention.html",
        page=page,
        has_older=older[0]["has_older"],
        is_history_known=failed is not None and jobs is not None,
        days=days,
        ranges=RANGES,
        start=dates[0],
        end=dates[1],
    )


@router.get("/attention/rejected")
async def rejected_page(
    request: Request,
    session: CurrentSession,
    database: DatabaseDep,
    reason: RejectReason,
    days: Annotated[int, Query()] = 30,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Show the rejected records of a reason, newest date first."""
    dates = _dates(checked_days(days), current_calendar())
    statement = rejected_records(session.tenant_id, dates, reason, RECORDS, after_record(cursor))
    _, ((row,),) = await check_and_execute(database, References(session.tenant_id), statement)
    return render(
        request,
        "rejected.html",
        name=reason_name(reason),
        reason=reason,
        records=[_shown(each) for each in json.loads(row["records"])],
        total=row["total"],
        next_cursor=row["next_key"],
        is_first=cursor is None,
        days=days,
        start=dates[0],
        end=dates[1],
    )


def _dates(days: int, calendar: SyncCalendar) -> tuple[date, date]:
    shown = shown_days(days, calendar, latest_date(calendar.now))
    return shown[0], shown[-1]


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with names, and moments that can be formatted."""
    return {
        **record,
        "table": table_name(record["table"]),
        "keys": shown_keys(record["keys"]),
        "measures": shown_keys(record["measures"]),
        "first_seen_at": datetime.fromisoformat(record["first_seen_at"]),
        "last_seen_at": datetime.fromisoformat(record["last_seen_at"]),
    }
