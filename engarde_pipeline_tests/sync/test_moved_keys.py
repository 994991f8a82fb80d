"""Keys that lead to another campaign space or asset than before: the dates of the former one's rows become due."""

from datetime import date
from uuid import UUID

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.load.removed_rows import removed_dates
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.postgres.load.source_keys import note_moved_keys
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, row
from engarde_pipeline_tests.world import World

SOFT_DELETED = (
    "ALTER TABLE campaign_spaces ADD deleted_at timestamptz",
    "UPDATE campaign_spaces SET deleted_at = now() WHERE external_campaign_id = 'c1'",
)
REPLACED = {
    "soft-deleted": SOFT_DELETED,
    "external id removed": (
        "UPDATE campaign_spaces SET external_campaign_id = NULL WHERE external_campaign_id = 'c1'",
    ),
    "external id changed": (
        "UPDATE campaign_spaces SET external_campaign_id = 'x' WHERE external_campaign_id = 'c1'",
    ),
}
SWAP = (
    "UPDATE campaign_spaces SET external_campaign_id = CASE external_campaign_id WHEN 'c1' THEN 'c2' ELSE 'c1' END"
    " WHERE external_campaign_id IN ('c1', 'c2')"
)


@pytest.fixture(autouse=True)
def synced(world: World, tenant: UUID, campaign: UUID) -> None:
    """Two dates of two campaigns, c1 with 5 clicks each and c2 with 7."""
    world.campaign(tenant, "c2")
    days = (DAY, NEXT_DAY)
    clicks = {"c1": 5, "c2": 7}
    world.load([row(tenant, name, metric_date=day, clicks=clicks[name]) for day in days for name in clicks])
    world.sync(*days)


def execute(world: World, *statements: str) -> None:
    for statement in statements:
        world.connection.execute(statement.encode())


def due(world: World, table: MetricTable = CAMPAIGN_METRICS) -> list[date]:
    """The dates that are due once the sensor has looked."""
    note_moved_keys(world.connection, table)
    return sorted(removed_dates(world.connection, table))


def test_nothing_is_due_while_keys_lead_where_they_led(world: World) -> None:
    assert due(world) == []


@pytest.mark.parametrize("statements", REPLACED.values(), ids=REPLACED)
def test_the_dates_of_a_campaign_that_was_replaced_are_due_until_they_are_synced(
    world: World, tenant: UUID, campaign: UUID, statements: tuple[str, ...]
) -> None:
    execute(world, *statements)
    assert due(world) == []  # BigQuery's records would be rejected, or lead to the same campaign as before
    successor = world.campaign(tenant, "c1")
    assert due(world) == [DAY, NEXT_DAY]

    world.sync_one(DAY)
    assert due(world) == [NEXT_DAY]
    world.sync_one(NEXT_DAY)

    assert due(world) == []
    rows = [found["campaign_space_id"] for found in world.rows() if found["clicks"] == 5]
    assert rows == [successor, successor]
    assert campaign not in rows


def test_a_sync_that_comes_before_the_sensor_notes_the_other_dates(world: World, tenant: UUID) -> None:
    execute(world, *SOFT_DELETED)
    world.campaign(tenant, "c1")

    world.sync_one(DAY)

    assert sorted(removed_dates(world.connection, CAMPAIGN_METRICS)) == [NEXT_DAY]
    assert due(world) == [NEXT_DAY]


def test_campaigns_that_exchange_their_ids_exchange_their_history_and_back(world: World) -> None:
    for _ in range(2):
        execute(world, SWAP)
        assert due(world) == [DAY, NEXT_DAY]
        world.sync(DAY)
        assert due(world) == [NEXT_DAY]
        world.sync(NEXT_DAY)
        assert due(world) == []
        clicks = world.query(
            "SELECT DISTINCT c.external_campaign_id AS id, m.clicks FROM campaign_metrics m"
            " JOIN campaign_spaces c ON c.id = m.campaign_space_id ORDER BY 1"
        )
        assert clicks == [{"id": "c1", "clicks": 5}, {"id": "c2", "clicks": 7}]


def test_a_campaign_that_two_claim_moves_nothing(world: World, tenant: UUID) -> None:
    world.campaign(tenant, "c1")
    assert due(world) == []


def test_a_slice_answers_nothing(world: World, tenant: UUID) -> None:
    execute(world, SWAP)
    world.sync(DAY, NEXT_DAY, scope=Scope(tenant))
    assert due(world) == [DAY, NEXT_DAY]


def test_the_dates_of_an_asset_that_was_replaced_are_due(world: World, campaign: UUID, asset: UUID) -> None:
    world.load([asset_row(metric_date=day, clicks=3) for day in (DAY, NEXT_DAY)], ASSET_METRICS)
    world.sync(DAY, NEXT_DAY, table=ASSET_METRICS)
    execute(world, "UPDATE campaign_assets SET external_asset_id = 'old'")
    assert due(world, ASSET_METRICS) == []
    successor = world.asset(campaign, "a1")
    assert due(world, ASSET_METRICS) == [DAY, NEXT_DAY]

    world.sync(DAY, NEXT_DAY, table=ASSET_METRICS)

    assert due(world, ASSET_METRICS) == []
    assert {found["campaign_asset_id"] for found in world.rows(ASSET_METRICS)} == {successor}


def test_an_assets_dates_are_due_where_its_campaign_was_replaced(
    world: World, tenant: UUID, campaign: UUID, asset: UUID
) -> None:
    world.load([asset_row(clicks=3)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    execute(world, *SOFT_DELETED)
    successor = world.asset(world.campaign(tenant, "c1"), "a1")

    assert due(world, ASSET_METRICS) == [DAY]
    world.sync_one(DAY, table=ASSET_METRICS)

    assert due(world, ASSET_METRICS) == []
    assert {found["campaign_asset_id"] for found in world.rows(ASSET_METRICS)} == {successor}


def test_a_row_that_was_replaced_keeps_its_value_while_its_record_is_bad(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    execute(world, *SOFT_DELETED)
    world.campaign(tenant, "c1")
    world.replace(DAY, [row(tenant, clicks=-1), row(tenant, "c2", clicks=7)])

    world.sync(DAY, NEXT_DAY)

    left = world.query("SELECT metric_date, clicks FROM campaign_metrics WHERE campaign_space_id = %s", [campaign])
    assert left == [{"metric_date": DAY, "clicks": 5}]
