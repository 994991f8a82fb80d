"""GET /metrics and /metrics/{campaign_space_id}.

Postgres makes the JSON of the groups; the models say in the documentation what it is, and a test compares the two.
"""

import json
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.database import Row
from engarde_pipeline.api.dependencies import Answers, Postgres
from engarde_pipeline.api.errors import invalid, responses
from engarde_pipeline.api.references import ask_about
from engarde_pipeline.api.schemas import (
    CampaignMetrics,
    Count,
    IsoDate,
    Metrics,
    Platform,
    Summary,
)
from engarde_pipeline.api.tokens import Authenticated
from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.reads.metrics_queries import GroupBy, Wanted, groups, one_campaign, reads_rows

MOST_GROUPS = 10_000
"""A tenant's campaigns."""

MOST_IDS = 1000
"""Campaigns that a request may name."""

router = APIRouter(tags=["metrics"], responses=responses(401, 403, 422, 429, 503), route_class=AuthenticatedRoute)


def _uuids(values: list[str]) -> list[UUID]:
    parts = [part.strip() for value in values for part in value.split(",")]
    if len(parts) > MOST_IDS:
        raise ValueError(f"has {len(parts)} uuids; give {MOST_IDS} at most")
    return [_uuid(part) for part in parts]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a uuid; give uuids with commas between") from None


CampaignIds = Annotated[
    list[UUID] | None,
    BeforeValidator(_uuids),
    Query(description="Campaign space uuids, with commas between; or the parameter several times."),
]


@router.get("/metrics", response_model=Metrics, responses=responses(404))
async def metrics(
    caller: Authenticated,
    postgres: Postgres,
    answers: Answers,
    campaign_space_ids: CampaignIds = None,
    start_date: Annotated[
        IsoDate | None,
        Query(description="Default: 29 days before the end, or before UTC's today where that is earlier."),
    ] = None,
    end_date: Annotated[
        IsoDate | None, Query(description="Included. Default: the latest date anywhere on Earth.")
    ] = None,
    platform: Annotated[Platform | None, Query()] = None,
    group_by: Annotated[GroupBy, Query()] = "date",
    limit: Annotated[Count, Query(ge=1, le=MOST_GROUPS)] = MOST_GROUPS,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")] = None,
) -> Response:
    """The tenant's numbers by date, campaign or platform: sums, and ratios of the sums."""
    start, end = _dates(start_date, end_date, 30)
    wanted = Wanted(caller.tenant_id, start, end, campaign_space_ids, platform)
    query = groups(wanted, group_by, limit, _after(group_by, cursor))
    named = caller.tenant_id, campaign_space_ids or [], platform
    if reads_rows(wanted, group_by):
        await ask_about(postgres, *named)
        found = await answers.groups(wanted, query)
    else:
        _, ((found,),) = await ask_about(postgres, *named, query)
    return _answer(
        found["groups"],
        start_date=start,
        end_date=end,
        group_by=group_by,
        total_records=found["total"],
        next_cursor=found["next_key"],
    )


@router.get("/metrics/{campaign_space_id}", response_model=CampaignMetrics, responses=responses(404))
async def campaign_metrics(
    caller: Authenticated,
    postgres: Postgres,
    campaign_space_id: UUID,
    start_date: Annotated[
        IsoDate | None,
        Query(description="Default: 89 days before the end, or before UTC's today where that is earlier."),
    ] = None,
    end_date: Annotated[
        IsoDate | None, Query(description="Included. Default: the latest date anywhere on Earth.")
    ] = None,
) -> Response:
    """One campaign's numbers per date, and their summary."""
    start, end = _dates(start_date, end_date, 90)
    wanted = Wanted(caller.tenant_id, start, end, [campaign_space_id])
    _, ((found,),) = await ask_about(postgres, caller.tenant_id, [campaign_space_id], None, one_campaign(wanted))
    return _answer(
        found["points"],
        campaign_space_id=campaign_space_id,
        start_date=start,
        end_date=end,
        summary=_summary(found).model_dump(),
    )


def _answer(groups_as_json: bytes | str, **others: object) -> Response:
    envelope = json.dumps({"success": True, **others}, default=str).encode()
    array = groups_as_json.encode() if isinstance(groups_as_json, str) else groups_as_json
    return Response(b'%b, "metrics": %b}' % (envelope[:-1], array), media_type="application/json")


def _dates(start: date | None, end: date | None, default_days: int) -> tuple[date, date]:
    end = end or latest_date()
    # Counted from UTC's today, so that no date is given up for one that most accounts have not reached.
    start = start or date.fromordinal(max(1, min(end, today()).toordinal() - default_days + 1))
    if start > end:
        raise invalid("start_date", f"{start} lies after end_date, {end}")
    return start, end


def _after(by: GroupBy, cursor: str | None) -> object:
    if cursor is None or (by == "platform" and "\x00" not in cursor):
        return cursor
    try:
        return date.fromisoformat(cursor) if by == "date" else UUID(cursor)
    except ValueError:
        raise invalid("cursor", "is none that a page of these metrics ended with") from None


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
