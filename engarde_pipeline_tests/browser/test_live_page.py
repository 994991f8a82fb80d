"""Pages that are open while numbers change, sessions expire and Postgres restarts."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from dagster import DagsterInstance
from playwright.sync_api import Browser, expect

from engarde_pipeline.core.dates import today
from engarde_pipeline.local import postgres
from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline_tests.api.service import Service, serving, settings
from engarde_pipeline_tests.browser.visits import browser as browser
from engarde_pipeline_tests.browser.visits import visit
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.servers import embedded_server
from engarde_pipeline_tests.shop import NUMBERS, Shop
from engarde_pipeline_tests.world import World

DAY = today() - timedelta(days=3)


@pytest.fixture
def site(shop: Shop, instance: DagsterInstance) -> Iterator[Service]:
    with serving(settings(shop.world.database_url), instance) as service:
        yield service


@pytest.fixture
def other(shop: Shop) -> UUID:
    tenant = shop.world.tenant("Other")
    shop.world.campaign(tenant, "o1")
    return tenant


def _row(tenant: UUID, campaign: str, clicks: int) -> dict[str, object]:
    return {
        "tenant_id": str(tenant),
        "campaign_id": campaign,
        "platform": "meta",
        "metric_date": DAY,
        **NUMBERS,
        "clicks": clicks,
    }


@pytest.mark.long
def test_the_page_of_one_tenant_moves_and_that_of_the_other_does_not(
    site: Service, browser: Browser, shop: Shop, other: UUID
) -> None:
    shop.world.load([_row(shop.tenant, "c1", 1), _row(other, "o1", 1)])
    shop.world.sync_one(DAY)
    with visit(browser, site.url, shop.tenant) as ours, visit(browser, site.url, other) as theirs:
        for tab in (ours, theirs):
            tab.open("/freshness")
            tab.is_live()
        shop.world.replace(DAY, [_row(shop.tenant, "c1", 2), _row(other, "o1", 1)])
        shop.world.sync_one(DAY)
        eventually(lambda: ours.changes == 1, "the tenant hears of its change", seconds=20)
        assert theirs.changes == 0

        shop.world.replace(DAY, [_row(shop.tenant, "c1", 2), _row(other, "o1", 3)])
        shop.world.sync_one(DAY)
        eventually(lambda: theirs.changes == 1, "the other one hears of its own", seconds=20)
        assert ours.changes == 1


@pytest.mark.long
def test_what_needs_attention_appears_without_a_reload(site: Service, browser: Browser, shop: Shop) -> None:
    shop.load(DAY)
    shop.world.sync_one(DAY)
    with visit(browser, site.url, shop.tenant) as tab:
        tab.open("/attention")
        tab.is_live()
        shop.load_unmapped(DAY)
        shop.load(DAY)  # one of its numbers changes, too
        shop.world.sync_one(DAY)
        expect(tab.page.get_by_role("heading", name="Campaign not mapped")).to_be_visible()


@pytest.mark.long
def test_an_expired_session_asks_for_the_login(site: Service, browser: Browser, shop: Shop) -> None:
    with visit(browser, site.url, shop.tenant, timedelta(seconds=8)) as tab:
        tab.open("/sync")
        tab.is_live()
        tab.page.get_by_label("First date").fill("2026-11-01")
        again = tab.page.get_by_role("link", name="Log in again")
        expect(again).to_be_visible()
        # What was typed is still there, until the person goes to the login.
        expect(tab.page.get_by_label("First date")).to_have_value("2026-11-01")
        assert again.get_attribute("href") == "/login?next=%2Fsync"
        expect(tab.page.locator("[data-live-announced]")).to_have_text("Log in again")
        again.click()
        expect(tab.page.get_by_role("heading", name="Log in")).to_be_visible()


@pytest.mark.long
def test_a_tab_that_comes_back_reads_its_numbers_again(site: Service, browser: Browser, shop: Shop) -> None:
    with visit(browser, site.url, shop.tenant) as tab:
        tab.open("/freshness")
        tab.is_live()
        tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
        eventually(lambda: len(site.app.state.live_updates) == 0, "the connection is closed", seconds=40)
        tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        eventually(lambda: tab.changes == 1, "the page is told to read again", seconds=20)
        tab.is_live()


@pytest.mark.long
def test_pages_recover_by_themselves_after_postgres_has_restarted(
    browser: Browser, emulator: Emulator, instance: DagsterInstance, tmp_path: Path
) -> None:
    with embedded_server(tmp_path / "server") as url:
        migrate.upgrade(url)
        world = World(url, emulator)
        shop = Shop(world)
        shop.load(DAY)
        with serving(settings(url), instance) as site, visit(browser, site.url, shop.tenant) as tab:
            tab.open("/freshness")
            tab.is_live()
            expect(tab.page.get_by_text(f"{DAY}: missing").first).to_be_attached()

            world.connection.close()
            postgres.stop(tmp_path / "server")
            postgres.start(tmp_path / "server")
            again = World(url, emulator)
            again.dataset, again.source, again.columns = world.dataset, world.source, world.columns
            again.sync_one(DAY, versions={DAY: "1"})

            campaigns = tab.page.get_by_role("region", name="Campaigns")
            expect(campaigns.get_by_text(f"{DAY}: provisional")).to_be_attached()
            tab.is_live()
            before = tab.changes
            again.replace(DAY, [_row(shop.tenant, "c1", 99)])
            again.sync_one(DAY, allowed=["allow_shrink"])
            eventually(lambda: tab.changes > before, "the page hears of the next change", seconds=40)
            again.connection.close()
