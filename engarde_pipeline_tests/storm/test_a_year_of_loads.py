"""Rule 12 over a generated year: no innocent date is held, and every injected double load is.

The rows are staged and merged as a sync does it; only BigQuery is left out, which would take an hour.
"""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.load.held_dates import DateHeld
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.session import LoadSession
from engarde_pipeline_tests.world import CAMPAIGN_COLUMNS, World

YEAR = [today() - timedelta(days=n) for n in range(370, 5, -1)]
PLATFORMS = ("meta", "google", "tiktok", "linkedin")
MEASURES = CAMPAIGN_METRICS.measure_names
_TYPES = {"STRING": pa.string(), "DATE": pa.date32(), "INT64": pa.int64(), "FLOAT64": pa.float64()}

Rows = list[dict[str, Any]]


class Year:
    """A year of four tenants: campaigns are launched and paused, ad sets are alike, platforms report late."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.tenants = [world.tenant(f"T{number}") for number in range(4)]
        self.campaigns = []
        for number in range(60):
            tenant, platform = chance.choice(self.tenants), chance.choice(PLATFORMS)
            launched = chance.choice(YEAR)
            paused = launched + timedelta(days=chance.choice([20, 90, 400]))
            self.campaigns.append((tenant, f"c{number}", platform, launched, paused, chance.choice([1, 1, 2, 5])))
            # The last tenant's campaigns are mapped in the middle of the year.
            if tenant != self.tenants[-1]:
                world.campaign(tenant, f"c{number}", platform)

    def map_the_last_tenant(self) -> None:
        for tenant, name, platform, *_ in self.campaigns:
            if tenant == self.tenants[-1]:
                self.world.campaign(tenant, name, platform)

    def of(self, day: date) -> Rows:
        """The rows of a date. Half of the ad sets of a campaign have the same small numbers."""
        season = 3 if day.month in (11, 12) else 1
        return [
            self._row(day, tenant, name, platform, season if part % 2 == 0 else 0)
            for tenant, name, platform, launched, paused, parts in self.campaigns
            if launched <= day <= paused
            for part in range(parts)
        ]

    def _row(self, day: date, tenant: UUID, name: str, platform: str, season: int) -> dict[str, Any]:
        key = {"tenant_id": str(tenant), "campaign_id": name, "platform": platform, "metric_date": day}
        if not season:
            return {
                **key,
                **dict.fromkeys(MEASURES, 0),
                "impressions": self.chance.choice([0, 1, 2]),
                "spend": 0.0,
            }
        shown = season * self.chance.randint(100, 10_000)
        clicks = self.chance.randint(0, shown // 20)
        spend = round(clicks * self.chance.uniform(0.2, 2), 2)
        return {
            **key,
            "impressions": shown,
            "clicks": clicks,
            "spend": spend,
            "conversions": self.chance.randint(0, clicks // 10),
            "revenue": round(spend * self.chance.uniform(0, 5), 2),
        }


def _load(world: World, day: date, rows: Rows) -> str | None:
    """Load a date; return why it was held, or None."""
    options = LoadOptions(uuid4(), 0.5, 2, versions={day: uuid4().hex})
    load = LoadSession(world.connection, CAMPAIGN_METRICS, options)
    batch = pa.RecordBatch.from_pydict(
        {name: pa.array([row[name] for row in rows], _TYPES[kind]) for name, kind in CAMPAIGN_COLUMNS.items()}
    )
    with load.locked([day]):
        with world.connection.transaction():
            load.stage(list(CAMPAIGN_COLUMNS), [batch])
            load.prepare()
        try:
            load.merge(day)
        except DateHeld as held:
            return held.reason
    return None


def _age(world: World, day: date, days: int) -> None:
    """Let the date have been synced so many days after it."""
    world.connection.execute(
        "UPDATE synced_dates SET synced_at = metric_date + make_interval(days => %s, hours => 3)"
        " WHERE metric_date = %s",
        [days, day],
    )


def _restated(rows: Rows, chance: random.Random) -> Rows:
    return [{**row, "spend": round(row["spend"] * chance.uniform(0.9, 1.2), 2)} for row in rows]


@pytest.mark.long
def test_no_innocent_date_is_held(world: World) -> None:
    chance = random.Random(12)  # noqa: S311  chance, not a secret
    year = Year(world, chance)
    held = []
    for number, day in enumerate(YEAR):
        if number == len(YEAR) // 2:
            year.map_the_last_tenant()
        rows = year.of(day)
        if not rows:
            continue
        late = chance.choice(PLATFORMS)
        # Today, without one platform; the next day; three days later, restated; then at the end of the window.
        loads = [
            (0, [row for row in rows if row["platform"] != late or chance.random() < 0.1] or rows),
            (1, rows),
            (3, _restated(rows, chance)),
            (28, _restated(rows, chance)),
        ]
        for age, load in loads:
            if reason := _load(world, day, load):
                held.append((day, age, reason))
            _age(world, day, age)
    assert held == []


def _injected(rows: Rows, tenants: list[UUID]) -> Iterator[tuple[str, Rows]]:
    by_platform = {name: [row for row in rows if row["platform"] == name] for name in PLATFORMS}
    largest = max(by_platform.values(), key=len)
    most = max(([row for row in rows if row["tenant_id"] == str(tenant)] for tenant in tenants), key=len)
    yield "the whole date, twice", rows * 2
    yield "the whole date, three times", rows * 3
    yield "one platform", rows + largest
    yield "one tenant", rows + most


@pytest.mark.long
def test_every_double_load_is_held(world: World) -> None:
    chance = random.Random(13)  # noqa: S311  chance, not a secret
    tenants = [world.tenant(f"T{number}") for number in range(3)]
    campaigns = [(chance.choice([0, 0, 0, 1, 2]), f"c{number}", chance.choice(PLATFORMS)) for number in range(200)]
    for tenant, name, platform in campaigns:
        world.campaign(tenants[tenant], name, platform)
    year = Year(world, chance)
    missed = []
    for day in YEAR[::7]:
        rows = [year._row(day, tenants[tenant], name, platform, 1) for tenant, name, platform in campaigns]
        is_first_load = chance.random() < 0.5
        if not is_first_load:
            assert _load(world, day, rows) is None
        missed += [(day, what) for what, load in _injected(rows, tenants) if _load(world, day, load) is None]
    assert missed == []
