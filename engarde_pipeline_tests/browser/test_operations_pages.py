"""Freshness, Needs attention and Sync for everyone: both colour schemes, phones, the keyboard, no JavaScript."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from dagster import DagsterInstance
from playwright.sync_api import Browser, Page, expect

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.api.conftest import api as api
from engarde_pipeline_tests.api.conftest import daemon as daemon
from engarde_pipeline_tests.api.conftest import dagster_database_url as dagster_database_url
from engarde_pipeline_tests.api.conftest import shared_history as shared_history
from engarde_pipeline_tests.api.conftest import webserver_url as webserver_url
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.browser.visits import PHONE, visit
from engarde_pipeline_tests.browser.visits import browser as browser
from engarde_pipeline_tests.dagster_runs import execute, run_range, run_slice
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.test_attention import HOSTILE, reject

DAY = today() - timedelta(days=5)


class Busy:
    """A tenant of whom every page has something to show, and the addresses of these pages."""

    def __init__(self, shop: Shop, instance: DagsterInstance) -> None:
        self.shop = shop
        days = [DAY - timedelta(days=n) for n in range(3)]
        shop.load(*days)
        run_range(instance, days[-1], days[0])
        dates = {"start": str(days[-1]), "end": str(days[0]), "tenant": str(shop.tenant)}
        shop.world.replace(DAY, [])
        self.dry_run = run_slice(instance, {**dates, "dry_run": True}).run_id
        self.failed = run_slice(instance, dates).run_id
        for number, hostile in enumerate(HOSTILE):
            keys = {"campaign_id": hostile, "platform": hostile}
            reason = ["campaign_not_mapped", "not_a_number", "null_key"][number % 3]
            reject(shop.world, shop.tenant, reason, DAY, keys=keys, sentence=hostile, currency="EUR")
        shop.world.connection.execute(
            "INSERT INTO held_dates (table_name, metric_date, reason, evidence, run_id)"
            " VALUES ('campaign_metrics', %s, 'repeated', 'evidence', %s)",
            [DAY - timedelta(days=9), uuid4()],
        )
        for hostile in HOSTILE:
            shop.world.connection.execute(
                "INSERT INTO campaign_spaces (tenant_id, name, platform, external_campaign_id)"
                " VALUES (%(tenant)s, %(name)s, %(name)s, %(name)s)",
                {"tenant": shop.tenant, "name": hostile},
            )
        self.paths = {
            "freshness": "/freshness",
            "freshness-year": "/freshness?days=365",
            "attention": "/attention",
            "rejected": "/attention/rejected?reason=campaign_not_mapped",
            "sync": f"/sync?action=find&campaign_space_ids={shop.first}",
            "dry-run": f"/sync/{self.dry_run}",
            "failed-job": f"/sync/{self.failed}",
        }


@pytest.fixture
def busy(shop: Shop, instance: DagsterInstance) -> Busy:
    return Busy(shop, instance)


@pytest.mark.long
def test_every_page_is_accessible_and_fits_in_both_colour_schemes_on_desktops_and_phones(
    api: Service, browser: Browser, busy: Busy
) -> None:
    found = {}
    for scheme in ("light", "dark"):
        for device, size in (("desktop", None), ("phone", PHONE)):
            options: dict[str, Any] = {"color_scheme": scheme, **({"viewport": size} if size else {})}
            with visit(browser, api.url, busy.shop.tenant, **options) as tab:
                for name, path in busy.paths.items():
                    tab.open(path)
                    for details in tab.page.locator("details:not([open]) > summary").all():
                        details.click()
                    tab.picture(f"{name}-{device}-{scheme}")
                    problems = tab.violations() + ([f"{tab.overflow} px too wide"] if tab.overflow > 0 else [])
                    if problems:
                        found[name, device, scheme] = problems
    assert found == {}


@pytest.mark.long
def test_hostile_names_run_nothing(api: Service, browser: Browser, busy: Busy) -> None:
    with visit(browser, api.url, busy.shop.tenant) as tab:
        tab.page.on("dialog", lambda dialog: tab.complaints.append(dialog.message))
        for path in busy.paths.values():
            tab.open(path)
            assert tab.page.locator("img").count() == 0
            assert not re.search(r"\b49\b", tab.page.locator("h1").inner_text())
        tab.open("/attention")
        for hostile in HOSTILE[:3]:
            expect(tab.page.get_by_text(hostile).first).to_be_visible()


@pytest.mark.long
def test_a_sync_is_started_with_the_keyboard_alone(
    api: Service, browser: Browser, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    with visit(browser, api.url, shop.tenant) as tab:
        page = tab.page
        tab.open("/sync")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        _tab_to(page, "Choose campaigns")
        page.keyboard.press("Enter")
        _tab_to(page, "c2")
        page.keyboard.press("Space")
        _tab_to(page, "Preview the changes")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=re.compile("^Dry run of"))).to_be_visible()
        (run,) = instance.get_runs()
        execute(instance, run.run_id)
        expect(page.get_by_role("heading", name="Completed")).to_be_visible()
        _tab_to(page, "Start this sync")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=re.compile("^Sync of"))).to_be_visible()
        newest = instance.get_runs()[0]
        execute(instance, newest.run_id)
        expect(page.get_by_role("heading", name="Completed")).to_be_visible()
    assert {row["campaign_space_id"] for row in shop.world.rows()} == {shop.second}


def _tab_to(page: Page, text: str) -> None:
    """Press Tab until the element with this text has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if text in page.evaluate("(document.activeElement.closest('label') || document.activeElement).innerText"):
            return
    raise AssertionError(f"{text!r} cannot be reached with the keyboard")


