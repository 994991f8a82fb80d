"""GET /: how the campaigns do."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from engarde_pipeline.api.database import Row
from engarde_pipeline.api.dependencies import MetricsReader, MetricsReaderDep
from engarde_pipeline.api.references import References
from engarde_pipeline.api.response_cache import Question
from engarde_pipeline.postgres.reads.group_order import Page
from engarde_pipeline.postgres.reads.metrics_queries import (
    MetricsQuery,
    Statement,
    fingerprint,
    groups,
    names_version,
)
from engarde_pipeline.postgres.reads.page_queries import with_campaigns, with_platform_days
from engarde_pipeline.postgres.reads.trust import with_trust
from engarde_pipeline.web.overview_page import overview as page_of
from engarde_pipeline.web.overview_page import spend_start
from engarde_pipeline.web.page_parameters import OverviewParameters
from engarde_pipeline.web.page_route import CurrentSession, PageRoute
from engarde_pipeline.web.periods import Period
from engarde_pipeline.web.range_view import range_view
from engarde_pipeline.web.rendering import render

DEFAULT_DAYS = 30

router = APIRouter(route_class=PageRoute)


@router.get("/")
async def overview(
    request: Request,
    session: CurrentSession,
    reader: MetricsReaderDep,
    parameters: Annotated[OverviewParameters, Query()],
) -> Response:
    """Show the tenant's campaigns over a range of dates, beside the same number of dates before."""
    period = Period(*parameters.dates(DEFAULT_DAYS), reader.calendar)
    query = MetricsQuery(session.tenant_id, period.start, period.end, platform=parameters.platform)
    row = await _read(reader, query, parameters, period)
    return render(
        request,
        "overview.html",
        view=range_view("/", parameters, period, DEFAULT_DAYS),
        parameters=parameters,
        page=page_of(row, parameters, period, DEFAULT_DAYS),
    )


async def _read(reader: MetricsReader, query: MetricsQuery, parameters: OverviewParameters, period: Period) -> Row:
    """Return everything that the page shows, of one moment.

    The numbers of cached campaigns are of the moment, too: their fingerprint is read together with the rest.
    """

    def with_the_rest(statement: Statement) -> Statement:
        return with_trust(with_platform_days(statement, query, period.before_start), query, reader.calendar)

    order = Page(parameters.limit, parameters.order_by, parameters.is_descending)
    campaigns = with_campaigns(groups(query, "campaign", order), query, spend_start(period))
    versions = fingerprint(query)
    return await reader.cache.groups(
        Question(
            References(query.tenant_id, platform=query.platform),
            with_the_rest(campaigns),
            versions,
            with_the_rest(versions),
            names_version(query, "campaign"),
        )
    )
