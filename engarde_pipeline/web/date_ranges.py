"""Ranges of dates on the pages: how they are written, and of how many days there are links."""

from collections.abc import Iterable
from datetime import date

from engarde_pipeline.api.errors import invalid
from engarde_pipeline.core.dates import consecutive_dates

RANGES = (7, 30, 90, 365)


def checked_days(days: int) -> int:
    """Return `days`.

    Raises:
        Problem: 422, it is none of `RANGES`.
    """
    if days not in RANGES:
        raise invalid("days", f"use one of {', '.join(map(str, RANGES))}")
    return days


def written_range(first: date, last: date) -> str:
    """Return the dates from `first` to `last` as all pages write them."""
    return str(first) if first == last else f"{first} to {last}"


def written_dates(dates: Iterable[date]) -> list[str]:
    """Return dates as their ranges."""
    return [written_range(first, last) for first, last in consecutive_dates(dates)]