@pytest.mark.long
def test_everything_but_the_live_parts_works_without_javascript(
    api: Service, browser: Browser, instance: DagsterInstance, shop: Shop
) -> None:
    shop.load(DAY)
    reject(shop.world, shop.tenant, "null_key", DAY)
    with visit(browser, api.url, shop.tenant, java_script_enabled=False) as tab:
        page = tab.page
        tab.open("/attention")
        page.get_by_role("link", name="1 record").click()
        expect(page.get_by_role("heading", name="Null key")).to_be_visible()
        page.get_by_role("link", name="Sync").click()
        page.get_by_label("First date").fill(str(DAY))
        page.get_by_label("Last date").fill("2026-01-01")
        page.get_by_role("button", name="Preview the changes").click()
        expect(page.get_by_text(re.compile("is before the start date"))).to_be_visible()
        expect(page.get_by_label("First date")).to_have_value(str(DAY))
        page.get_by_label("Last date").fill(str(DAY))
        page.get_by_text("Choose campaigns").click()
        page.get_by_label("Name or id on the ad platform").fill("c2")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("checkbox", name=re.compile("c2")).check()
        page.get_by_role("button", name="Sync without a preview").click()
        expect(page.get_by_role("heading", name="Waiting")).to_be_visible()
        (run,) = instance.get_runs()
        execute(instance, run.run_id)
        # The page reads itself again.
        expect(page.get_by_role("heading", name="Completed")).to_be_visible()
        page.get_by_role("link", name="Freshness").click()
        page.get_by_text("The same as a table").click()
        expect(page.get_by_role("rowheader", name=str(DAY))).to_be_visible()
    assert {row["campaign_space_id"] for row in shop.world.rows()} == {shop.second}


@pytest.mark.long
def test_an_open_table_and_the_focus_stay_when_the_strip_is_read_again(
    api: Service, browser: Browser, busy: Busy
) -> None:
    with visit(browser, api.url, busy.shop.tenant) as tab:
        tab.open("/freshness")
        summary = tab.page.get_by_text("The same as a table")
        summary.click()
        tab.page.get_by_role("link", name="90 days").focus()
        with tab.page.expect_response(re.compile("/freshness")):
            tab.page.evaluate("document.body.dispatchEvent(new Event('engarde:changed', { bubbles: true }))")
        expect(tab.page.get_by_role("rowheader", name=str(DAY))).to_be_visible()
        expect(tab.page.get_by_role("link", name="90 days")).to_be_focused()
