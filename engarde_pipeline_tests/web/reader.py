"""A person who looks at the pages over real HTTP, and numbers in Postgres for them to see."""

from collections.abc import Iterable
from datetime import date, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import UUID, uuid4

import httpx

from engarde_pipeline.api.sessions import COOKIE, new_session, signed
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline_tests.api.service import SECRET, Service
from engarde_pipeline_tests.world import World

_CELLS = ("th", "td")


class Html(HTMLParser):
    """A page as text, and its tables as rows of texts, each by the id of the element around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tables: dict[str, list[list[str]]] = {}
        self.scripts = 0
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._cell: list[str] | None = None
        self._is_script = False
        self.feed(text)

    @property
    def text(self) -> str:
        """The text, with single spaces."""
        return " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        values = dict(attrs)
        if identity := values.get("id"):
            self._ids.append(identity)
        if tag == "script":
            self._is_script = True
            self.scripts += 1
        elif tag == "table":
            self.tables[self._ids[-1].removesuffix("-scroll")] = []
        elif tag == "tr":
            [*self.tables.values()][-1].append([])
        elif tag in _CELLS:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if tag == "script":
            self._is_script = False
        if tag in _CELLS and self._cell is not None:
            [*self.tables.values()][-1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        """Add text."""
        if self._is_script:
            return
        self._texts.append(data)
        if self._cell is not None:
            self._cell.append(data)


class Visitor:
    """A person who is logged in for a tenant."""

    def __init__(self, service: Service, tenant: UUID, *others: UUID) -> None:
        self._service = service
        self.cookie = signed(new_session("person", (tenant, *others)), SECRET)

    def get(self, path: str, **params: Any) -> httpx.Response:
        """Open a page."""
        return self._service.client.get(path, params=params, headers={"Cookie": f"{COOKIE}={self.cookie}"})

    def html(self, path: str, **params: Any) -> Html:
        """Open a page that must be there."""
        response = self.get(path, **params)
        assert response.status_code == 200, response.text
        return Html(response.text)


def add_numbers(
    world: World, campaign: UUID, days: Iterable[date], currency: str | None = None, **measures: Any
) -> None:
    """Add a row of a campaign for each date; measures that are not named are 0."""
    _add(world, CAMPAIGN_METRICS.target, "campaign_spaces", campaign, days, {"currency": currency, **measures})


def add_creative_numbers(world: World, asset: UUID, days: Iterable[date], **measures: object) -> None:
    """Add a row of a creative for each date."""
    _add(world, ASSET_METRICS.target, "campaign_assets", asset, days, measures)


def _add(
    world: World, table: str, subjects: str, subject: UUID, days: Iterable[date], values: dict[str, object]
) -> None:
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    platform = "s.platform" if subjects == "campaign_spaces" else "c.platform"
    join = "" if subjects == "campaign_spaces" else "JOIN campaign_spaces c ON c.id = s.campaign_space_id"
    column = "campaign_space_id" if subjects == "campaign_spaces" else "campaign_asset_id"
    world.query(
        f"INSERT INTO {table} (tenant_id, {column}, platform, metric_date, bigquery_sync_id,"
        f" synced_from_bigquery_at, {names}) SELECT s.tenant_id, s.id, {platform}, day, %s, now(), {marks}"
        f" FROM {subjects} s {join} CROSS JOIN unnest(%s::date[]) day WHERE s.id = %s RETURNING id",
        [uuid4(), *values.values(), list(days), subject],
    )


def add_synced_dates(world: World, first: date, last: date) -> None:
    """Note that these dates were synced."""
    world.query(
        "INSERT INTO synced_dates (table_name, metric_date, version, run_id)"
        " SELECT %s, day, '1', %s FROM generate_series(%s::date, %s, '1 day') day RETURNING metric_date",
        [CAMPAIGN_METRICS.target, uuid4(), first, last],
    )


def rename(world: World, campaign: UUID, name: str) -> None:
    """Give a campaign another name."""
    world.query("UPDATE campaign_spaces SET name = %s WHERE id = %s RETURNING id", [name, campaign])


def days_from(first: date, number: int) -> list[date]:
    """Return so many dates."""
    return [first + timedelta(days=each) for each in range(number)]
