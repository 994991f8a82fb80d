"""GET /metrics and /metrics/{campaign_space_id}.

Postgres builds the JSON of the groups. The response models only document it; a test compares the two.
"""

import json
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.database import Row
from engarde_pipeline.api.dependencies import DatabaseDep, ResponseCacheDep
from engarde_pipeline.api.errors import invalid, responses
from engarde_pipeline.api.references import check_and_execute
from engarde_pipeline.api.schemas import (
    CampaignMetrics,
    Count,
    IsoDate,
    Metrics,
    Platform,
    Summary,
)
from engarde_pipeline.api.tokens import CurrentCaller
from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.reads.metrics_queries import GroupBy, MetricsQuery, groups, one_campaign, reads_rows

MAX_GROUPS = 10_000
"""Groups on a page; enough for all campaigns of a tenant."""

MAX_IDS = 1000
"""Campaign spaces in a request."""

router = APIRouter(tags=["metrics"], responses=responses(401, 403, 422, 429, 503), route_class=AuthenticatedRoute)


def _uuids(values: list[str]) -> list[UUID]:
    parts = [part.strip() for value in values for part in value.split(",")]
    if len(parts) > MAX_IDS:
        raise ValueError(f"has {len(parts)} UUIDs; at most {MAX_IDS} are allowed")
    return [_uuid(part) for part in parts]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a UUID; separate several UUIDs by commas") from None


CampaignIds = Annotated[
    list[UUID] | None,
    BeforeValidator(_uuids),
    Query(description="UUIDs of campaign spaces, separated by commas; the parameter can also be repeated."),
]


@router.get("/metrics", response_model=Metrics, responses=responses(404))
async def metrics(
    caller: CurrentCaller,
    database: DatabaseDep,
    cache: ResponseCacheDep,
    campaign_space_ids: CampaignIds = None,
    start_date: Annotated[
        IsoDate | None,
        Query(
            description="The first date. Default: 29 days before `end_date` or today (UTC), whichever is earlier."
        ),
    ] = None,
    end_date: Annotated[
        IsoDate | None, Query(description="The last date, included. Default: the latest date anywhere on Earth.")
    ] = None,
    platform: Annotated[Platform | None, Query(description="Only this ad platform.")] = None,
    group_by: Annotated[GroupBy, Query()] = "date",
    limit: Annotated[Count, Query(ge=1, le=MAX_GROUPS)] = MAX_GROUPS,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the previous page.")] = None,
) -> Response:
    """The tenant's metrics by date, campaign or platform: sums, and ratios of these sums."""
    start, end = _dates(start_date, end_date, 30)
    query = MetricsQuery(caller.tenant_id, start, end, campaign_space_ids, platform)
    statement = groups(query, group_by, limit, _cursor_key(group_by, cursor))
    references = caller.tenant_id, campaign_space_ids or [], platform
    if reads_rows(query, group_by):
        await check_and_execute(database, *references)
        row = await cache.groups(query, statement)
    else:
        _, ((row,),) = await check_and_execute(database, *references, statement)
    return _response(
        row["groups"],
        start_date=start,
        end_date=end,
        group_by=group_by,
        total_records=row["total"],
        next_cursor=row["next_key"],
    )


@router.get("/metrics/{campaign_space_id}", response_model=CampaignMetrics, responses=responses(404))
async def campaign_metrics(
    caller: CurrentCaller,
    database: DatabaseDep,
    campaign_space_id: UUID,
    start_date: Annotated[
        IsoDate | None,
        Query(
            description="The first date. Default: 89 days before `end_date` or today (UTC), whichever is earlier."
        ),
    ] = None,
    end_date: Annotated[
        IsoDate | None, Query(description="The last date, included. Default: the latest date anywhere on Earth.")
    ] = None,
) -> Response:
    """The metrics of one campaign space by date, and their summary."""
    start, end = _dates(start_date, end_date, 90)
    query = MetricsQuery(caller.tenant_id, start, end, [campaign_space_id])
    _, ((row,),) = await check_and_execute(
        database, caller.tenant_id, [campaign_space_id], None, one_campaign(query)
    )
    return _response(
        row["points"],
        campaign_space_id=campaign_space_id,
        start_date=start,
        end_date=end,
        summary=_summary(row).model_dump(),
    )


def _response(metrics_json: bytes | str, **others: object) -> Response:
    envelope = json.dumps({"success": True, **others}, default=str).encode()
    array = metrics_json.encode() if isinstance(metrics_json, str) else metrics_json
    return Response(b'%b, "metrics": %b}' % (envelope[:-1], array), media_type="application/json")


def _dates(start: date | None, end: date | None, default_days: int) -> tuple[date, date]:
    end = end or latest_date()
    # Counted from today in UTC: the date ahead, which most accounts have not reached, must not displace a date.
    start = start or date.fromordinal(max(1, min(end, today()).toordinal() - default_days + 1))
    if start > end:
        raise invalid("start_date", f"{start} is after end_date, {end}")
    return start, end


def _cursor_key(by: GroupBy, cursor: str | None) -> object:
    if cursor is None or (by == "platform" and "\x00" not in cursor):
        return cursor
    try:
        return date.fromisoformat(cursor) if by == "date" else UUID(cursor)
    except ValueError:
        raise invalid(
            "cursor", "is not valid for this request; use the next_cursor of the previous page"
        ) from None


def _summary(row: Row) -> Summary:
    totals = {f"total_{name}": row[name] for name in CAMPAIGN_METRICS.measure_names}
    return Summary(
        **totals,
        avg_ctr=row["ctr"],
        avg_roas=row["roas"],
        avg_cpc=row["cpc"],
        conversion_rate=row["conversion_rate"],
        days_tracked=row["days_tracked"],
    )
