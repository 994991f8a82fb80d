"""An analyst finds a date that differs from BigQuery, although others were synced since, and what differs."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from dagster import DagsterInstance
from playwright.sync_api import Page, expect

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.dagster_runs import checks_alone, run_range
from engarde_pipeline_tests.world import World

FIRST, LAST = today() - timedelta(days=6), today() - timedelta(days=3)
DIFFERS = today() - timedelta(days=5)


@pytest.fixture
def wrong_date(sample_world: World, instance: DagsterInstance) -> World:
    """The sample world, in which one of the dates that were synced and checked differs from BigQuery."""
    run_range(instance, FIRST, LAST)
    _add_to_spend(sample_world, 1)
    checks_alone(instance)
    run_range(instance, DIFFERS + timedelta(days=1), LAST)
    return sample_world


@pytest.mark.long
def test_a_date_that_differs_is_found_by_its_check(
    wrong_date: World, ui: str, page: Page, picture: Callable[[str], None]
) -> None:
    # The check is red, although the dates that were synced last are right.
    _open_dates_of_check(page, ui)
    expect(page.get_by_text("Failed (1)")).to_be_visible()
    expect(page.get_by_text("Passed (3)")).to_be_visible()

    # The date says what differs and what to do.
    page.get_by_text(str(DIFFERS), exact=True).filter(visible=True).first.click()
    expect(page.get_by_text("The sums of spend differ from BigQuery.")).to_be_visible()
    expect(page.get_by_text("what_to_do")).to_be_visible()
    picture("failed-check")

    # Once the numbers are right, all checks are executed again: the date is no longer red.
    _add_to_spend(wrong_date, -1)
    page.get_by_role("button", name="Execute all").click()
    expect(page.get_by_text("View all historical executions (3)")).to_be_visible(timeout=120_000)
    _open_dates_of_check(page, ui)
    expect(page.get_by_text("Passed (4)")).to_be_visible()


def _open_dates_of_check(page: Page, ui: str) -> None:
    page.goto(f"{ui}/assets/campaign_metrics?view=checks")
    page.get_by_text("sums_equal_bigquery").first.click()
    page.get_by_text("Partitions", exact=True).last.click()


def _add_to_spend(world: World, amount: int) -> None:
    world.connection.execute(
        "UPDATE campaign_metrics SET spend = spend + %s WHERE metric_date = %s", [amount, DIFFERS]
    )
