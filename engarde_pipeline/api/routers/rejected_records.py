"""GET /rejected-records."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from engarde_pipeline.api.authenticated_route import AuthenticatedRoute
from engarde_pipeline.api.dependencies import DatabaseDep
from engarde_pipeline.api.errors import responses
from engarde_pipeline.api.json_response import json_response
from engarde_pipeline.api.metric_schemas import RejectedRecords
from engarde_pipeline.api.parameters import EndDate, StartOf30Days, after_record, date_range
from engarde_pipeline.api.references import References, check_and_execute
from engarde_pipeline.api.schemas import Count
from engarde_pipeline.api.tokens import CurrentCaller
from engarde_pipeline.core.metrics import RejectReason
from engarde_pipeline.postgres.reads.rejected_queries import rejected_records as statement_for

MAX_RECORDS = 1000
"""Rejected records on a page."""

router = APIRouter(tags=["metrics"], responses=responses(401, 403, 422, 429, 503), route_class=AuthenticatedRoute)


@router.get("/rejected-records", response_model=RejectedRecords)
async def rejected_records(
    caller: CurrentCaller,
    database: DatabaseDep,
    start_date: StartOf30Days = None,
    end_date: EndDate = None,
    reason: Annotated[RejectReason | None, Query(description="Only records rejected for this reason.")] = None,
    limit: Annotated[Count, Query(ge=1, le=MAX_RECORDS)] = 100,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the previous page.")] = None,
) -> Response:
    """The tenant's records that could not be loaded, newest date first, with the reason and what to do."""
    dates = date_range(start_date, end_date, 30)
    statement = statement_for(caller.tenant_id, dates, reason, limit, after_record(cursor))
    _, ((row,),) = await check_and_execute(database, References(caller.tenant_id), statement)
    return json_response(
        "rejected_records",
        row["records"],
        start_date=dates[0],
        end_date=dates[1],
        total_records=row["total"],
        next_cursor=row["next_key"],
    )
