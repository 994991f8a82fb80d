"""The daily partitions, defined once for every asset."""

from datetime import UTC, date, datetime, timedelta, timezone

from dagster import BackfillPolicy, DailyPartitionsDefinition

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.settings import load_pipeline_settings

# A metric's date is a label in its ad account's own time zone, so the partitions end with the latest date anywhere
# on Earth, that of UTC+14. The tz database's sign is the reverse of the usual one: Etc/GMT-14 is ahead of UTC.
# `end_offset=1`: a date is a partition from its first moment on, provisional while the day is still filling.
_FURTHEST_AHEAD = timezone(timedelta(hours=14))
daily = DailyPartitionsDefinition(
    start_date=load_pipeline_settings().engarde_first_date.isoformat(), timezone="Etc/GMT-14", end_offset=1
)


def backfill_policy() -> BackfillPolicy:
    """Return how a backfill is split into runs; every asset of a job must share it (dagster issue 17404)."""
    dates = load_pipeline_settings().engarde_dates_per_run
    return BackfillPolicy.multi_run(dates) if dates else BackfillPolicy.single_run()


class InvalidDates(EngardeError):
    """The dates asked for cannot be synced; the message says which limit they break."""


def today(now: datetime | None = None) -> date:
    """Return the date in UTC, at this moment unless `now` says another."""
    return (now or datetime.now(UTC)).astimezone(UTC).date()


def latest_date(now: datetime | None = None) -> date:
    """Return the last partition: the latest calendar date anywhere on Earth."""
    return (now or datetime.now(UTC)).astimezone(_FURTHEST_AHEAD).date()


def dates_ahead(now: datetime | None = None) -> list[date]:
    """Return the date that has begun east of Greenwich but not in UTC: one from 10:00 UTC to midnight, else none.

    Most accounts have not reached it, so that it is no fault when BigQuery has nothing for it.
    """
    latest = latest_date(now)
    return [latest] if latest > today(now) else []


def dates_between(start: date, end: date, now: datetime | None = None) -> list[date]:
    """Return every date from `start` to `end`, both included.

    Raises:
        InvalidDates: `end` lies before `start`, `start` before the first partition, or `end` after the last.
    """
    first = daily.start.date()
    if end < start:
        raise InvalidDates(f"The end, {end}, lies before the start, {start}; swap them.")
    if start < first:
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
