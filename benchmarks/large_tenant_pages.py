"""How soon the pages are on the screen, for the tenant with 10,000 campaigns and for one with a hundred.

`python -m benchmarks.large_tenant_pages DIRECTORY` opens the pages in Chromium, on the database that
`benchmarks.large_tenant build` has made. The first paint is the one that the browser reports, with everything that
a first visit loads. Other dates are asked for each time, and then the same ones, whose sums the API has cached.
"""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from statistics import median

import typer
from playwright.sync_api import Browser, sync_playwright

from benchmarks.api import SECRET, serving
from benchmarks.large_tenant import LAST_DATE, tenant
from engarde_pipeline.api.sessions import COOKIE, new_session, signed
from engarde_pipeline.local import postgres
from engarde_pipeline.postgres.connection import connect

ROUNDS = 7
TENANTS = {"10,000 campaigns": 0, "100 campaigns": 1}

_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def main(directory: Path) -> None:
    """Print the milliseconds until the first paint: the median and the worst of seven."""
    url = postgres.start(directory)
    with (
        serving(url, directory, postgres.dagster_database_url(directory)) as (address, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for label, number in TENANTS.items():
            for name, addresses in _pages(url, number).items():
                took = [_first_paint(browser, address, number, next(addresses)) for _ in range(ROUNDS + 1)][1:]
                typer.echo(f"{label}, {name}: first paint {median(took):.0f} ms, at worst {max(took):.0f} ms")
        browser.close()


def _pages(url: str, number: int) -> dict[str, Iterator[str]]:
    with connect(url) as connection:
        row = connection.execute(
            "SELECT id FROM campaign_spaces WHERE tenant_id = %s ORDER BY id LIMIT 1", [tenant(number)]
        ).fetchone()
    assert row is not None
    campaign = f"/campaigns/{row[0]}?end_date="
    return {
        "overview": (f"/?limit=50&{_dates(back)}" for back in count()),
        "overview again": (f"/?limit=50&{_dates(300)}" for _ in count()),
        "campaign": (f"{campaign}{LAST_DATE - timedelta(days=back)}" for back in count()),
    }


def _dates(back: int) -> str:
    end = LAST_DATE - timedelta(days=back)
    return f"start_date={end - timedelta(days=29)}&end_date={end}"


def _first_paint(browser: Browser, address: str, number: int, path: str) -> float:
    # A new context has nothing in its cache.
    context = browser.new_context()
    cookie = signed(new_session("benchmark", (tenant(number),)), SECRET)
    context.add_cookies([{"name": COOKIE, "value": cookie, "url": address}])
    page = context.new_page()
    answer = page.goto(address + path)
    assert answer is not None
    assert answer.status == 200, answer.text()
    took = float(page.wait_for_function(_FIRST_PAINT).json_value())
    context.close()
    return took


if __name__ == "__main__":
    typer.run(main)
