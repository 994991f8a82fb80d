"""The checks of a metric table have a result for each date, which stays until that date is checked again."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.dagster_runs import checks_alone, run_range
from engarde_pipeline_tests.defs.graphql import checked_dates, last_result
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

FIRST = today() - timedelta(days=4)
SECOND, THIRD = FIRST + timedelta(days=1), FIRST + timedelta(days=2)
PASSED, FAILED = "SUCCEEDED", "FAILED"
SUMS = "sums_equal_bigquery"
WHAT_TO_DO = "what_to_do"


@pytest.fixture(params=["postgres", "sqlite"])
def any_instance(
    configured: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    """A real instance with its history in Postgres or in SQLite."""
    if request.param == "sqlite":
        monkeypatch.delenv("DAGSTER_DATABASE_URL")
    with DagsterInstance.get() as opened:
        assert ("Sqlite" in type(opened.event_log_storage).__name__) == (request.param == "sqlite")
        yield opened


def test_a_date_that_differs_is_failed_until_its_own_numbers_are_right(
    any_instance: DagsterInstance, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load(FIRST, SECOND, THIRD)
    run_range(any_instance, FIRST, THIRD)
    for check, dates in checked_dates(any_instance).items():
        assert dates == {FIRST: PASSED, SECOND: PASSED, THIRD: PASSED}, check

    _change(shop, FIRST, "spend = spend + 0.5")
    checks_alone(any_instance)
    differs = {FIRST: FAILED, SECOND: PASSED, THIRD: PASSED}
    assert checked_dates(any_instance)[SUMS] == differs

    run_range(any_instance, SECOND, THIRD)
    run_range(any_instance, FIRST, FIRST, {"dry_run": True})
    with monkeypatch.context() as wrong:
        wrong.setenv("BIGQUERY_PROJECT_ID", "somebody-elses")
        assert not run_range(any_instance, FIRST, THIRD).success
    assert checked_dates(any_instance)[SUMS] == differs

    result = last_result(any_instance, SUMS, FIRST)
    assert result["description"] == "The sums of spend differ from BigQuery."
    (difference,) = result["metadata"]["differences"]
    assert difference == {
        "measure": "spend",
        "currency": "",
        "bigquery": "21",
        "postgres": "22",
        "difference": "1",
    }
    assert "engarde sync" in result["metadata"][WHAT_TO_DO]

    run_range(any_instance, FIRST, FIRST)
    assert checked_dates(any_instance)[SUMS] == dict.fromkeys((FIRST, SECOND, THIRD), PASSED)


def test_a_range_in_which_a_date_is_refused_is_checked_all_the_same(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    run_range(instance, FIRST, SECOND)
    shop.load(THIRD)
    shop.world.replace(SECOND, [])

    assert not run_range(instance, FIRST, THIRD).success

    checked = checked_dates(instance)
    assert checked[SUMS] == {FIRST: PASSED, SECOND: FAILED, THIRD: PASSED}
    assert checked["records_accounted_for"] == dict.fromkeys((FIRST, SECOND, THIRD), PASSED)


def test_each_date_of_a_range_has_its_own_reason(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, clicks=1001)
    shop.load(SECOND, THIRD)
    shop.load_unmapped(THIRD)
    run_range(instance, FIRST, THIRD)

    checked = checked_dates(instance)
    assert checked["clicks_not_above_impressions"] == {FIRST: FAILED, SECOND: PASSED, THIRD: PASSED}
    assert checked["rejected_share_below_5_percent"] == {FIRST: PASSED, SECOND: PASSED, THIRD: FAILED}
    clicks = last_result(instance, "clicks_not_above_impressions", FIRST)
    assert (clicks["severity"], clicks["metadata"]) == ("WARN", {"rows": 2})
    rejected = last_result(instance, "rejected_share_below_5_percent", THIRD)
    assert (rejected["severity"], rejected["description"]) == ("ERROR", "1 of 3 records rejected.")
    assert last_result(instance, "rejected_share_below_5_percent", SECOND)["metadata"]["processed"] == 2


def test_a_date_that_was_never_synced_is_not_checked(instance: DagsterInstance, shop: Shop) -> None:
    shop.load(FIRST, SECOND)
    run_range(instance, FIRST, FIRST)

    checks_alone(instance)

    assert checked_dates(instance)[SUMS] == {FIRST: PASSED}


def _change(shop: Shop, day: date, assignment: str) -> None:
    shop.world.connection.execute(
        f"UPDATE campaign_metrics SET {assignment} WHERE metric_date = %s".encode(), [day]
    )
