"""GET /metrics and /metrics/{campaign_space_id}."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from engarde_pipeline.api.bodies import (
    CampaignMetrics,
    IsoDate,
    MetricGroup,
    MetricPoint,
    Metrics,
    Platform,
    Summary,
)
from engarde_pipeline.api.database import Row
from engarde_pipeline.api.parts import Postgres
from engarde_pipeline.api.problems import Problem, invalid, responses
from engarde_pipeline.api.tokens import Authenticated
from engarde_pipeline.partitions import today
from engarde_pipeline.postgres.metrics_queries import GroupBy, Wanted, campaigns, groups, summary

MOST_GROUPS = 10_000
"""A tenant's campaigns."""

_KEYS: dict[GroupBy, str] = {"date": "date", "campaign": "campaign_space_id", "platform": "platform"}

router = APIRouter(tags=["metrics"], responses=responses(401, 403, 422, 429, 503))


def _uuids(text: str) -> str:
    for part in text.split(","):
        try:
            UUID(part.strip())
        except ValueError:
            raise ValueError(f"{part.strip()!r} is not a uuid; give uuids with commas between") from None
    return text


CampaignIds = Annotated[
    str | None,
    Query(max_length=40_000, description="Campaign space uuids, with commas between."),
    AfterValidator(lambda text: text and _uuids(text)),
]


@router.get("/metrics", response_model_exclude_unset=True)
async def metrics(
    caller: Authenticated,
    postgres: Postgres,
    campaign_space_ids: CampaignIds = None,
    start_date: Annotated[IsoDate | None, Query(description="Default: 29 days before the end.")] = None,
    end_date: Annotated[IsoDate | None, Query(description="Included. Default: today.")] = None,
    platform: Annotated[Platform | None, Query()] = None,
    group_by: Annotated[GroupBy, Query()] = "date",
    limit: Annotated[int, Query(ge=1, le=MOST_GROUPS)] = MOST_GROUPS,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")] = None,
) -> Metrics:
    """The tenant's numbers by date, campaign or platform: sums, and ratios of the sums."""
    start, end = _dates(start_date, end_date, 30)
    ids = [UUID(part.strip()) for part in campaign_space_ids.split(",")] if campaign_space_ids else None
    wanted = Wanted(caller.tenant_id, start, end, ids, platform)
    (rows,) = await postgres.ask(caller.tenant_id, groups(wanted, group_by, limit, _after(group_by, cursor)))
    page = rows[:limit]
    return Metrics(
        success=True,
        start_date=start,
        end_date=end,
        group_by=group_by,
        metrics=[MetricGroup(**{_KEYS[group_by]: str(row["group_key"])}, **_numbers(row)) for row in page],
        total_records=rows[0]["groups"] if rows else 0,
        next_cursor=str(page[-1]["group_key"]) if len(rows) > limit else None,
    )


@router.get("/metrics/{campaign_space_id}", responses=responses(404))
async def campaign_metrics(
    caller: Authenticated,
    postgres: Postgres,
    campaign_space_id: UUID,
    start_date: Annotated[IsoDate | None, Query(description="Default: 89 days before the end.")] = None,
    end_date: Annotated[IsoDate | None, Query(description="Included. Default: today.")] = None,
) -> CampaignMetrics:
    """One campaign's numbers per date, and their summary."""
    start, end = _dates(start_date, end_date, 90)
    wanted = Wanted(caller.tenant_id, start, end, [campaign_space_id])
    found, points, (total,) = await postgres.ask(
        caller.tenant_id,
        campaigns([campaign_space_id]),
        groups(wanted, "date", MOST_GROUPS),
        summary(wanted),
    )
    if not found:
        raise Problem(404, f"There is no campaign space {campaign_space_id}.")
    return CampaignMetrics(
        campaign_space_id=campaign_space_id,
        start_date=start,
        end_date=end,
        metrics=[MetricPoint(date=row["group_key"], **_numbers(row)) for row in points],
        summary=_summary(total),
    )


def _dates(start: date | None, end: date | None, default_days: int) -> tuple[date, date]:
    end = end or today()
    start = start or date.fromordinal(max(1, end.toordinal() - default_days + 1))
    if start > end:
        raise invalid("start_date", f"{start} lies after end_date, {end}")
    return start, end


def _after(by: GroupBy, cursor: str | None) -> object:
    if cursor is None or by == "platform":
        return cursor and cursor.replace("\x00", "")
    try:
        return date.fromisoformat(cursor) if by == "date" else UUID(cursor)
    except ValueError:
        raise invalid("cursor", "is none that a page of these metrics ended with") from None


def _numbers(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("group_key", "groups")}


def _summary(row: Row) -> Summary:
    totals = {f"total_{name}": row[name] for name in ("impressions", "clicks", "spend", "conversions", "revenue")}
    return Summary(
        **totals,
        avg_ctr=row["ctr"],
        avg_roas=row["roas"],
        avg_cpc=row["cpc"],
        conversion_rate=row["conversion_rate"],
        days_tracked=row["days_tracked"],
    )
