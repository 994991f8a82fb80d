"""A person logs in to the pages in a browser, switches between tenants, and logs out."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from dagster import DagsterInstance
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from engarde_pipeline.web.login_links import LoginLinks
from engarde_pipeline_tests.api.service import Service, free_port, serving, settings
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.web.provider import Provider, running_provider

pytestmark = pytest.mark.long


@pytest.fixture
def provider(shop: Shop) -> Iterator[Provider]:
    with running_provider() as running:
        running.asks = True
        running.claims["tenant_ids"] = [str(shop.tenant), str(shop.world.tenant("Zebra"))]
        yield running


@pytest.fixture
def service(shop: Shop, instance: DagsterInstance, provider: Provider) -> Iterator[Service]:
    port = free_port()
    # Two origins also by the rules of cookies, as in production.
    values = provider.variables(f"http://localhost:{port}")
    with serving(settings(shop.world.database_url, **values), instance, port=port) as running:
        running.url = f"http://localhost:{port}"
        yield running


@pytest.fixture
def console(page: Page) -> list[str]:
    """What the browser complains about, such as a policy that was violated."""
    messages: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Chromium asks each server for an icon.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            messages.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: messages.append(str(error)))
    return messages


def accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_person_logs_in_switches_and_logs_out(service: Service, page: Page, console: list[str]) -> None:
    wanted = f"{service.url}/?start_date=2026-03-01&end_date=2026-03-02"
    page.goto(wanted)
    expect(page).to_have_url(re.compile("/login"))
    accessible(page)
    page.get_by_role("link", name="Log in").click()
    page.get_by_role("button", name="Sign in as Ada").click()

    expect(page).to_have_url(wanted)
    tenant = page.get_by_label("Tenant")
    expect(tenant.locator("option:checked")).to_have_text("Acme")
    assert page.evaluate("document.cookie") == ""
    accessible(page)

    tenant.select_option(label="Zebra")
    page.get_by_role("button", name="Switch").click()
    expect(page).to_have_url(f"{service.url}/")
    expect(tenant.locator("option:checked")).to_have_text("Zebra")
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

    page.get_by_role("button", name="Log out").click()
    # By way of the provider.
    expect(page).to_have_url(f"{service.url}/login")
    expect(page.get_by_role("button", name="Log out")).to_have_count(0)
    page.goto(wanted)
    expect(page).to_have_url(re.compile("/login"))
    assert console == []


def test_a_person_without_javascript_logs_in_switches_and_logs_out(
    service: Service, provider: Provider, page: Page
) -> None:
    browser = page.context.browser
    assert isinstance(browser, Browser)
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(service.url)
    plain.get_by_role("link", name="Log in").click()
    plain.get_by_role("button", name="Sign in as Ada").click()
    plain.get_by_label("Tenant").select_option(label="Zebra")
    plain.get_by_role("button", name="Switch").click()
    expect(plain.get_by_label("Tenant").locator("option:checked")).to_have_text("Zebra")
    plain.get_by_role("button", name="Log out").click()
    expect(plain).to_have_url(f"{service.url}/login")
    assert provider.requests.count("/end") == 1


def test_a_link_logs_in_once(
    shop: Shop, instance: DagsterInstance, page: Page, console: list[str], tmp_path: Path
) -> None:
    links = LoginLinks(tmp_path)
    with serving(settings(shop.world.database_url), instance, links) as service:
        link = f"{service.url}/login/link?token={links.create([shop.tenant])}"
        page.goto(service.url)
        expect(page.get_by_text("engarde page", exact=True)).to_be_visible()

        page.goto(link)
        expect(page).to_have_url(f"{service.url}/")
        expect(page.locator(".account").get_by_text("Acme")).to_be_visible()
        accessible(page)
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(f"{service.url}/login")
        assert console == []

        page.goto(link)
        expect(page.get_by_role("alert")).to_contain_text("used already")
        accessible(page)
