"""GET /: how the campaigns do."""

import json

from fastapi import APIRouter, Request, Response

from engarde_pipeline.api.dependencies import MetricsReaderDep
from engarde_pipeline.api.parameters import EndDate, StartOf30Days, date_range
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.postgres.reads.group_order import Page
from engarde_pipeline.postgres.reads.metrics_queries import MetricsQuery, groups
from engarde_pipeline.postgres.reads.trust import with_trust
from engarde_pipeline.web.page_route import CurrentSession, PageRoute
from engarde_pipeline.web.rendering import render

router = APIRouter(route_class=PageRoute)


@router.get("/")
async def overview(
    request: Request,
    session: CurrentSession,
    reader: MetricsReaderDep,
    start_date: StartOf30Days = None,
    end_date: EndDate = None,
) -> Response:
    """Show sums and ratios of the tenant's campaigns by platform."""
    start, end = date_range(start_date, end_date, 30)
    query = MetricsQuery(session.tenant_id, start, end)
    statement = with_trust(groups(query, "platform", Page(1000)), query, reader.calendar)
    _, ((row,),) = await check_and_execute(reader.database, References(session.tenant_id), statement)
    return render(
        request, "overview.html", start=start, end=end, platforms=json.loads(row["groups"]), trust=row["trust"]
    )
