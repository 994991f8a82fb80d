"""The dates that can be synced: a metric's date is a label in its ad account's own time zone (rule 15)."""

from datetime import UTC, date, datetime, timedelta, timezone

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import load_pipeline_settings

PROVISIONAL_DAYS = 30
"""Platforms restate up to 28 days (Meta), 30 (Google)."""

_FURTHEST_AHEAD = timezone(timedelta(hours=14))


class InvalidDates(EngardeError):
    """The dates asked for cannot be synced; the message says which limit they break."""


def today(now: datetime | None = None) -> date:
    """Return the date in UTC, at this moment unless `now` says another."""
    return (now or datetime.now(UTC)).astimezone(UTC).date()


def first_date() -> date:
    """Return the first partition, ENGARDE_FIRST_DATE."""
    return load_pipeline_settings().engarde_first_date


def latest_date(now: datetime | None = None) -> date:
    """Return the last partition: the latest calendar date anywhere on Earth, that of UTC+14."""
    return (now or datetime.now(UTC)).astimezone(_FURTHEST_AHEAD).date()


def dates_ahead(now: datetime | None = None) -> list[date]:
    """Return the date that has begun east of Greenwich but not in UTC: one from 10:00 UTC to midnight, else none.

    Most accounts have not reached it, so that it is no fault when BigQuery has nothing for it.
    """
    latest = latest_date(now)
    return [latest] if latest > today(now) else []


def is_provisional(day: date) -> bool:
    """Return whether platforms may still restate a date."""
    return day > today() - timedelta(days=PROVISIONAL_DAYS)


def dates_between(start: date, end: date, now: datetime | None = None) -> list[date]:
    """Return every date from `start` to `end`, both included.

    Raises:
        InvalidDates: `end` lies before `start`, `start` before the first partition, or `end` after the last.
    """
    if end < start:
        raise InvalidDates(f"The end, {end}, lies before the start, {start}; swap them.")
    if start < (first := first_date()):
        raise InvalidDates(
            f"{start} lies before the first partition, {first}; start there, or set ENGARDE_FIRST_DATE"
            " to an earlier date."
        )
    if end > (last := latest_date(now)):
        raise InvalidDates(
            f"{end} lies in the future; the last date that can be synced is {last}, the latest date anywhere on"
            " Earth."
        )
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]
