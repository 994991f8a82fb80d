"""GET /metrics, /metrics/{campaign_space_id}, /assets/metrics and /assets/{campaign_asset_id}/metrics."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from engarde_pipeline.api.conditional_route import ConditionalRoute
from engarde_pipeline.api.database import Row
from engarde_pipeline.api.dependencies import MetricsReader, MetricsReaderDep
from engarde_pipeline.api.errors import responses
from engarde_pipeline.api.json_response import json_response
from engarde_pipeline.api.metric_schemas import (
    AssetGroupMetrics,
    AssetMetrics,
    AssetOrder,
    AssetSummary,
    CampaignMetrics,
    CampaignOrder,
    Metrics,
    Summary,
)
from engarde_pipeline.api.parameters import (
    AssetIds,
    CampaignIds,
    EndDate,
    PlatformFilter,
    StartOf30Days,
    StartOf90Days,
    date_range,
    invalid_cursor,
)
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.api.response_cache import Question
from engarde_pipeline.api.schemas import Count
from engarde_pipeline.api.tokens import CurrentCaller
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.reads.group_order import Page
from engarde_pipeline.postgres.reads.metrics_queries import (
    GroupBy,
    MetricsQuery,
    by_date,
    fingerprint,
    groups,
    names_version,
    reads_rows,
)
from engarde_pipeline.postgres.reads.trust import with_trust

MAX_GROUPS = 10_000
"""Groups on a page; enough for all campaigns of a tenant."""

_CURSOR = r"(?P<currency>([A-Z]{3})?)\|(?P<key>.+)"
_ORDERED_CURSOR = rf"(?P<value>([0-9]+(\.[0-9]+)?)?)\|{_CURSOR}"

router = APIRouter(
    tags=["metrics"], responses=responses(401, 403, 404, 422, 429, 503), route_class=ConditionalRoute
)

_ORDER_BY = Query(description="Order by this measure or ratio, null last. Default: by the group's key.")

Direction = Annotated[
    Literal["asc", "desc"] | None, Query(description="Default: `desc` with `order_by`, `asc` without it.")
]
Limit = Annotated[Count, Query(ge=1, le=MAX_GROUPS)]
Cursor = Annotated[str | None, Query(max_length=300, description="`next_cursor` of the previous page.")]


@router.get("/metrics", response_model=Metrics)
async def metrics(
    caller: CurrentCaller,
    reader: MetricsReaderDep,
    campaign_space_ids: CampaignIds = None,
    start_date: StartOf30Days = None,
    end_date: EndDate = None,
    platform: PlatformFilter = None,
    group_by: Annotated[Literal["date", "campaign", "platform"], Query()] = "date",
    order_by: Annotated[CampaignOrder | None, _ORDER_BY] = None,
    order: Direction = None,
    limit: Limit = MAX_GROUPS,
    cursor: Cursor = None,
) -> Response:
    """The tenant's metrics by date, campaign or platform: sums, and ratios of these sums."""
    start, end = date_range(start_date, end_date, 30)
    query = MetricsQuery(caller.tenant_id, start, end, campaign_space_ids, platform)
    return await _groups(reader, query, group_by, _page(group_by, order_by, order, limit, cursor))


@router.get("/metrics/{campaign_space_id}", response_model=CampaignMetrics)
async def campaign_metrics(
    caller: CurrentCaller,
    reader: MetricsReaderDep,
    campaign_space_id: UUID,
    start_date: StartOf90Days = None,
    end_date: EndDate = None,
) -> Response:
    """The metrics of one campaign space by date, and their summary."""
    start, end = date_range(start_date, end_date, 90)
    query = MetricsQuery(caller.tenant_id, start, end, [campaign_space_id])
    return await _by_date(reader, query, "campaign_space_id", campaign_space_id)


