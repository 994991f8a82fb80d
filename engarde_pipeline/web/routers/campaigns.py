"""GET /campaigns/{campaign_space_id}: how one campaign does."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from engarde_pipeline.api.dependencies import MetricsReaderDep
from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.reads.group_order import Page
from engarde_pipeline.postgres.reads.metrics_queries import MetricsQuery, groups
from engarde_pipeline.postgres.reads.page_queries import campaign as campaign_statement
from engarde_pipeline.postgres.reads.trust import with_trust
from engarde_pipeline.web.campaign_page import campaign as page_of
from engarde_pipeline.web.page_parameters import PageParameters
from engarde_pipeline.web.page_route import CurrentSession, PageRoute
from engarde_pipeline.web.periods import Period
from engarde_pipeline.web.range_view import range_view
from engarde_pipeline.web.rendering import render

DEFAULT_DAYS = 90

MAX_CREATIVES = 100

router = APIRouter(route_class=PageRoute)


@router.get("/campaigns/{campaign_space_id}")
async def campaign(
    request: Request,
    session: CurrentSession,
    reader: MetricsReaderDep,
    campaign_space_id: str,
    parameters: Annotated[PageParameters, Query()],
) -> Response:
    """Show a campaign over a range of dates, with its creatives and its dates."""
    ids = [_uuid(campaign_space_id)]
    period = Period(*parameters.dates(DEFAULT_DAYS), reader.calendar)
    query = MetricsQuery(session.tenant_id, period.start, period.end, ids)
    of_assets = MetricsQuery(session.tenant_id, period.start, period.end, ids, table=ASSET_METRICS)
    # Two statements: creatives are synced by themselves, so no moment is that of both.
    _, (rows, (assets,)) = await check_and_execute(
        reader.database,
        References(session.tenant_id),
        with_trust(campaign_statement(query, period.before_start), query, reader.calendar),
        groups(of_assets, "asset", Page(MAX_CREATIVES, "spend", descending=True)),
    )
    if not rows:
        raise _not_found()
    return render(
        request,
        "campaign.html",
        view=range_view(f"/campaigns/{ids[0]}", parameters, period, DEFAULT_DAYS),
        parameters=parameters,
        page=page_of(rows[0], assets, parameters, period, DEFAULT_DAYS),
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _not_found() from None


def _not_found() -> Problem:
    # The same for a campaign of another tenant, whose existence must not be revealed.
    return Problem(404, "This campaign does not exist, or you may not see it.")
