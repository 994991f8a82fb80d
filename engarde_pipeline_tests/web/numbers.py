"""Numbers in Postgres for the pages to show."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline_tests.world import World


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


def hold_date(world: World, day: date, evidence: str = "") -> None:
    """Note that the last load of a date was refused."""
    world.query(
        "INSERT INTO held_dates (table_name, metric_date, reason, evidence, run_id)"
        " VALUES (%s, %s, 'repeated', %s, %s) RETURNING metric_date",
        [CAMPAIGN_METRICS.target, day, evidence, uuid4()],
    )


def rename(world: World, campaign: UUID, name: str) -> None:
    """Give a campaign another name."""
    world.query("UPDATE campaign_spaces SET name = %s WHERE id = %s RETURNING id", [name, campaign])


def days_from(first: date, number: int) -> list[date]:
    """Return so many dates."""
    return [first + timedelta(days=each) for each in range(number)]