@router.get("/assets/metrics", response_model=AssetGroupMetrics)
async def asset_group_metrics(
    caller: CurrentCaller,
    reader: MetricsReaderDep,
    campaign_asset_ids: AssetIds = None,
    campaign_space_ids: CampaignIds = None,
    start_date: StartOf30Days = None,
    end_date: EndDate = None,
    platform: PlatformFilter = None,
    group_by: GroupBy = "date",
    order_by: Annotated[AssetOrder | None, _ORDER_BY] = None,
    order: Direction = None,
    limit: Limit = MAX_GROUPS,
    cursor: Cursor = None,
) -> Response:
    """The metrics of creatives by date, asset, campaign or platform: sums, and ratios of these sums."""
    start, end = date_range(start_date, end_date, 30)
    query = MetricsQuery(
        caller.tenant_id, start, end, campaign_space_ids, platform, campaign_asset_ids, ASSET_METRICS
    )
    return await _groups(reader, query, group_by, _page(group_by, order_by, order, limit, cursor))


@router.get("/assets/{campaign_asset_id}/metrics", response_model=AssetMetrics)
async def asset_metrics(
    caller: CurrentCaller,
    reader: MetricsReaderDep,
    campaign_asset_id: UUID,
    start_date: StartOf90Days = None,
    end_date: EndDate = None,
) -> Response:
    """The metrics of one creative by date, and their summary."""
    start, end = date_range(start_date, end_date, 90)
    query = MetricsQuery(caller.tenant_id, start, end, campaign_asset_ids=[campaign_asset_id], table=ASSET_METRICS)
    return await _by_date(reader, query, "campaign_asset_id", campaign_asset_id)


async def _groups(reader: MetricsReader, query: MetricsQuery, group_by: GroupBy, page: Page) -> Response:
    statement = with_trust(groups(query, group_by, page), query, reader.calendar)
    if reads_rows(query, group_by):
        versions = fingerprint(query)
        recheck = with_trust(versions, query, reader.calendar)
        names = names_version(query, group_by)
        row = await reader.cache.groups(Question(_references(query), statement, versions, recheck, names))
    else:
        _, ((row,),) = await check_and_execute(reader.database, _references(query), statement)
    return json_response(
        "metrics",
        row["groups"],
        row["trust"],
        start_date=query.start,
        end_date=query.end,
        group_by=group_by,
        total_records=row["total"],
        next_cursor=row["next_key"],
    )


async def _by_date(reader: MetricsReader, query: MetricsQuery, name: str, subject: UUID) -> Response:
    statement = with_trust(by_date(query), query, reader.calendar)
    _, ((row,),) = await check_and_execute(reader.database, _references(query), statement)
    return json_response(
        "metrics",
        row["points"],
        row["trust"],
        **{name: subject},
        start_date=query.start,
        end_date=query.end,
        summary=_summary(query, row),
    )


def _references(query: MetricsQuery) -> References:
    return References(
        query.tenant_id, query.campaign_space_ids or [], query.campaign_asset_ids or [], query.platform
    )


def _page(by: GroupBy, order_by: str | None, order: str | None, limit: int, cursor: str | None) -> Page:
    descending = order_by is not None if order is None else order == "desc"
    if cursor is None:
        return Page(limit, order_by, descending)
    match = re.fullmatch(_CURSOR if order_by is None else _ORDERED_CURSOR, cursor, re.DOTALL)
    if not match:
        raise invalid_cursor()
    value = match["value"] if order_by else None
    return Page(
        limit, order_by, descending, _key(by, match["key"]), match["currency"], Decimal(value) if value else None
    )


def _key(by: GroupBy, text: str) -> object:
    if by == "platform" and "\x00" not in text:
        return text
    try:
        return date.fromisoformat(text) if by == "date" else UUID(text)
    except ValueError:
        raise invalid_cursor() from None


def _summary(query: MetricsQuery, row: Row) -> dict[str, Any]:
    model = AssetSummary if query.table is ASSET_METRICS else Summary
    totals = {f"total_{name}": row[name] for name in query.table.measure_names}
    averages = {f"avg_{name}": row[name] for name in ("ctr", "roas", "cpc")}
    return model(**{**row, **totals, **averages}).model_dump()
