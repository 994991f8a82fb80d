"""Tabs of people who are logged in, and what their browsers complain about."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from engarde_pipeline.api.sessions import COOKIE, LIFETIME, new_session, signed
from engarde_pipeline_tests.api.service import SECRET

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}

_COUNT_CHANGES = """
window.changes = 0;
addEventListener("engarde:changed", () => window.changes++);
"""


class Tab:
    """A tab, and the errors that its console has had."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, message: Any) -> None:
        # Chromium reports each response that is an error; a test that causes one looks for it itself.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def picture(self, name: str) -> None:
        """Keep what is to be seen in the directory that ENGARDE_PICTURES names, if it does."""
        if directory := os.environ.get("ENGARDE_PICTURES"):
            self.page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)

    def open(self, path: str) -> None:
        """Open a page."""
        self.page.goto(self.url + path)

    def is_live(self) -> None:
        """Wait until the page hears of changes."""
        expect(self.page.locator("[data-live-status]")).to_have_text("Live")

    @property
    def changes(self) -> int:
        """How many times the page was told that numbers have changed."""
        return cast("int", self.page.evaluate("window.changes"))

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return cast(
            "int",
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"),
        )

    def violations(self) -> list[str]:
        """Return what axe-core finds, with the elements."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']][:3]}" for each in found]


@pytest.fixture
def browser(page: Page) -> Browser:
    """Chromium, for tabs with sessions."""
    found = page.context.browser
    assert found is not None
    return found


@contextmanager
def visit(
    browser: Browser,
    url: str,
    tenant: UUID,
    lifetime: timedelta = LIFETIME,
    others: tuple[UUID, ...] = (),
    **options: Any,
) -> Iterator[Tab]:
    """Open a tab with a session of a tenant, which shows it and can switch to others.

    The tab must have had no complaint at the end.
    """
    options.setdefault("viewport", DESKTOP)
    context = browser.new_context(**options)
    session = new_session("u1", (tenant, *others), lifetime)
    context.add_cookies([{"name": COOKIE, "value": signed(session, SECRET), "url": url}])
    context.add_init_script(_COUNT_CHANGES)
    tab = Tab(context.new_page(), url)
    try:
        yield tab
        assert tab.complaints == []
    finally:
        context.close()
