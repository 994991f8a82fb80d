"""The query parameters that several endpoints have."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BeforeValidator

from engarde_pipeline.api.errors import invalid
from engarde_pipeline.api.schemas import IsoDate, Platform
from engarde_pipeline.core.dates import latest_date, today

MAX_IDS = 1000
"""Campaign spaces or assets in a request."""


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


def _ids(what: str) -> Any:
    return Query(description=f"UUIDs of {what}, separated by commas; the parameter can also be repeated.")


CampaignIds = Annotated[list[UUID] | None, BeforeValidator(_uuids), _ids("campaign spaces")]
AssetIds = Annotated[list[UUID] | None, BeforeValidator(_uuids), _ids("assets")]
PlatformFilter = Annotated[Platform | None, Query(description="Only this ad platform.")]

EndDate = Annotated[
    IsoDate | None, Query(description="The last date, included. Default: the latest date anywhere on Earth.")
]
StartOf30Days = Annotated[
    IsoDate | None,
    Query(description="The first date. Default: 29 days before `end_date` or today (UTC), whichever is earlier."),
]
StartOf90Days = Annotated[
    IsoDate | None,
    Query(description="The first date. Default: 89 days before `end_date` or today (UTC), whichever is earlier."),
]


def date_range(start: date | None, end: date | None, default_days: int) -> tuple[date, date]:
    """Return the first and the last date of a request.

    Raises:
        Problem: 422, the first is after the last.
    """
    end = end or latest_date()
    # Counted from today in UTC: the date ahead, which most accounts have not reached, must not displace a date.
    start = start or date.fromordinal(max(1, min(end, today()).toordinal() - default_days + 1))
    if start > end:
        raise invalid("start_date", f"{start} is after end_date, {end}")
    return start, end


def invalid_cursor() -> Exception:
    """Return the 422 response for a cursor that does not belong to the request."""
    return invalid("cursor", "is not valid for this request; use the next_cursor of the previous page")


def after_record(cursor: str | None) -> tuple[date, UUID] | None:
    """Return the date and id of the rejected record that a cursor is after.

    Raises:
        Problem: 422, it is no cursor.
    """
    if cursor is None:
        return None
    day, _, record = cursor.partition("|")
    try:
        return date.fromisoformat(day), UUID(record)
    except ValueError:
        raise invalid_cursor() from None
