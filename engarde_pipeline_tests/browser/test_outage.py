"""BigQuery is down: the Dagster UI shows it in red with the reason, and afterwards when the sources changed."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline_tests.bigquery.faulty import Proxy, refusal, rest_proxy
from engarde_pipeline_tests.world import World


@pytest.fixture
def down(sample_world: World, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A BigQuery that refuses everything until its faults are cleared."""
    with rest_proxy(emulator.rest_url) as proxy:
        proxy.fail("/tables/", refusal(403, "accessDenied", "Access Denied."))
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.mark.long
def test_an_outage_is_seen_and_so_is_its_end(
    down: Proxy, ui: str, page: Page, picture: Callable[[str], None]
) -> None:
    page.goto(f"{ui}/locations/__repository__@engarde_pipeline/sensors/changed_partitions")
    failed = page.get_by_text("Failure", exact=True).first
    expect(failed).to_be_visible(timeout=120_000)
    picture("failed-tick")
    page.get_by_text("View", exact=True).first.click()
    expect(
        page.get_by_text(re.compile("could not be checked for changes: BigQuery denies access")).first
    ).to_be_visible()
    picture("failed-tick-reason")

    down.faults.clear()
    page.goto(f"{ui}/assets/bigquery_campaign_metrics?view=events")
    expect(page.get_by_text(re.compile("Dates to sync: campaign_metrics")).first).to_be_visible(timeout=120_000)
    picture("source")
    page.goto(f"{ui}/assets/bigquery_campaign_metrics?view=overview")
    page.wait_for_timeout(3000)
    picture("source-overview")
