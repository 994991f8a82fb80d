"""Somebody previews a sync, starts it and watches it on the pages, while the real daemon runs it."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, expect

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.tokens import SYNC_ALL, mint
from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.api.service import SECRET, free_port
from engarde_pipeline_tests.browser.visits import PHONE, visit
from engarde_pipeline_tests.browser.visits import browser as browser
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.world import World

FIRST, LAST = today() - timedelta(days=6), today() - timedelta(days=2)


@pytest.fixture
def tenants(sample_world: World) -> list[UUID]:
    return [row["id"] for row in sample_world.query("SELECT id FROM tenants ORDER BY name")]


@pytest.fixture
def site(sample_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of the pages that `engarde dev` serves, with Dagster's daemon beside them."""
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    port, log = free_port(), tmp_path / "log"
    ports = ["--port", str(free_port()), "--metrics-port", str(free_port()), "--api-port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "engarde_pipeline.cli", "dev", *ports], stdout=output, stderr=output
        )
        try:
            eventually(lambda: _is_ready(process, log), "engarde dev is ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()  # it ends the daemon and the code server, too
            process.wait(timeout=60)


def _is_ready(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return "Everything is ready." in log.read_text()


@pytest.mark.long
def test_a_sync_is_previewed_started_and_watched_to_its_end(
    site: str, browser: Browser, tenants: list[UUID], sample_world: World
) -> None:
    with visit(browser, site, tenants[0]) as tab, visit(browser, site, tenants[0], viewport=PHONE) as watching:
        page = tab.page
        watching.open(f"/?start_date={FIRST}&end_date={LAST}")
        watching.is_live()
        tab.open("/sync")
        tab.picture("sync-form")
        page.get_by_label("First date").fill(str(FIRST))
        page.get_by_label("Last date").fill(str(LAST))
        page.get_by_role("button", name="Preview the changes").click()

        # The preview ends by itself on the screen, and has written nothing.
        expect(page.get_by_role("heading", name=f"Dry run of {FIRST} to {LAST}")).to_be_visible()
        expect(page.get_by_role("heading", name="Completed")).to_be_visible(timeout=120_000)
        expect(page.locator("#job-rows tbody tr")).to_have_count(10)
        tab.picture("sync-preview")
        assert sample_world.rows() == []
        assert watching.changes == 0

        # The sync is started from there. Dates appear as they land.
        page.get_by_role("button", name="Start this sync").click()
        expect(page.get_by_role("heading", name=f"Sync of {FIRST} to {LAST}")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.locator("#job-rows tbody tr").first).to_be_visible(timeout=120_000)
        expect(page.get_by_role("heading", name="Completed")).to_be_visible(timeout=120_000)
        expect(page.locator("#job-rows tbody tr")).to_have_count(10)
        tab.picture("sync-completed")
        expect(page.locator("[data-live-announced]")).to_have_text("Sync: Completed")
        assert {row["tenant_id"] for row in sample_world.rows()} == {tenants[0]}
        eventually(lambda: watching.changes > 0, "the other tab hears of it", seconds=10)

        # Both are in the history, the sync first.
        page.get_by_role("link", name="Sync", exact=True).first.click()
        jobs = page.locator("#history-rows tbody th")
        expect(jobs.nth(0)).to_have_text(f"Sync of {FIRST} to {LAST}")
        expect(jobs.nth(1)).to_have_text(f"Dry run of {FIRST} to {LAST}")
        tab.picture("sync-history")


@pytest.mark.long
def test_the_strip_of_dates_moves_while_a_sync_of_all_tenants_lands_them(
    site: str, browser: Browser, tenants: list[UUID]
) -> None:
    with visit(browser, site, tenants[0]) as tab, visit(browser, site, tenants[1]) as job:
        tab.open("/freshness")
        tab.is_live()
        campaigns = tab.page.get_by_role("region", name="Campaigns")
        expect(campaigns.get_by_text(f"{FIRST}: missing")).to_be_attached()
        token = mint(SECRET, tenants[0], "operator", timedelta(hours=1), SYNC_ALL)
        body = {"start_date": str(FIRST), "end_date": str(LAST), "all_tenants": True}
        started = httpx.post(
            f"{site}{PREFIX}/sync", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        job_id = started.raise_for_status().json()["sync_job"]["id"]
        job.open(f"/sync/{job_id}")

        for ago in range((LAST - FIRST).days + 1):
            day = FIRST + timedelta(days=ago)
            expect(campaigns.get_by_text(f"{day}: provisional")).to_be_attached(timeout=120_000)
        expect(tab.page.locator("#times time")).to_have_count(2)
        expect(job.page.get_by_role("heading", name="Completed")).to_be_visible(timeout=120_000)
        expect(job.page.get_by_text("Its counts are over all of them, and not shown.")).to_be_visible()
        assert tab.changes > 0
