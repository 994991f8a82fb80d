"""The daily partitions, defined once for every asset."""

from datetime import UTC, date, datetime, timedelta

from dagster import BackfillPolicy, DailyPartitionsDefinition

from engarde_pipeline.errors import EngardeError
from engarde_pipeline.settings import load_pipeline_settings

# `end_offset=1`: today is a partition too, provisional while the day is still filling.
daily = DailyPartitionsDefinition(start_date=load_pipeline_settings().engarde_first_date.isoformat(), end_offset=1)


def backfill_policy() -> BackfillPolicy:
    """Return how a backfill is split into runs; every asset of a job must share it (dagster issue 17404)."""
    dates = load_pipeline_settings().engarde_dates_per_run
    return BackfillPolicy.multi_run(dates) if dates else BackfillPolicy.single_run()


class InvalidDates(EngardeError):
    """The dates asked for cannot be synced; the message says which limit they break."""


def today() -> date:
    """Return the last partition's date (UTC)."""
    return datetime.now(UTC).date()


def dates_between(start: date, end: date) -> list[date]:
    """Return every date from `start` to `end`, both included.

    Raises:
        InvalidDates: `end` lies before `start`, `start` before the first partition, or `end` in the future.
    """
    first = daily.start.date()
    if end < start:
        raise InvalidDates(f"The end, {end}, lies before the start, {start}; swap them.")
    if start < first:
        raise InvalidDates(
            f"{start} lies before the first partition, {first}; start there, or set ENGARDE_FIRST_DATE"
            " to an earlier date."
        )
    if end > today():
        raise InvalidDates(f"{end} lies in the future; the last date that can be synced is today, {today()}.")
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]
