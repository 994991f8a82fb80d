"""How soon the pages are on the screen: the first paint that the browser reports on a first visit.

`python -m benchmarks.first_paint DIRECTORY` opens the pages in Chromium, on the database of
`benchmarks.large_tenant build`, or on the sample data that `ENGARDE_HOME=DIRECTORY engarde demo` leaves. It takes
the tenants with the most and the fewest campaigns. Other dates are asked for each time, and then the same ones,
whose sums the API has cached. Beside the first paint stands when the server's answer began and ended.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import typer
from playwright.sync_api import Browser, sync_playwright

from benchmarks.api import SECRET, serving
from engarde_pipeline.api.sessions import COOKIE, new_session, signed
from engarde_pipeline.local import postgres
from engarde_pipeline.postgres.connection import connect

ROUNDS = 9
_DAYS = 30

# Both ends, by the number of campaigns that have numbers.
_TENANTS = """
WITH tenants AS (
    SELECT tenant_id, count(*) AS campaigns, min(id::text)::uuid AS campaign
    FROM campaign_spaces WHERE tenant_id IN (SELECT tenant_id FROM platform_days)
    GROUP BY 1
)
(SELECT * FROM tenants ORDER BY campaigns DESC LIMIT 1) UNION (SELECT * FROM tenants ORDER BY campaigns LIMIT 1)
ORDER BY campaigns DESC
"""

_TIMES = """() => {
    const page = performance.getEntriesByType('navigation')[0];
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    return paint && [page.responseStart, page.responseEnd, paint.startTime];
}"""


@dataclass(frozen=True)
class Visitor:
    """A tenant whose pages are opened, and one of its campaigns."""

    tenant_id: UUID
    campaigns: int
    campaign_id: UUID
    last_date: date

    def pages(self) -> dict[str, Iterator[str]]:
        """Return the paths of each page, one for each visit."""
        overview = "/?limit=50&"
        return {
            "overview": (overview + self._dates(back) for back in count()),
            "overview again": (overview + self._dates(ROUNDS + 1) for _ in count()),
            "campaign": (f"/campaigns/{self.campaign_id}?{self._dates(back)}" for back in count()),
        }

    def _dates(self, back: int) -> str:
        end = self.last_date - timedelta(days=back)
        return f"start_date={end - timedelta(days=_DAYS - 1)}&end_date={end}"


def main(directory: Path) -> None:
    """Print the milliseconds until the first paint: the median and the worst."""
    url = postgres.start(directory)
    with ExitStack() as stack:
        address, _ = stack.enter_context(serving(url, directory, postgres.dagster_database_url(directory)))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        stack.callback(browser.close)
        for visitor in _visitors(url):
            for name, paths in visitor.pages().items():
                took = [_visit(browser, address, visitor, next(paths)) for _ in range(ROUNDS + 1)][1:]
                starts, ends, paints = zip(*took, strict=True)
                typer.echo(
                    f"{visitor.campaigns:,} campaigns, {name}: first paint {median(paints):.0f} ms, at worst"
                    f" {max(paints):.0f} ms; the answer from {median(starts):.0f} to {median(ends):.0f} ms"
                )


def _visitors(url: str) -> list[Visitor]:
    with connect(url) as connection:
        row = connection.execute("SELECT max(metric_date) FROM platform_days").fetchone()
        assert row is not None
        return [
            Visitor(tenant_id, campaigns, campaign, row[0])
            for tenant_id, campaigns, campaign in connection.execute(_TENANTS)
        ]


def _visit(browser: Browser, address: str, visitor: Visitor, path: str) -> list[float]:
    # A new context has nothing in its cache.
    context = browser.new_context()
    cookie = signed(new_session("benchmark", (visitor.tenant_id,)), SECRET)
    context.add_cookies([{"name": COOKIE, "value": cookie, "url": address}])
    page = context.new_page()
    answer = page.goto(address + path)
    assert answer is not None
    assert answer.status == 200, answer.text()
    times: Any = page.wait_for_function(_TIMES).json_value()
    context.close()
    return [float(time) for time in times]


if __name__ == "__main__":
    typer.run(main)
