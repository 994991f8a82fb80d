"""The dates that can be synced; the date of a metric is in the time zone of its ad account (rule 15)."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone

from engarde_pipeline.core.errors import InvalidInput
from engarde_pipeline.settings import load_pipeline_settings

_FURTHEST_AHEAD = timezone(timedelta(hours=14))

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DAYS_AGO = re.compile(r"-(\d{1,4})d", re.ASCII)


class InvalidDates(InvalidInput):
    """The requested dates cannot be synced; the message says why."""


def today(now: datetime | None = None) -> date:
    """Return the current date in UTC, or the date of `now`."""
    return (now or datetime.now(UTC)).astimezone(UTC).date()


def parse_date(text: str, now: datetime | None = None) -> date:
    """Return the date that a person wrote: 2026-11-01, today, yesterday, or -7d for seven days ago (UTC).

    Raises:
        InvalidDates: it is not a date.
    """
    if text == "today":
        return today(now)
    if text == "yesterday":
        return today(now) - timedelta(days=1)
    if ago := _DAYS_AGO.fullmatch(text):
        return today(now) - timedelta(days=int(ago[1]))
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:  # such as February 30
        pass
    raise InvalidDates(
        f"{text!r} is not a date. Write it as 2026-11-01, today, yesterday or -7d (seven days ago)."
    )


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


def requested_dates(start: date | str, end: date | str | None = None) -> list[date]:
    """Return all dates from `start` to `end`, inclusive; texts are parsed, and the default end is today (UTC).

    Raises:
        InvalidDates: a text is not a date, or as `dates_between`.
    """
    first = parse_date(start) if isinstance(start, str) else start
    last = parse_date(end) if isinstance(end, str) else end
    # A date that has begun only ahead of UTC can be the start, too.
    return dates_between(first, last or max(first, today()))


def described_dates(dates: Iterable[date]) -> str:
    """Return dates as a text with their ranges, such as `2026-11-01 .. 2026-11-05, 2026-11-09`."""
    return ", ".join(date_range(first, last) for first, last in consecutive_dates(dates))


def consecutive_dates(dates: Iterable[date]) -> list[tuple[date, date]]:
    """Return the ranges of consecutive dates, each with its first and last date."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(set(dates)):
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = ranges[-1][0], day
        else:
            ranges.append((day, day))
    return ranges


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
