"""The dates that can be synced; the date of a metric is in the time zone of its ad account (rule 15)."""

from datetime import UTC, date, datetime, timedelta, timezone

from engarde_pipeline.core.errors import InvalidInput
from engarde_pipeline.settings import load_pipeline_settings

_FURTHEST_AHEAD = timezone(timedelta(hours=14))


class InvalidDates(InvalidInput):
    """The requested dates cannot be synced; the message says why."""


def today(now: datetime | None = None) -> date:
    """Return the current date in UTC, or the date of `now`."""
    return (now or datetime.now(UTC)).astimezone(UTC).date()


def first_date() -> date:
    """Return the first partition (ENGARDE_FIRST_DATE)."""
    return load_pipeline_settings().engarde_first_date


def latest_date(now: datetime | None = None) -> date:
    """Return the last partition: the latest date anywhere on Earth, which is the date in UTC+14."""
    return (now or datetime.now(UTC)).astimezone(_FURTHEST_AHEAD).date()


def dates_ahead(now: datetime | None = None) -> list[date]:
    """Return the date that has begun in UTC+14 but not in UTC; there is one from 10:00 UTC to midnight.

    Most ad accounts have not reached it, so it is normal that BigQuery has no rows for it.
    """
    latest = latest_date(now)
    return [latest] if latest > today(now) else []


def provisional_days() -> int:
    """Return the number of the latest dates that some ad platform may still restate (ENGARDE_RESTATEMENT_DAYS)."""
    return load_pipeline_settings().engarde_restatement_days.longest


def is_provisional(day: date) -> bool:
    """Return whether an ad platform may still restate a date."""
    return day > today() - timedelta(days=provisional_days())


def dates_between(start: date, end: date, now: datetime | None = None) -> list[date]:
    """Return all dates from `start` to `end`, inclusive.

    Raises:
        InvalidDates: `end` is before `start`, `start` is before the first partition, or `end` is after the last.
    """
    if end < start:
        raise InvalidDates(f"The end date {end} is before the start date {start}. Swap them.")
    if start < (first := first_date()):
        raise InvalidDates(
            f"The start date {start} is before the first partition, {first}. Start there, or set"
            " ENGARDE_FIRST_DATE to an earlier date."
        )
    if end > (last := latest_date(now)):
        raise InvalidDates(
            f"The end date {end} is in the future. The last date that can be synced is {last}, the latest date"
            " anywhere on Earth."
        )
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def date_range(first: date, last: date) -> str:
    """Return the dates from `first` to `last` as a text, such as `2026-11-01 .. 2026-11-07`."""
    return str(first) if first == last else f"{first} .. {last}"
