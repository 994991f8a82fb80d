"""Rule 3 when the application changes keys: rows keep their last good value while BigQuery has the old ones."""

from uuid import UUID

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.load.scope import Scope, resolve_scope
from engarde_pipeline.postgres.totals.platform_days import dates_with_other_sums
from engarde_pipeline_tests.sync.samples import DAY, asset_row, by_external_id, counted, row, versions
from engarde_pipeline_tests.world import World

CHANGES = {
    "platform renamed": "UPDATE campaign_spaces SET platform = 'instagram' WHERE id = %(campaign)s",
    "external id corrected": "UPDATE campaign_spaces SET external_campaign_id = 'c1-new' WHERE id = %(campaign)s",
    "external id removed": "UPDATE campaign_spaces SET external_campaign_id = NULL WHERE id = %(campaign)s",
    "moved to another tenant": "UPDATE campaign_spaces SET tenant_id = %(other)s WHERE id = %(campaign)s",
}


@pytest.fixture
def other(world: World) -> UUID:
    return world.tenant("Globex")


def change(world: World, statement: str, campaign: UUID, other: UUID | None = None) -> None:
    world.connection.execute(statement.encode(), {"campaign": campaign, "other": other})


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_a_row_keeps_its_value_while_bigquery_has_the_old_keys(
    world: World, tenant: UUID, campaign: UUID, other: UUID, statement: str
) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant, clicks=5), row(tenant, "c2")])
    world.sync_one(DAY)

    change(world, statement, campaign, other)
    before = versions(world)
    synced = world.sync_one(DAY)

    assert counted(synced) == {"processed": 2, "unchanged": 1, "rejected": 1, "source_rows": 2}
    assert versions(world) == before
    (rejected,) = world.rejected()
    (kept,) = [loaded["id"] for loaded in world.rows() if loaded["campaign_space_id"] == campaign]
    assert (rejected["reason_code"], rejected["kept_row_ids"]) == ("campaign_not_mapped", [kept])


def test_an_assets_row_keeps_its_value_while_bigquery_has_the_old_id(
    world: World, campaign: UUID, asset: UUID
) -> None:
    world.asset(campaign, "a2")
    world.load([asset_row(clicks=5), asset_row("a2")], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    before = versions(world, ASSET_METRICS)

    world.connection.execute("UPDATE campaign_assets SET external_asset_id = 'a1-new' WHERE id = %s", [asset])
    synced = world.sync_one(DAY, table=ASSET_METRICS)

    assert counted(synced) == {"processed": 2, "unchanged": 1, "rejected": 1, "source_rows": 2}
    assert versions(world, ASSET_METRICS) == before


def test_an_assets_row_keeps_its_value_when_its_campaigns_platform_is_renamed(
    world: World, campaign: UUID, asset: UUID
) -> None:
    world.load([asset_row(clicks=5)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    before = versions(world, ASSET_METRICS)

    change(world, CHANGES["platform renamed"], campaign)
    world.sync_one(DAY, table=ASSET_METRICS)

    assert versions(world, ASSET_METRICS) == before


def test_a_kept_row_is_updated_once_bigquery_has_the_new_keys(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=5)])
    world.sync_one(DAY)
    change(world, CHANGES["external id corrected"], campaign)
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, "c1-new", clicks=6)])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "updated": 1, "source_rows": 1}
    assert (world.rows()[0]["clicks"], world.rejected()) == (6, [])


def test_a_kept_row_is_deleted_once_bigquery_has_neither_keys(world: World, tenant: UUID, campaign: UUID) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant), row(tenant, "c2")])
    world.sync_one(DAY)
    change(world, CHANGES["external id corrected"], campaign)
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, "c2")])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "unchanged": 1, "deleted": 1, "source_rows": 1}


