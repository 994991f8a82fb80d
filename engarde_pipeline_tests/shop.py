"""A tenant with campaigns, for the tests of what Dagster runs."""

from datetime import date
from typing import Any

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline_tests.world import World

NUMBERS: dict[str, Any] = {"impressions": 1000, "clicks": 10, "spend": 10.5, "conversions": 1, "revenue": 42.0}


class Shop:
    """One tenant with two campaigns, of which the first has one asset."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tenant = world.tenant()
        self.first = world.campaign(self.tenant, "c1")
        self.second = world.campaign(self.tenant, "c2")
        self.asset = world.asset(self.first, "a1")

    def load(self, *days: date, **measures: Any) -> None:
        """Load one row of 10.50 per campaign, and one per asset, for each date."""
        numbers = {**NUMBERS, **measures}
        rows = [{"platform": "meta", "metric_date": day, **numbers} for day in days]
        campaigns = [
            {**row, "tenant_id": str(self.tenant), "campaign_id": c} for row in rows for c in ("c1", "c2")
        ]
        self.world.load(campaigns)
        self.world.load([{**row, "campaign_id": "c1", "asset_id": "a1"} for row in rows], ASSET_METRICS)

    def add_currencies(self) -> None:
        """Create the source tables with the column `currency`."""
        for table in (CAMPAIGN_METRICS, ASSET_METRICS):
            self.world.create_source(table, currency="STRING")

    def load_unmapped(
        self, day: date, campaign: str = "c3", tenant: str | None = None, currency: str | None = None
    ) -> None:
        """Load one row of a campaign that the application does not have."""
        keys = {"tenant_id": tenant or str(self.tenant), "campaign_id": campaign, "platform": "meta"}
        self.world.load([{**keys, "metric_date": day, "currency": currency, **NUMBERS}])
