"""A person switches to another tenant in one window, while another window shows the one of before."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from dagster import DagsterInstance
from playwright.sync_api import Browser, Locator, Page, expect

from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.api.service import serving, settings
from engarde_pipeline_tests.browser.visits import Tab, visit
from engarde_pipeline_tests.browser.visits import browser as browser
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.world import World

pytestmark = pytest.mark.long

DAY = today() - timedelta(days=3)

SPEND = {"Ours": "111.00", "Theirs": "222.00"}

# What a window shows at any time: each tenant's spend that is to be read, and the name above it.
_NOTE_WHAT_IS_SHOWN = """
addEventListener("DOMContentLoaded", () => {
  const look = () => {
    const tenant = document.querySelector("#tenant option:checked");
    const text = document.querySelector("main").innerText;
    for (const spend of ["111.00", "222.00"])
      if (tenant && text.includes(spend)) noteShown(`${tenant.textContent}: ${spend}`);
  };
  look();
  new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
});
"""


class Agency:
    """Two tenants of one person, each with two campaigns that have spent the amount in `SPEND`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ours, self.theirs = world.tenant("Ours"), world.tenant("Theirs")
        self.campaign = world.campaign(self.ours, "ours 1")
        for tenant, name in ((self.ours, "ours 2"), (self.theirs, "theirs 1"), (self.theirs, "theirs 2")):
            world.campaign(tenant, name)
        self._clicks = {"Ours": 1, "Theirs": 1}
        world.load(self._rows())
        world.sync_one(DAY)

    def change(self, name: str) -> None:
        """Sync another number of clicks of a tenant."""
        self._clicks[name] += 1
        self.world.replace(DAY, self._rows())
        self.world.sync_one(DAY)

    def _rows(self) -> list[dict[str, object]]:
        amounts = [(self.ours, "ours", (100, 11)), (self.theirs, "theirs", (200, 22))]
        return [
            {
                "tenant_id": str(tenant),
                "campaign_id": f"{name} {number}",
                "platform": "meta",
                "metric_date": DAY,
                "impressions": 1000,
                "clicks": self._clicks[name.capitalize()],
                "spend": spend,
                "conversions": 1,
                "revenue": 500,
            }
            for tenant, name, amounts in amounts
            for number, spend in enumerate(amounts, 1)
        ]


class Windows:
    """Two windows of one browser, of which the first shows a page of Ours."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.first = tab.page
        self.shown: set[str] = set()
        self.first.expose_function("noteShown", lambda text: self.shown.add(text))
        self.first.add_init_script(_NOTE_WHAT_IS_SHOWN)
        self.second = self.first.context.new_page()

    def switch(self) -> None:
        """Switch to Theirs in the second window."""
        self.second.goto(self.tab.url)
        self.second.get_by_label("Tenant").select_option(label="Theirs")
        self.second.get_by_role("button", name="Switch").click()
        expect(shown_tenant(self.second)).to_have_text("Theirs")


def shown_tenant(page: Page) -> Locator:
    return page.locator("#tenant option:checked")


@pytest.fixture
def agency(configured: World) -> Agency:
    return Agency(configured)


@pytest.fixture
def windows(agency: Agency, instance: DagsterInstance, browser: Browser) -> Iterator[Windows]:
    with (
        serving(settings(agency.world.database_url), instance) as service,
        visit(browser, service.url, agency.ours, others=(agency.theirs,)) as tab,
    ):
        yield Windows(tab)


def test_a_live_update_loads_the_page_again_for_the_other_tenant(agency: Agency, windows: Windows) -> None:
    windows.tab.open("/")
    windows.tab.is_live()
    windows.switch()
    # Until then the first window shows Ours, whatever happens to Theirs.
    agency.change("Theirs")
    eventually(lambda: windows.second.evaluate("changes") == 1, "the second window hears of it", seconds=20)
    assert windows.tab.changes == 0

    agency.change("Ours")
    expect(shown_tenant(windows.first)).to_have_text("Theirs")
    expect(windows.first.locator(".tile b").first).to_have_text(SPEND["Theirs"])
    assert windows.shown == {"Ours: 111.00", "Theirs: 222.00"}

    # Its live updates are those of Theirs now.
    windows.tab.is_live()
    before = windows.second.evaluate("changes")
    agency.change("Ours")
    agency.change("Theirs")
    eventually(lambda: windows.second.evaluate("changes") > before, "the second window hears of it", seconds=20)
    eventually(lambda: windows.tab.changes == 1, "the first window hears of Theirs, and not of Ours", seconds=20)


@pytest.mark.parametrize("path", ["/freshness", "/attention", "/campaigns/"])
def test_every_live_page_loads_itself_again(agency: Agency, windows: Windows, path: str) -> None:
    windows.tab.open(f"{path}{agency.campaign}" if path.endswith("/") else path)
    windows.tab.is_live()
    windows.switch()
    agency.change("Ours")
    expect(shown_tenant(windows.first)).to_have_text("Theirs")
    assert windows.shown <= {"Ours: 111.00", "Theirs: 222.00"}


@pytest.mark.parametrize("link", ["#by-name", "a:text-is('7 days')", "a:text-is('CTR') >> nth=0"])
def test_a_link_that_replaces_a_part_loads_the_page_again(windows: Windows, link: str) -> None:
    windows.tab.open("/")
    expect(windows.first.locator(".tile b").first).to_have_text(SPEND["Ours"])
    windows.switch()
    windows.first.locator(link).click()
    expect(shown_tenant(windows.first)).to_have_text("Theirs")
    expect(windows.first.locator(".tile b").first).to_have_text(SPEND["Theirs"])
    assert windows.shown == {"Ours: 111.00", "Theirs: 222.00"}


def test_a_form_is_refused_and_says_why(windows: Windows, instance: DagsterInstance) -> None:
    windows.tab.open("/sync")
    windows.switch()
    windows.first.get_by_role("button", name="Sync without a preview").click()
    expect(windows.first.get_by_role("heading", name="This did not work")).to_be_visible()
    expect(windows.first.get_by_text("You have switched to another tenant in another window.")).to_be_visible()
    expect(shown_tenant(windows.first)).to_have_text("Theirs")
    assert instance.get_runs() == []


def test_a_form_that_changes_nothing_shows_the_other_tenant_under_its_name(windows: Windows) -> None:
    windows.tab.open("/")
    windows.switch()
    windows.first.get_by_role("button", name="Show", exact=True).click()
    expect(shown_tenant(windows.first)).to_have_text("Theirs")
    assert windows.shown == {"Ours: 111.00", "Theirs: 222.00"}
