"""A slice and a dry run are configured in the Dagster UI; what is mistyped is refused before a run exists."""

import re
from datetime import timedelta

import pytest
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, DagsterRunStatus, RunsFilter
from playwright.sync_api import Page, expect

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.world import World

DAY = today() - timedelta(days=3)
SLICE = """\
ops:
  sync_the_slice:
    config:
      start: "{day}"
      end: "{day}"
      tenant: {tenant}
"""
DRY = "ops: {campaign_metrics: {config: {dry_run: true}}}"


def write_config(page: Page, config: str) -> None:
    """Replace what is in the editor of a launchpad; the graph of a job has an editor, too."""
    expect(page.get_by_text("Scaffold all default config")).to_be_visible()
    page.evaluate(
        "(text) => [...document.querySelectorAll('.CodeMirror')].pop().CodeMirror.setValue(text)", config
    )
    expect(page.get_by_text("No errors")).to_be_visible()


def succeeded(instance: DagsterInstance, job: str) -> bool:
    done = RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS])
    return bool(instance.get_runs(done))


@pytest.mark.long
def test_a_slice_and_a_dry_run_are_configured(
    sample_world: World, instance: DagsterInstance, ui: str, page: Page
) -> None:
    # The launchpad lists the tenants. A mistyped one is refused with a similar one, and no run exists.
    page.goto(f"{ui}/locations/engarde_pipeline/jobs/slice_sync/playground")
    launch = page.get_by_role("button", name="Launch Run")
    write_config(page, SLICE.format(day=DAY, tenant="Cobalt Leger"))
    launch.click()
    expect(page.get_by_text("Similar ones are: Cobalt Ledger").first).to_be_visible()
    assert instance.get_runs() == []

    # By its name, in any case, its rows alone are synced.
    page.get_by_role("button", name="OK", exact=True).click()
    write_config(page, SLICE.format(day=DAY, tenant="cobalt ledger"))
    launch.click()
    page.wait_for_url(re.compile("/runs/"))
    eventually(lambda: succeeded(instance, "slice_sync"), "the slice")
    synced = "SELECT DISTINCT name FROM campaign_metrics m JOIN tenants t ON t.id = m.tenant_id"
    assert sample_world.query(synced) == [{"name": "Cobalt Ledger"}]
    before = sample_world.query("SELECT count(*) FROM campaign_metrics")

    # All three assets are chosen by their job; one date with an option is one run.
    page.goto(f"{ui}/locations/engarde_pipeline/jobs/performance_sync")
    page.get_by_role("button", name="Materialize all").first.click()
    dialog = page.get_by_role("dialog").filter(has_text="Launch runs to materialize 3 assets")
    dates = dialog.locator("input[type=text]").first
    dates.fill(f"[{DAY}...{DAY}]")
    dates.press("Enter")
    dialog.get_by_text("Config", exact=True).click()
    dialog.get_by_role("button", name="Add config").click()
    write_config(page, DRY)
    page.get_by_role("button", name="Save config").click()
    expect(dialog.get_by_text("Config saved")).to_be_visible()
    dialog.get_by_role("button", name="Launch 1 run").click()
    eventually(lambda: succeeded(instance, "performance_sync"), "the dry run")
    assert sample_world.query("SELECT count(*) FROM campaign_metrics") == before
    (run,) = instance.get_runs(RunsFilter(job_name="performance_sync"))
    found = instance.fetch_observations(AssetRecordsFilter(AssetKey("campaign_metrics")), limit=10).records
    assert [record.partition_key for record in found if record.run_id == run.run_id] == [str(DAY)]

    # The asset says where its table is, what each column comes from, and where its code is.
    page.goto(f"{ui}/assets/campaign_metrics?view=overview")
    expect(page.get_by_text("spend (FLOAT64 or NUMERIC)").first).to_be_visible()
    expect(page.get_by_text("postgresql://").first).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("campaign_metrics.py"))).to_be_visible()
