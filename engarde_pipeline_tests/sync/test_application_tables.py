"""The application's tables are read and written as they are, whatever their types, and deleted rows among them."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.new_mappings import mapped_rejections
from engarde_pipeline.postgres.load.scope import UnknownSlice, resolve_scope
from engarde_pipeline.postgres.totals.campaign_totals import TotalsRefused, update_totals, wrong_totals
from engarde_pipeline_tests.sync.samples import DAY, asset_row, row
from engarde_pipeline_tests.world import World

_TEXTS = {
    "varchar": "varchar(40)",
    "char": "char(40)",
    "a case-insensitive text": "citext",
    "a domain": "external_text",
    "a number": "bigint",
    "an enum": "external_enum",
    "a case-insensitive collation": "text COLLATE case_insensitive",
}


def create_types(world: World) -> None:
    """Create the types that columns are given."""
    world.connection.execute("CREATE EXTENSION IF NOT EXISTS citext")
    world.connection.execute("CREATE DOMAIN external_text AS text CHECK (value <> '')")
    world.connection.execute("CREATE TYPE external_enum AS ENUM ('17', '18')")


def create_collation(world: World) -> None:
    try:
        world.connection.execute(
            "CREATE COLLATION case_insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except psycopg.errors.FeatureNotSupported as error:
        # The embedded server is built without ICU, so no database on it has such a collation; PostgreSQL 15 does.
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", _TEXTS.values(), ids=_TEXTS)
def test_ids_and_platforms_of_any_type_are_found(world: World, tenant: UUID, kind: str) -> None:
    create_types(world)
    if "case_insensitive" in kind:
        create_collation(world)
    for table, column in (
        ("campaign_spaces", "external_campaign_id"),
        ("campaign_spaces", "platform"),
        ("campaign_assets", "external_asset_id"),
    ):
        world.connection.execute(
            f"ALTER TABLE {table} ALTER {column} TYPE {kind} USING {column}::text::{kind}".encode()
        )
    campaign = world.campaign(tenant, "17", "18")
    asset = world.asset(campaign, "18")
    world.load([row(tenant, "17", platform="18"), row(tenant, "18", platform="18")])
    world.load(
        [asset_row("18", "17", platform="18"), asset_row("17", "17", platform="18")],
        ASSET_METRICS,
    )

    world.sync_one(DAY)
    world.sync_one(DAY, table=ASSET_METRICS)

    assert [found["campaign_space_id"] for found in world.rows()] == [campaign]
    assert [found["campaign_asset_id"] for found in world.rows(ASSET_METRICS)] == [asset]
    assert mapped_rejections(world.connection, CAMPAIGN_METRICS) == {}
    world.campaign(tenant, "18", "18")
    assert DAY in mapped_rejections(world.connection, CAMPAIGN_METRICS)
    scope = resolve_scope(world.connection, str(tenant), ["18"], ["17"])
    assert (scope.campaign_space_ids, scope.external_campaign_ids) == ((campaign,), ("17",))
    assert world.sync_one(DAY, scope=scope).merged.counts.unchanged == 1


@pytest.mark.parametrize("kind", ["citext", "text COLLATE case_insensitive"])
def test_what_differs_in_case_is_not_the_same_whatever_the_application_says(
    world: World, tenant: UUID, kind: str
) -> None:
    create_types(world)
    if "case_insensitive" in kind:
        create_collation(world)
    for column in ("external_campaign_id", "platform"):
        world.connection.execute(
            f"ALTER TABLE campaign_spaces ALTER {column} TYPE {kind} USING {column}::{kind}".encode()
        )
    world.campaign(tenant, "c1")
    world.load([row(tenant, clicks=1), row(tenant, "C1", clicks=2), row(tenant, platform="Meta", clicks=4)])

    world.sync_one(DAY)

    assert [found["clicks"] for found in world.rows()] == [1]
    assert world.reasons() == ["campaign_not_mapped"] * 2


def test_tenants_without_names_are_listed_all_the_same(world: World, tenant: UUID) -> None:
    world.connection.execute("ALTER TABLE tenants DROP COLUMN name")

    with pytest.raises(UnknownSlice, match=str(tenant)):
        resolve_scope(world.connection, "nobody", [], [])


# What the application keeps as deleted

_MARKS = {
    "deleted_at": ("deleted_at timestamptz", "deleted_at = now()"),
    "is_deleted": ("is_deleted boolean NOT NULL DEFAULT false", "is_deleted = true"),
    "is_deleted as a number": ("is_deleted smallint NOT NULL DEFAULT 0", "is_deleted = 1"),
}


Delete = Callable[[str, UUID], None]


@pytest.fixture(params=_MARKS.values(), ids=list(_MARKS))
def delete(request: pytest.FixtureRequest, world: World) -> Delete:
    """Delete a row of the application softly."""
    column, mark = request.param
    for table in ("campaign_spaces", "campaign_assets"):
        world.connection.execute(f"ALTER TABLE {table} ADD {column}".encode())

    def delete(table: str, row_id: UUID) -> None:
        world.connection.execute(f"UPDATE {table} SET {mark} WHERE id = %s".encode(), [row_id])

    return delete


def test_of_doubles_the_campaign_that_is_not_deleted_gets_the_numbers(
    world: World, tenant: UUID, delete: Delete
) -> None:
    deleted, living = world.campaign(tenant, "c1"), world.campaign(tenant, "c1")
    world.load([row(tenant)])
    world.sync_one(DAY)
    assert world.reasons() == ["ambiguous_campaign"]

    delete("campaign_spaces", deleted)

    assert DAY in mapped_rejections(world.connection, CAMPAIGN_METRICS)
    world.sync_one(DAY)
    assert [found["campaign_space_id"] for found in world.rows()] == [living]
    assert world.reasons() == []


def test_a_campaign_that_is_deleted_and_has_no_double_keeps_its_history_true(
    world: World, tenant: UUID, delete: Delete
) -> None:
    campaign = world.campaign(tenant, "c1")
    delete("campaign_spaces", campaign)
    world.load([row(tenant)])

    world.sync_one(DAY)

    assert [found["campaign_space_id"] for found in world.rows()] == [campaign]


def test_doubles_that_are_all_deleted_or_all_living_stay_ambiguous(
    world: World, tenant: UUID, delete: Delete
) -> None:
    campaigns = [world.campaign(tenant, "c1") for _ in range(3)]
    world.load([row(tenant)])
    delete("campaign_spaces", campaigns[0])
    world.sync_one(DAY)
    assert world.reasons() == ["ambiguous_campaign"]

    for campaign in campaigns[1:]:
        delete("campaign_spaces", campaign)
    world.sync_one(DAY)

    assert world.reasons() == ["ambiguous_campaign"]
    assert mapped_rejections(world.connection, CAMPAIGN_METRICS) == {}


def test_of_double_assets_the_one_that_is_not_deleted_gets_the_numbers(
    world: World, tenant: UUID, delete: Delete
) -> None:
    campaign = world.campaign(tenant, "c1")
    deleted, living = world.asset(campaign, "a1"), world.asset(campaign, "a1")
    world.load([asset_row()], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    assert world.reasons() == ["ambiguous_asset"]

    delete("campaign_assets", deleted)

    assert DAY in mapped_rejections(world.connection, ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    assert [found["campaign_asset_id"] for found in world.rows(ASSET_METRICS)] == [living]


def test_assets_without_a_tenant_belong_to_the_tenant_whose_campaign_is_not_deleted(
    world: World, tenant: UUID, delete: Delete
) -> None:
    elsewhere = world.campaign(world.tenant("other"), "c1")
    world.asset(elsewhere, "a1")
    asset = world.asset(world.campaign(tenant, "c1"), "a1")
    delete("campaign_spaces", elsewhere)
    world.load([asset_row()], ASSET_METRICS)

    world.sync_one(DAY, table=ASSET_METRICS)

    assert [found["campaign_asset_id"] for found in world.rows(ASSET_METRICS)] == [asset]


def test_emptying_the_external_id_of_a_double_ends_the_ambiguity(world: World, tenant: UUID) -> None:
    campaigns = [world.campaign(tenant, "c1") for _ in range(2)]
    world.load([row(tenant)])
    world.sync_one(DAY)

    world.connection.execute(
        "UPDATE campaign_spaces SET external_campaign_id = NULL WHERE id = %s", [campaigns[0]]
    )
    assert DAY in mapped_rejections(world.connection, CAMPAIGN_METRICS)
    world.sync_one(DAY)

    assert [found["campaign_space_id"] for found in world.rows()] == [campaigns[1]]


# Totals


def test_totals_are_written_to_the_columns_that_can_be(world: World, tenant: UUID, campaign: UUID) -> None:
    world.connection.execute(
        "ALTER TABLE campaign_spaces DROP avg_ctr, DROP avg_roas, DROP total_spend, DROP total_revenue,"
        " DROP performance_last_updated"
    )
    world.connection.execute(
        "ALTER TABLE campaign_spaces ADD avg_roas numeric NOT NULL DEFAULT 0, ADD total_revenue text,"
        " ADD avg_ctr numeric GENERATED ALWAYS AS (100.0 * total_clicks / nullif(total_impressions, 0)) STORED"
    )
    world.load([row(tenant, impressions=200, clicks=10, conversions=3, revenue=5.0)])
    world.sync_one(DAY)

    with connect(world.database_url) as connection:
        update_totals(connection)
        assert wrong_totals(connection).affected == 0

    (found,) = world.query(
        "SELECT total_impressions, total_clicks, total_conversions, total_revenue, avg_ctr, avg_roas"
        " FROM campaign_spaces"
    )
    assert list(found.values()) == [200, 10, Decimal(3), None, Decimal(5), 0]


def test_a_constraint_that_does_not_accept_the_totals_is_named(world: World, tenant: UUID, campaign: UUID) -> None:
    world.connection.execute("ALTER TABLE campaign_spaces ADD CONSTRAINT few_clicks CHECK (total_clicks < 5)")
    world.load([row(tenant, clicks=10)])
    world.sync_one(DAY)

    with connect(world.database_url) as connection, pytest.raises(TotalsRefused, match="few_clicks"):
        update_totals(connection)
