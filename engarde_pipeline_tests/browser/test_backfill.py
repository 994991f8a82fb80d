"""An analyst backfills a range in the Dagster UI in which one date is poisoned, and reads what became of it."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.browser.conftest import DATES
from engarde_pipeline_tests.world import World

FIRST, LAST = today() - timedelta(days=9), today() - timedelta(days=2)
POISONED, GOOD = today() - timedelta(days=5), today() - timedelta(days=3)


@pytest.fixture
def poisoned(sample_world: World) -> World:
    """The sample world, in which BigQuery has lost the rows of a date that Postgres has."""
    sample_world.sync_one(POISONED)
    table = f"{sample_world.dataset}.campaign_metrics"
    sample_world.execute(f"DELETE FROM {table} WHERE metric_date = '{POISONED}'")
    return sample_world


@pytest.mark.long
def test_a_range_is_backfilled_and_told_date_by_date(
    poisoned: World, ui: str, page: Page, picture: Callable[[str], None]
) -> None:
    # The dates, all of them missing.
    page.goto(f"{ui}/assets/campaign_metrics?view=partitions")
    expect(page.get_by_text(f"Missing ({DATES})")).to_be_visible()

    # The range is chosen and launched.
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    dates = dialog.locator("input[type=text]").first
    dates.fill(f"[{FIRST}...{LAST}]")
    dates.press("Enter")
    expect(dialog.get_by_text("8 partitions")).to_be_visible()
    picture("backfill")
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(dialog).to_be_hidden()

    # It is watched until it ends: seven dates are synced, the poisoned one has failed.
    page.goto(f"{ui}/assets/campaign_metrics?view=partitions")
    expect(page.get_by_text("Materialized (7)")).to_be_visible(timeout=120_000)
    expect(page.get_by_text("Failed (1)")).to_be_visible(timeout=120_000)

    # A date that landed shows its counts.
    page.goto(f"{ui}/assets/campaign_metrics?view=partitions&partition={GOOD}")
    processed = page.get_by_role("row").filter(has_text="records_processed")
    expect(processed).to_contain_text(re.compile(r"\d\d"))
    picture("date")

    # The failed date is shown as failed, and its run says why and what to do.
    page.goto(f"{ui}/assets/campaign_metrics?view=partitions&partition={POISONED}")
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    picture("failed-date")
    page.get_by_text("View logs").click()
    expect(page.get_by_text(re.compile(f"1 of 8 dates did not land: {POISONED}")).first).to_be_visible()
    picture("failed-run")

    # Once its cause is gone, the failed date alone is done again.
    poisoned.connection.execute("DELETE FROM campaign_metrics WHERE metric_date = %s", [POISONED])
    page.goto(f"{ui}/assets/campaign_metrics?view=partitions")
    page.get_by_role("button", name="Materialize").first.click()
    dialog.get_by_role("button", name="Failed", exact=True).click()
    expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
    dialog.get_by_role("button", name=re.compile("^Launch")).click()
    expect(page.get_by_text("Materialized (8)")).to_be_visible(timeout=120_000)
    page.goto(f"{ui}/assets/campaign_metrics?view=partitions&partition={GOOD}")
    expect(page.get_by_text("View all historical events (1)")).to_be_visible()

    # Over the dates, the numbers are plotted.
    page.goto(f"{ui}/assets/campaign_metrics?view=overview")
    page.get_by_text("Plots", exact=True).click()
    plot = page.locator("canvas").last
    plot.scroll_into_view_if_needed()
    expect(page.get_by_text("spend", exact=True).last).to_be_visible()
    expect(plot).to_be_visible()
    picture("plots")
