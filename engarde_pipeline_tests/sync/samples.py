"""Source rows and counts in few words, for the tests of the sync."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.sync.dates import SyncedDate
from engarde_pipeline_tests.world import World

DAY = date(2026, 3, 1)
NEXT_DAY = DAY + timedelta(days=1)


def row(tenant: UUID | str | None, campaign: str | None = "c1", **values: Any) -> dict[str, Any]:
    """Return a source row of `campaign_metrics`: on DAY and meta, unless `values` say otherwise."""
    return {
        "tenant_id": None if tenant is None else str(tenant),
        "campaign_id": campaign,
        "platform": "meta",
        "metric_date": DAY,
        **values,
    }


def asset_row(asset: str | None = "a1", campaign: str | None = "c1", **values: Any) -> dict[str, Any]:
    """Return a source row of `asset_metrics`: on DAY and meta, without a tenant, unless `values` say otherwise."""
    return {"campaign_id": campaign, "asset_id": asset, "platform": "meta", "metric_date": DAY, **values}


def counted(synced: SyncedDate) -> dict[str, int]:
    """Return the counts that are not zero."""
    return {name: count for name, count in vars(synced.merged.counts).items() if count}


def versions(world: World, table: MetricTable = CAMPAIGN_METRICS) -> dict[UUID, tuple[object, ...]]:
    """Return each metric row's physical version and all of its values, by row id: equal means not rewritten."""
    rows = world.query(f"SELECT xmin::text, ctid::text, * FROM {table.target}")
    return {row["id"]: tuple(row.values()) for row in rows}


def measures(world: World, table: MetricTable = CAMPAIGN_METRICS) -> list[dict[str, Any]]:
    """Return the measures of the metric rows in Postgres, by date and subject."""
    return [{name: row[name] for name in table.measure_names} for row in world.rows(table)]


def by_external_id(world: World, column: str) -> dict[str, Any]:
    """Return a column of the campaign metrics in Postgres, by the campaign's external id."""
    rows = world.query(
        f"SELECT c.external_campaign_id, m.{column} FROM campaign_metrics m"
        " JOIN campaign_spaces c ON c.id = m.campaign_space_id"
    )
    found = {row["external_campaign_id"]: row[column] for row in rows}
    assert len(found) == len(rows), "several rows of one external id"
    return found