def test_keys_that_go_to_another_campaign_take_their_numbers_there(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.load([row(tenant, clicks=5)])
    world.sync_one(DAY)
    change(world, CHANGES["external id corrected"], campaign)
    successor = world.campaign(tenant, "c1")

    world.sync_one(DAY)

    assert [(loaded["campaign_space_id"], loaded["clicks"]) for loaded in world.rows()] == [(successor, 5)]


def test_a_date_that_was_not_synced_since_its_keys_moved_keeps_the_row_they_left(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.load([row(tenant, clicks=5)])
    world.sync_one(DAY)
    change(world, CHANGES["external id corrected"], campaign)
    world.campaign(tenant, "c1")

    world.replace(DAY, [row(tenant, clicks=-1)])
    world.sync_one(DAY)

    assert [(loaded["campaign_space_id"], loaded["clicks"]) for loaded in world.rows()] == [(campaign, 5)]


def test_a_campaign_that_moves_to_another_tenant_takes_its_history_along(
    world: World, tenant: UUID, campaign: UUID, asset: UUID, other: UUID
) -> None:
    world.load([row(tenant, clicks=5)])
    world.load([asset_row(clicks=3)], ASSET_METRICS)
    world.sync_one(DAY)
    world.sync_one(DAY, table=ASSET_METRICS)

    change(world, CHANGES["moved to another tenant"], campaign, other)

    assert [loaded["tenant_id"] for loaded in (*world.rows(), *world.rows(ASSET_METRICS))] == [other, other]
    assert dates_with_other_sums(world.connection, [DAY]) == []
    days = world.query(
        "SELECT tenant_id, sum(clicks) AS clicks FROM platform_days GROUP BY 1 HAVING sum(clicks) <> 0"
    )
    assert days == [{"tenant_id": other, "clicks": 5}]


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_a_slice_deletes_no_row_whose_old_keys_it_does_not_read(
    world: World, tenant: UUID, campaign: UUID, other: UUID, statement: str
) -> None:
    world.campaign(tenant, "c2")
    moved = world.campaign(other, "c9")
    world.load([row(tenant, clicks=5), row(tenant, "c2"), row(other, "c9")])
    world.sync_one(DAY)
    change(world, statement, campaign, other)
    before = versions(world)

    for scope in (
        Scope(tenant),
        Scope(other),
        resolve_scope(world.connection, None, [], [str(campaign), str(moved)]),
    ):
        world.sync_one(DAY, scope=scope)

    assert versions(world) == before


def test_a_slice_deletes_what_bigquery_no_longer_has_under_the_keys_it_reads(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant), row(tenant, "c2")])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant)])
    world.sync_one(DAY, scope=Scope(tenant))

    assert list(by_external_id(world, "clicks")) == ["c1"]


def test_an_assets_row_keeps_its_value_when_its_campaign_moved_and_its_id_was_corrected(
    world: World, campaign: UUID, asset: UUID, other: UUID
) -> None:
    world.asset(campaign, "a2")
    world.load([asset_row(clicks=5), asset_row("a2")], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    change(world, CHANGES["moved to another tenant"], campaign, other)
    before = versions(world, ASSET_METRICS)

    world.connection.execute("UPDATE campaign_assets SET external_asset_id = 'a1-new' WHERE id = %s", [asset])
    world.sync_one(DAY, table=ASSET_METRICS)

    assert versions(world, ASSET_METRICS) == before


def test_rows_keep_their_values_when_two_platforms_become_one_there_and_in_bigquery(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.campaign(tenant, "c2")
    world.campaign(tenant, "c1", platform="instagram")
    world.load([row(tenant, clicks=5), row(tenant, clicks=3, platform="instagram"), row(tenant, "c2")])
    world.sync_one(DAY)
    before = versions(world)

    world.connection.execute("UPDATE campaign_spaces SET platform = 'threads' WHERE external_campaign_id = 'c1'")
    world.replace(DAY, [row(tenant, clicks=8, platform="threads"), row(tenant, "c2")])
    world.sync_one(DAY)

    assert versions(world) == before
    assert [rejected["reason_code"] for rejected in world.rejected()] == ["ambiguous_campaign"]
