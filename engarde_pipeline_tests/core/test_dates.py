"""The daily partitions: which dates can be synced, and what a person is told about the others."""

from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.dates import (
    InvalidDates,
    dates_ahead,
    dates_between,
    described_dates,
    latest_date,
    parse_date,
    requested_dates,
    today,
)
from engarde_pipeline.defs.partitions import daily
from engarde_pipeline_tests.conftest import FIRST_DATE

FIRST = date.fromisoformat(FIRST_DATE)
DAY = timedelta(days=1)
THE_5TH, THE_6TH = date(2026, 3, 5), date(2026, 3, 6)

# UTC+14 begins the 6th at 10:00 UTC on the 5th.
AROUND_THE_WORLD = pytest.mark.parametrize(
    ("now", "in_utc", "latest"),
    [
        ("2026-03-05T00:00:00+00:00", THE_5TH, THE_5TH),
        ("2026-03-05T09:59:59+00:00", THE_5TH, THE_5TH),
        ("2026-03-05T10:00:00+00:00", THE_5TH, THE_6TH),
        ("2026-03-05T23:59:59+00:00", THE_5TH, THE_6TH),
        ("2026-03-06T00:00:00+00:00", THE_6TH, THE_6TH),
        ("2026-03-05T16:00:00-08:00", THE_6TH, THE_6TH),
    ],
)


@AROUND_THE_WORLD
def test_the_last_partition_is_the_latest_date_on_earth(now: str, in_utc: date, latest: date) -> None:
    moment = datetime.fromisoformat(now)

    assert (today(moment), latest_date(moment)) == (in_utc, latest)
    assert dates_ahead(moment) == [day for day in [latest] if day > in_utc]
    keys = daily.get_partition_keys(current_time=moment)
    assert (keys[0], keys[-2], keys[-1]) == (str(FIRST), str(latest - DAY), str(latest))


@AROUND_THE_WORLD
def test_the_future_begins_after_the_latest_date_on_earth(now: str, in_utc: date, latest: date) -> None:
    moment = datetime.fromisoformat(now)

    assert dates_between(in_utc, latest, moment)[-1] == latest
    with pytest.raises(
        InvalidDates, match=rf"{latest + DAY} is in the future\. The last date that can be synced is {latest}"
    ):
        dates_between(latest, latest + DAY, moment)


def test_a_process_that_lives_into_a_new_date_has_its_partition() -> None:
    with DagsterInstance.ephemeral() as instance:
        keys = daily.get_partition_keys(dynamic_partitions_store=instance)
    assert keys[-1] == daily.get_last_partition_key() == latest_date().isoformat()
    tomorrow = datetime.now(UTC) + DAY
    assert daily.get_partition_keys(current_time=tomorrow)[-1] == latest_date(tomorrow).isoformat()


def test_the_first_partition_is_the_first_date() -> None:
    assert daily.get_first_partition_key() == FIRST.isoformat()


def test_today_is_the_date_in_utc() -> None:
    assert today() in {datetime.now(UTC).date(), (datetime.now(UTC) - timedelta(minutes=1)).date()}


def test_both_ends_are_included() -> None:
    assert dates_between(date(2026, 2, 27), date(2026, 3, 1)) == [
        date(2026, 2, 27),
        date(2026, 2, 28),
        date(2026, 3, 1),
    ]


@pytest.mark.parametrize("day", [FIRST, date(2028, 2, 29)])
def test_a_single_date_is_a_range(day: date) -> None:
    assert dates_between(day, day, now=datetime(2028, 3, 1, tzinfo=UTC)) == [day]


def test_today_can_be_synced() -> None:
    assert dates_between(today() - DAY, today())[-1] == today()


def test_every_date_between_is_a_partition() -> None:
    keys = set(daily.get_partition_keys())
    assert {day.isoformat() for day in dates_between(FIRST, latest_date())} == keys


def test_an_end_before_the_start_says_to_swap_them() -> None:
    with pytest.raises(InvalidDates, match=r"end date 2026-03-01 is before the start date 2026-03-02\. Swap them"):
        dates_between(date(2026, 3, 2), date(2026, 3, 1))


def test_a_start_before_the_first_partition_says_how_to_move_it() -> None:
    with pytest.raises(
        InvalidDates,
        match=r"2025-12-31 is before the first partition, 2026-01-01\. Start there, or set ENGARDE_FIRST_DATE",
    ):
        dates_between(FIRST - DAY, FIRST)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-02-28", "2026-02-28"),
        ("today", "2026-03-05"),
        ("yesterday", "2026-03-04"),
        ("-7d", "2026-02-26"),
        ("-0d", "2026-03-05"),
    ],
)
def test_a_date_can_be_written_in_words(text: str, day: str) -> None:
    # It is the 6th already where most people are asleep; the dates of words are those of UTC.
    assert parse_date(text, datetime(2026, 3, 5, 23, tzinfo=UTC)) == date.fromisoformat(day)


@pytest.mark.parametrize(
    "text", ["2026-02-30", "20260228", "2026-W09-1", "01.02.2026", "7d", "--7d", "", "tomorrow"]
)
def test_what_is_not_a_date_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(InvalidDates, match=r"is not a date\. Write it as 2026-11-01, today, yesterday or -7d"):
        parse_date(text)


def test_a_range_without_an_end_ends_today() -> None:
    assert requested_dates("yesterday") == [today() - DAY, today()]
    assert requested_dates(FIRST, "2026-01-02") == [FIRST, FIRST + DAY]
    assert requested_dates(latest_date()) == [latest_date()]


def test_dates_are_described_by_their_ranges() -> None:
    days = [FIRST + n * DAY for n in (4, 0, 1, 2, 6, 2)]
    assert described_dates(days) == "2026-01-01 .. 2026-01-03, 2026-01-05, 2026-01-07"
