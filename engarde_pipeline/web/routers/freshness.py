"""GET /freshness: the state of each date."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from engarde_pipeline.api.dependencies import DatabaseDep
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.core.date_states import current_calendar
from engarde_pipeline.core.dates import latest_date
from engarde_pipeline.postgres.reads.tenant_dates import facts_of, tenant_dates
from engarde_pipeline.web.date_ranges import RANGES, checked_days
from engarde_pipeline.web.failed_dates import FailedDaysDep
from engarde_pipeline.web.freshness import MARKS, NOT_EXPECTED, freshness, shown_days
from engarde_pipeline.web.page_route import CurrentSession, PageRoute
from engarde_pipeline.web.rendering import render

router = APIRouter(route_class=PageRoute)


@router.get("/freshness")
async def freshness_page(
    request: Request,
    session: CurrentSession,
    database: DatabaseDep,
    failed: FailedDaysDep,
    days: Annotated[int, Query()] = 30,
) -> Response:
    """Show the states of the last dates of both tables, and when they were synced and compared."""
    calendar = current_calendar()
    dates = shown_days(checked_days(days), calendar, latest_date(calendar.now))
    statement = tenant_dates(session.tenant_id, {*dates, *(day for _, day in failed or ())})
    _, (rows,) = await check_and_execute(database, References(session.tenant_id), statement)
    return render(
        request,
        "freshness.html",
        page=freshness(facts_of(rows, failed or frozenset()), dates, calendar),
        is_history_known=failed is not None,
        marks=(*MARKS.values(), NOT_EXPECTED),
        days=days,
        ranges=RANGES,
        start=dates[0],
        end=dates[-1],
    )
