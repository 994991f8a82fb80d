"""An analyst looks at the pages of dates that were refused, allowed or synced in part, and at the runs."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from dagster import DagsterInstance
from playwright.sync_api import Locator, Page, expect

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.dagster_runs import run_range, run_slice
from engarde_pipeline_tests.world import World

FIRST, LAST = today() - timedelta(days=8), today() - timedelta(days=3)
REFUSED, ALLOWED, SLICED, NEVER_LANDED = (FIRST + timedelta(days=number) for number in range(4))


def _entry(page: Page, name: str) -> Locator:
    """Return the row of a metadata entry on the page of a date."""
    return page.locator(f"xpath=//tr[td[1][normalize-space()='{name}']]")


@pytest.mark.long
def test_the_page_of_a_date_says_what_became_of_it(
    sample_world: World, instance: DagsterInstance, ui: str, page: Page, picture: Callable[[str], None]
) -> None:
    def of_date(day: date) -> str:
        return f"{ui}/assets/campaign_metrics?view=partitions&partition={day}"

    def delete(day: date, condition: str = "true") -> None:
        table = f"{sample_world.dataset}.campaign_metrics"
        sample_world.execute(f"DELETE FROM {table} WHERE metric_date = '{day}' AND {condition}")

    assert run_range(instance, FIRST, SLICED).success
    delete(REFUSED)
    assert not run_range(instance, REFUSED, REFUSED).success
    delete(ALLOWED, "platform <> 'meta'")
    assert run_range(instance, ALLOWED, ALLOWED, {"allow_shrink": True}).success
    assert run_slice(instance, {"start": str(SLICED), "end": str(SLICED), "platforms": ["meta"]}).success
    assert run_range(instance, SLICED, SLICED, {"dry_run": True}).success
    sample_world.connection.execute("ALTER TABLE campaign_metrics RENAME TO renamed")
    assert not run_range(instance, NEVER_LANDED, NEVER_LANDED).success

    # A date that was refused has its old numbers, and above them the reason and what to do.
    page.goto(of_date(REFUSED))
    expect(_entry(page, "did_not_land")).to_contain_text("sync again with allow_shrink")
    expect(_entry(page, "held")).to_contain_text("would_shrink")
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    picture("date-refused")
    page.get_by_role("button", name="View logs").click()
    expect(page.get_by_text(f"The date {REFUSED} did not land.").first).to_be_visible()
    picture("date-refused-log")

    # A date that never landed has no metadata; its events have the reason.
    page.goto(of_date(NEVER_LANDED))
    page.get_by_role("button", name="View all historical events (1)").click()
    page.get_by_role("dialog").get_by_text("Observation").click()
    expect(page.get_by_role("dialog").get_by_text("The date did not land:")).to_contain_text("campaign_metrics")
    expect(page.get_by_role("dialog")).not_to_contain_text("Traceback")
    picture("date-never-landed")

    # A date that was allowed to shrink says so, with the sums before and the campaigns that moved most.
    page.goto(of_date(ALLOWED))
    expect(_entry(page, "allowed")).to_contain_text("allow_shrink")
    expect(_entry(page, "spend_before_EUR")).to_be_visible()
    expect(_entry(page, "spend_change_EUR")).to_contain_text("-")
    picture("date-allowed")
    changes = _entry(page, "largest_changes")
    expect(changes).to_contain_text("spend_after")
    changes.scroll_into_view_if_needed()
    picture("date-changes")

    # A slice or a dry run stands beside the numbers of the date.
    page.goto(of_date(SLICED))
    expect(_entry(page, "slice")).to_contain_text("platform meta")
    for name in ("records_inserted", "slice_records_inserted", "dry_run_records_inserted"):
        expect(_entry(page, name)).to_be_visible()
    expect(_entry(page, "slice_records_inserted").locator("td").nth(1)).to_have_text("0")
    expect(_entry(page, "records_inserted").locator("td").nth(1)).not_to_have_text("0")
    picture("date-slice")

    # The list of runs shows dates, and no counts.
    page.goto(f"{ui}/runs")
    expect(page.get_by_text(f"engarde/dates: {FIRST} .. {SLICED}")).to_be_visible()
    expect(page.get_by_text("records_processed")).to_have_count(0)
    picture("runs")
