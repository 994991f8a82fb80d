"""The daily partitions: which dates can be synced, and what a person is told about the others."""

from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import DagsterInstance

from engarde_pipeline.partitions import InvalidDates, daily, dates_between, today

FIRST = date(2020, 1, 1)
DAY = timedelta(days=1)


def test_today_is_a_partition() -> None:
    with DagsterInstance.ephemeral() as instance:
        keys = daily.get_partition_keys(dynamic_partitions_store=instance)
    assert keys[-1] == today().isoformat()


def test_a_process_that_lives_past_midnight_has_the_new_date() -> None:
    assert daily.get_last_partition_key() == today().isoformat()
    tomorrow = datetime.now(UTC) + DAY
    assert daily.get_partition_keys(current_time=tomorrow)[-1] == tomorrow.date().isoformat()


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


@pytest.mark.parametrize("day", [FIRST, date(2024, 2, 29)])
def test_a_single_date_is_a_range(day: date) -> None:
    assert dates_between(day, day) == [day]


def test_today_can_be_synced() -> None:
    assert dates_between(today() - DAY, today())[-1] == today()


def test_every_date_between_is_a_partition() -> None:
    keys = set(daily.get_partition_keys())
    assert {day.isoformat() for day in dates_between(FIRST, today())} == keys


def test_an_end_before_the_start_says_to_swap_them() -> None:
    with pytest.raises(InvalidDates, match="The end, 2026-03-01, lies before the start, 2026-03-02; swap them"):
        dates_between(date(2026, 3, 2), date(2026, 3, 1))


def test_a_start_before_the_first_partition_says_how_to_move_it() -> None:
    with pytest.raises(
        InvalidDates,
        match="2019-12-31 lies before the first partition, 2020-01-01; start there, or set ENGARDE_FIRST_DATE",
    ):
        dates_between(FIRST - DAY, FIRST)


def test_a_future_end_says_which_date_is_the_last() -> None:
    tomorrow = today() + DAY
    with pytest.raises(InvalidDates, match=f"{tomorrow} lies in the future; .* today, {today()}"):
        dates_between(today(), tomorrow)
