"""The overview and the page of a campaign in a real browser: by keyboard, on a phone, dark, without scripts."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect

from engarde_pipeline.api.sessions import COOKIE
from engarde_pipeline.core.dates import today
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.browser.visits import DESKTOP, PHONE
from engarde_pipeline_tests.browser.visits import browser as browser
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.web.conftest import service as service
from engarde_pipeline_tests.web.numbers import (
    add_creative_numbers,
    add_numbers,
    add_synced_dates,
    days_from,
    rename,
)
from engarde_pipeline_tests.web.visitor import session_cookie
from engarde_pipeline_tests.world import World

pytestmark = pytest.mark.long

HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "{{7*7}}",
    "\u202egnp.exe\u2066",
    "x" * 500,
)
MOST_BYTES = 200_000

OpenPage = Callable[..., Page]


@pytest.fixture
def tenant(configured: World) -> UUID:
    """A tenant with 25 campaigns on three platforms, in two currencies, with numbers until today."""
    made = configured.tenant()
    first = today() - timedelta(days=59)
    add_synced_dates(configured, first, today() - timedelta(days=12))
    add_synced_dates(configured, today() - timedelta(days=9), today())
    days = [day for day in days_from(first, 60) if not 10 <= (today() - day).days <= 11]
    for number in range(25):
        platform = ("google", "meta", "tiktok")[number % 3]
        campaign = configured.campaign(made, f"campaign {number:02}", platform)
        for week in range(0, len(days), 7):
            spend = 100 + 20 * number + week
            add_numbers(
                configured,
                campaign,
                days[week : week + 7],
                "USD" if platform == "tiktok" else "EUR",
                impressions=100 * spend,
                clicks=spend,
                spend=spend,
                conversions=spend // 10,
                revenue=3 * spend + number,
            )
        asset = configured.asset(campaign, f"Reel {number}")
        add_creative_numbers(configured, asset, days[-30:], impressions=1000, clicks=9, spend=50, engagements=3)
    return made


@pytest.fixture
def open_page(browser: Browser, service: Service, tenant: UUID) -> OpenPage:
    """`open_page("/", color_scheme="dark")` opens a page as a person who is logged in; no error may be logged."""

    def open_path(path: str, **options: Any) -> Page:
        context = browser.new_context(viewport=options.pop("viewport", DESKTOP), **options)
        context.add_cookies([{"name": COOKIE, "value": session_cookie(tenant), "url": service.url}])
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: _fail_on_error(message.type, message.text))
        page.on("pageerror", lambda error: _errors.append(str(error)))
        page.goto(service.url + path)
        return page

    _errors: list[str] = []

    def _fail_on_error(kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            _errors.append(text)

    open_path.errors = _errors  # type: ignore[attr-defined]
    return open_path


@pytest.fixture(autouse=True)
def _no_errors(open_page: OpenPage) -> Iterator[None]:
    """No test leaves an error in the console; a violation of the Content-Security-Policy is one."""
    yield
    assert open_page.errors == []  # type: ignore[attr-defined]


@contextmanager
def same_document(page: Page) -> Iterator[None]:
    """Check that the page is not loaded anew in the block."""
    page.evaluate("window.isSameDocument = true")
    yield
    assert page.evaluate("window.isSameDocument") is True


def campaign_path(world: World, name: str = "campaign 24") -> str:
    (row,) = world.query("SELECT id FROM campaign_spaces WHERE name = %s", [name])
    return f"/campaigns/{row['id']}"


def names(page: Page) -> list[str]:
    return page.locator("#campaigns tbody th").all_inner_texts()


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


def is_drawn(chart: Locator) -> bool:
    """Whether something is drawn on the canvas."""
    return bool(
        chart.locator("canvas").evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(part => part)"
        )
    )


def pixels(chart: Locator) -> str:
    return str(chart.locator("canvas").evaluate("c => c.toDataURL()"))


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_pages_are_accessible(
    configured: World, open_page: OpenPage, scheme: str, viewport: ViewportSize
) -> None:
    for path in ("/", campaign_path(configured)):
        page = open_page(path, color_scheme=scheme, viewport=viewport)
        expect(page.locator("canvas").first).to_be_visible()
        for details in page.locator("details").all():
            details.locator("summary").click()
        assert violations(page) == []
        assert overflow(page) == 0


def test_charts_are_drawn_in_the_colours_of_the_scheme(open_page: OpenPage) -> None:
    page = open_page("/", color_scheme="light")
    chart = page.locator("#chart-EUR-lines")
    expect(chart.locator("canvas")).to_be_visible()
    expect(page.locator("#chart-EUR .legend")).to_contain_text("provisional from")
    assert is_drawn(chart)
    light = pixels(chart)

    page.emulate_media(color_scheme="dark")
    eventually(lambda: pixels(chart) != light, "the chart is drawn for the dark")

    page.set_viewport_size(PHONE)
    eventually(lambda: chart.locator("canvas").evaluate("c => c.clientWidth") < 390, "the chart is narrower")
    assert overflow(page) == 0


def test_the_pointer_shows_the_values_of_a_date(open_page: OpenPage) -> None:
    page = open_page("/")
    page.locator("#chart-EUR .u-over").hover()

    expect(page.locator("#chart-EUR .at")).to_contain_text("on 20")
    expect(page.locator("#chart-EUR .value").first).to_have_text(re.compile(r"^[\d,]+\.\d\d$"))


def test_campaigns_are_sorted_without_a_new_page_and_the_address_keeps_it(open_page: OpenPage) -> None:
    page = open_page("/")
    assert names(page)[:2] == ["campaign 24", "campaign 23"]
    with same_document(page):
        page.locator("#by-name").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#campaigns tbody th").first).to_have_text("campaign 00")
        expect(page.locator("th[aria-sort=ascending]")).to_have_text("Campaign ▲")
        expect(page.locator("#by-name")).to_be_focused()
        expect(page).to_have_url(re.compile("order_by=name"))

    deep = open_page(page.evaluate("location.pathname + location.search"))
    assert names(deep)[:2] == ["campaign 00", "campaign 01"]

    page.go_back()
    expect(page.locator("#campaigns tbody th").first).to_have_text("campaign 24")


def test_another_measure_and_range_replace_only_the_live_part(open_page: OpenPage) -> None:
    page = open_page("/")
    with same_document(page):
        page.get_by_role("navigation", name="Measure of the chart, EUR").get_by_role("link", name="CTR").click()
        expect(page.locator("#chart-EUR-title")).to_have_text("CTR by date")
        page.get_by_role("link", name="7 days").click()
        expect(page.locator("#chart-EUR-summary")).to_contain_text(str(today() - timedelta(days=6)))
        assert is_drawn(page.locator("#chart-EUR-lines"))
    assert "measure=ctr" in page.url
    assert "days=7" in page.url


def test_the_form_shows_another_range_and_keeps_the_rest(open_page: OpenPage) -> None:
    page = open_page("/?order_by=name&measure=clicks")
    page.get_by_label("From", exact=True).fill(str(today() - timedelta(days=2)))
    page.locator("select[name=platform]").select_option("meta")
    page.get_by_role("button", name="Show").click()

    expect(page.locator("h1 + p")).to_contain_text(f"{today() - timedelta(days=2)} to")
    expect(page.locator("h1 + p")).to_contain_text("only meta")
    expect(page.locator("#chart-EUR-title")).to_have_text("Clicks by date")
    assert names(page)[0] == "campaign 01"


def test_a_change_is_shown_without_losing_focus_place_and_what_is_open(
    configured: World, open_page: OpenPage
) -> None:
    page = open_page("/")
    expect(page.locator("canvas").first).to_be_visible()
    page.locator("#by-name").click()
    expect(page.locator("#campaigns tbody th").first).to_have_text("campaign 00")
    page.locator("#chart-EUR-table summary").click()
    page.locator("#by-spend").focus()
    place = page.evaluate("scrollY")
    before = page.locator("#currency-EUR .tile b").first.inner_text()
    drawn = pixels(page.locator("#chart-EUR"))

    configured.query("UPDATE campaign_metrics SET spend = 2 * spend RETURNING id")
    with same_document(page):
        page.evaluate("document.body.dispatchEvent(new CustomEvent('engarde:changed'))")
        expect(page.locator("#currency-EUR .tile b").first).not_to_have_text(before)
        eventually(lambda: pixels(page.locator("#chart-EUR")) != drawn, "the chart is drawn again")
    expect(page.locator("#by-spend")).to_be_focused()
    expect(page.locator("#chart-EUR-table")).to_have_attribute("open", "")
    expect(page.locator("#campaigns tbody th").first).to_have_text("campaign 00")  # as the address says
    expect(page.locator("canvas").first).to_be_visible()
    assert page.evaluate("scrollY") == place


def test_a_change_leaves_a_form_alone_in_which_a_person_chooses(open_page: OpenPage) -> None:
    page = open_page("/")
    chosen = str(today() - timedelta(days=3))
    page.get_by_label("From", exact=True).fill(chosen)
    page.get_by_label("To", exact=True).focus()
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true"):
        page.evaluate("document.body.dispatchEvent(new CustomEvent('engarde:changed'))")
    page.wait_for_timeout(200)

    expect(page.get_by_label("From", exact=True)).to_have_value(chosen)


def test_the_keyboard_reaches_everything(open_page: OpenPage) -> None:
    page = open_page("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    reached = set()
    for _ in range(300):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if page.evaluate("document.activeElement === document.body"):
            break
    assert {"90 days", "CTR", "by-roas", "campaign 24", "campaigns-scroll", "Top 50"} <= reached

    page.get_by_role("link", name="campaign 24").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("campaign 24")
    page.locator("#chart-EUR-table summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#chart-EUR-table tbody tr").first).to_be_visible()


def test_without_scripts_there_is_everything_but_charts(configured: World, open_page: OpenPage) -> None:
    page = open_page("/", java_script_enabled=False)
    expect(page.locator(".chart").first).to_be_hidden()
    page.locator("#chart-EUR-table summary").click()
    expect(page.locator("#chart-EUR-table td").first).to_be_visible()
    page.locator("#by-roas").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("ROAS ▼")
    page.get_by_role("link", name="90 days").click()
    expect(page.locator("h1 + p")).to_contain_text(str(today() - timedelta(days=89)))
    page.locator("#campaigns tbody a").first.click()
    expect(page.locator("#dates tbody tr").first).to_be_visible()
    expect(page.locator("#creatives tbody th")).to_contain_text(["Reel"])


def test_a_printed_page_has_the_figures_in_the_colours_of_paper(open_page: OpenPage) -> None:
    page = open_page("/", color_scheme="dark")
    expect(page.locator("canvas").first).to_be_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")

    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("header.top")).to_be_hidden()
    expect(page.locator(".print-only")).to_have_text("Acme")
    expect(page.locator("form.range")).to_be_hidden()
    expect(page.locator(".tile").first).to_be_visible()
    expect(page.locator("#chart-EUR canvas")).to_be_visible()
    expect(page.locator("#chart-EUR-table")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 32, 39)"


def test_without_scripts_the_table_of_a_chart_is_printed(open_page: OpenPage) -> None:
    page = open_page("/", java_script_enabled=False)
    last = page.locator("#chart-EUR-table tbody tr").last
    expect(last).to_be_hidden()
    page.emulate_media(media="print")
    expect(last).to_be_visible()
    # Nothing is printed over it.
    assert last.evaluate("row => row.closest('figure').getBoundingClientRect().bottom") <= page.locator(
        "#currency-EUR-platforms"
    ).evaluate("table => table.closest('.card').getBoundingClientRect().top")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_hostile_names_are_text(configured: World, open_page: OpenPage, viewport: ViewportSize) -> None:
    paths = []
    for number, name in enumerate(HOSTILE):
        path = campaign_path(configured, f"campaign {24 - number}")
        rename(configured, UUID(path.rpartition("/")[2]), name)
        configured.query(
            "UPDATE campaign_assets SET name = %s WHERE name = %s RETURNING id", [name, f"Reel {24 - number}"]
        )
        configured.query(
            "UPDATE campaign_spaces SET external_campaign_id = %s WHERE id = %s RETURNING id",
            [name, path.rpartition("/")[2]],
        )
        paths.append(path)
    configured.query(
        "UPDATE campaign_metrics SET platform = %s WHERE platform = 'meta' RETURNING id", [HOSTILE[0]]
    )

    page = open_page("/", viewport=viewport)
    expect(page.locator("canvas").first).to_be_visible()
    assert set(HOSTILE) <= set(page.locator("#campaigns tbody th").all_text_contents())
    assert overflow(page) == 0
    for path, name in zip(paths, HOSTILE, strict=True):
        page = open_page(path, viewport=viewport)
        expect(page.locator("canvas").first).to_be_visible()
        assert page.locator("h1").text_content() == name
        assert page.locator("#creatives tbody th").all_text_contents() == [name]
        assert overflow(page) == 0
        assert page.evaluate("window.hacked") is None


def test_a_page_is_light(open_page: OpenPage, service: Service, browser: Browser, tenant: UUID) -> None:
    context: BrowserContext = browser.new_context()
    context.add_cookies([{"name": COOKIE, "value": session_cookie(tenant), "url": service.url}])
    page = context.new_page()
    sizes: dict[str, int] = {}
    page.on("requestfinished", lambda request: sizes.update({request.url: request.sizes()["responseBodySize"]}))
    page.goto(service.url, wait_until="networkidle")

    assert len(sizes) >= 7
    assert sum(sizes.values()) < MOST_BYTES, sizes
