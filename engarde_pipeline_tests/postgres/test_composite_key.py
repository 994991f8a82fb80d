"""Migration 0012: one foreign key says that a row's tenant is its campaign space's."""

import re
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.reads.diagnosis import check_schema
from engarde_pipeline.postgres.schema import composite_key, migrate
from engarde_pipeline.postgres.schema.refusals import MigrationRefused
from engarde_pipeline.postgres.totals.campaign_totals import update_totals, wrong_totals
from engarde_pipeline.postgres.totals.platform_days import dates_with_other_sums
from engarde_pipeline_tests.defs.daemon import eventually
from engarde_pipeline_tests.postgres.test_migrations import application, query, snapshot
from engarde_pipeline_tests.sync.samples import DAY, asset_row, counted, row
from engarde_pipeline_tests.world import World

BEFORE = "0011"

_ROWS = """
INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date, bigquery_sync_id,
                              synced_from_bigquery_at)
SELECT coalesce(%(tenant)s, tenant_id), id, platform, day, gen_random_uuid(), now()
FROM campaign_spaces
CROSS JOIN generate_series('2026-03-01'::timestamp, '2026-03-05', '1 day') AS day
"""

_NEW_TENANT = "INSERT INTO tenants VALUES (gen_random_uuid(), 'Globex', 'paid', now()) RETURNING id"

_INDEXES = "SELECT indexname FROM pg_indexes WHERE tablename = 'campaign_spaces' ORDER BY 1"

_FOREIGN_KEYS = """
SELECT conrelid::regclass::text AS table_name, pg_get_constraintdef(oid) AS rule, convalidated
FROM pg_constraint
WHERE contype = 'f' AND conrelid IN ('campaign_metrics'::regclass, 'campaign_asset_metrics'::regclass)
ORDER BY 1, 2
"""

_INDEX_WAITS = """
SELECT EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'
                 AND query ~ '^CREATE UNIQUE INDEX CON')
"""


def fill(url: str, tenant: UUID | None = None) -> None:
    """Add five rows for each campaign space, of the `tenant` or of the campaign space's."""
    with connect(url) as connection:
        connection.execute(_ROWS, {"tenant": tenant})


def new_tenant(url: str) -> UUID:
    with connect(url) as connection:
        row = connection.execute(_NEW_TENANT).fetchone()
        assert row is not None
        return UUID(str(row[0]))


def test_rows_and_keys_are_the_same_after_an_upgrade_and_a_downgrade_with_data(empty_database_url: str) -> None:
    application(empty_database_url, {})
    migrate.upgrade(empty_database_url, BEFORE)
    fill(empty_database_url)
    before = snapshot(empty_database_url)

    migrate.upgrade(empty_database_url)
    keys = query(empty_database_url, _FOREIGN_KEYS)
    migrate.downgrade(empty_database_url, BEFORE)

    assert [(key["table_name"], key["convalidated"]) for key in keys] == [
        ("campaign_asset_metrics", True),
        ("campaign_metrics", True),
    ]
    assert "FOREIGN KEY (tenant_id, campaign_space_id)" in keys[1]["rule"]
    assert {key["convalidated"] for key in query(empty_database_url, _FOREIGN_KEYS)} == {True}
    assert snapshot(empty_database_url) == before


def test_rows_of_another_tenant_than_their_campaign_spaces_are_named_with_the_cure(
    empty_database_url: str,
) -> None:
    application(empty_database_url, {})
    migrate.upgrade(empty_database_url, BEFORE)
    other = new_tenant(empty_database_url)
    fill(empty_database_url, other)
    before = snapshot(empty_database_url)

    with pytest.raises(MigrationRefused) as refused:
        migrate.upgrade(empty_database_url)

    said = str(refused.value)
    assert "5 rows of campaign_metrics have another tenant than their campaign space" in said
    assert re.search(rf"campaign space \S+ Spring, .* has 5 of tenant {other} \(2026-03-01 to 2026-03-05\)", said)
    assert snapshot(empty_database_url) == before
    cure = re.search(r"UPDATE campaign_metrics .*?;", said)
    assert cure is not None
    with connect(empty_database_url) as connection:
        connection.execute(cure[0].encode())
    migrate.upgrade(empty_database_url)
    assert query(
        empty_database_url,
        "SELECT count(*) AS rows FROM campaign_metrics JOIN tenants t ON t.id = tenant_id WHERE t.name = 'Acme'",
    ) == [{"rows": 5}]


def test_a_row_of_another_tenant_is_refused(empty_database_url: str) -> None:
    application(empty_database_url, {})
    migrate.upgrade(empty_database_url)

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        fill(empty_database_url, new_tenant(empty_database_url))


def test_a_unique_index_of_the_application_is_used_and_stays(empty_database_url: str) -> None:
    application(empty_database_url, {})
    with connect(empty_database_url) as connection:
        connection.execute("CREATE UNIQUE INDEX theirs ON campaign_spaces (id, tenant_id)")
    before = query(empty_database_url, _INDEXES)

    migrate.upgrade(empty_database_url)
    while_upgraded = query(empty_database_url, _INDEXES)
    migrate.downgrade(empty_database_url, "base")

    assert while_upgraded == query(empty_database_url, _INDEXES) == before


def test_an_index_that_an_interrupted_upgrade_left_is_replaced(empty_database_url: str) -> None:
    application(empty_database_url, {})
    with connect(empty_database_url) as connection:
        connection.execute(composite_key.CREATE_INDEX.encode())
        connection.execute(
            f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{composite_key.INDEX}'::regclass".encode()
        )

    migrate.upgrade(empty_database_url)

    valid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{composite_key.INDEX}'::regclass"
    assert query(empty_database_url, valid) == [{"indisvalid": True}]


def test_a_partitioned_table_of_the_application_gets_the_index_too(empty_database_url: str) -> None:
    application(empty_database_url, {})
    with connect(empty_database_url) as connection:
        connection.execute(
            "ALTER TABLE campaign_assets DROP CONSTRAINT campaign_assets_campaign_space_id_fkey;"
            "ALTER TABLE campaign_spaces RENAME TO whole;"
            "CREATE TABLE campaign_spaces (LIKE whole, PRIMARY KEY (id)) PARTITION BY HASH (id);"
            "CREATE TABLE campaign_spaces_0 PARTITION OF campaign_spaces FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
            "INSERT INTO campaign_spaces SELECT * FROM whole"
        )

    migrate.upgrade(empty_database_url)
    fill(empty_database_url)
    migrate.downgrade(empty_database_url, BEFORE)
    migrate.upgrade(empty_database_url)

    said = check_schema(empty_database_url)
    assert (
        "campaign_spaces.tenant_id has no foreign key, so if a row of tenants is deleted, its metrics stay" in said
    )
    assert query(empty_database_url, "SELECT count(*) AS rows FROM campaign_metrics") == [{"rows": 5}]
    assert {key["convalidated"] for key in query(empty_database_url, _FOREIGN_KEYS)} == {True}


def test_a_role_that_does_not_own_campaign_spaces_is_told_which_index_it_needs(empty_database_url: str) -> None:
    application(empty_database_url, {})
    with connect(empty_database_url) as connection:
        connection.execute("CREATE ROLE someone_else")
        try:
            connection.execute("SET ROLE someone_else")
            (said,) = composite_key.obstacles(connection, None)
            connection.execute("RESET ROLE")
            connection.execute("CREATE UNIQUE INDEX theirs ON campaign_spaces (tenant_id, id)")
            connection.execute("SET ROLE someone_else")
            assert composite_key.obstacles(connection, None) == []
        finally:
            connection.execute("RESET ROLE")
            connection.execute("DROP ROLE someone_else")
    assert re.search(r"Only postgres, which owns.*CREATE UNIQUE INDEX CONCURRENTLY \w+ ON campaign_spaces", said)


def test_nobody_waits_while_an_upgrade_waits_for_an_open_transaction(empty_database_url: str) -> None:
    application(empty_database_url, {})
    migrate.upgrade(empty_database_url, BEFORE)
    with (
        ThreadPoolExecutor() as pool,
        connect(empty_database_url) as open_one,
        connect(empty_database_url) as other,
    ):
        other.execute("SET lock_timeout = '60s'")
        with open_one.transaction():
            open_one.execute("UPDATE campaign_spaces SET name = 'Autumn'")
            upgrade = pool.submit(migrate.upgrade, empty_database_url)
            eventually(lambda: other.execute(_INDEX_WAITS).fetchone() == (True,), "an index that waits", 60)

            other.execute(
                "INSERT INTO campaign_spaces SELECT gen_random_uuid(), tenant_id, 'More', platform, 'c2', 1"
                " FROM campaign_spaces"
            )
            other.execute(_ROWS, {"tenant": None})
            second = pool.submit(migrate.upgrade, empty_database_url)
            assert not upgrade.done()
        upgrade.result()
        second.result()

    assert migrate.current(empty_database_url) == migrate.head()
    assert query(empty_database_url, "SELECT count(*) AS rows FROM campaign_metrics") == [{"rows": 10}]


# What moves to another tenant


def visible(world: World, tenant: UUID, table: str) -> int:
    """Return how many rows of `table` the API's role sees for a tenant."""
    with world.connection.transaction():
        world.connection.execute("SELECT set_config('engarde.tenant_id', %s, true)", [str(tenant)])
        world.connection.execute("SET LOCAL ROLE engarde_api")
        found = world.connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert found is not None
    return int(found[0])


def test_everything_stays_right_when_a_campaign_moves_with_its_source(world: World) -> None:
    tenant, other = world.tenant(), world.tenant("Globex")
    campaign = world.campaign(tenant, "c1")
    world.asset(campaign, "a1")
    world.load([row(tenant, clicks=5), row(tenant, "unmapped")])
    world.load([asset_row(clicks=3)], ASSET_METRICS)
    world.sync_one(DAY)
    world.sync_one(DAY, table=ASSET_METRICS)
    update_totals(world.connection)

    world.connection.execute("UPDATE campaign_spaces SET tenant_id = %s", [other])
    world.replace(DAY, [row(other, clicks=5), row(tenant, "unmapped")])
    synced = world.sync_one(DAY)

    assert counted(synced) == {"processed": 2, "unchanged": 1, "rejected": 1, "source_rows": 2}
    assert [visible(world, each, "campaign_metrics") for each in (tenant, other)] == [0, 1]
    assert [visible(world, each, "campaign_asset_metrics") for each in (tenant, other)] == [0, 1]
    assert [visible(world, each, "rejected_metric_rows") for each in (tenant, other)] == [1, 0]
    assert dates_with_other_sums(world.connection, [DAY]) == []
    assert wrong_totals(world.connection).affected == 0
    assert world.query("SELECT * FROM removed_rows") == []


def test_an_asset_that_moves_to_a_campaign_of_another_tenant_takes_its_rows_along(world: World) -> None:
    tenant, other = world.tenant(), world.tenant("Globex")
    asset = world.asset(world.campaign(tenant, "c1"), "a1")
    destination = world.campaign(other, "c2")
    world.load([asset_row(clicks=3)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)

    world.connection.execute(
        "UPDATE campaign_assets SET campaign_space_id = %s WHERE id = %s", [destination, asset]
    )

    assert [loaded["tenant_id"] for loaded in world.rows(ASSET_METRICS)] == [other]


def test_a_tenant_that_gets_another_id_keeps_its_metrics(empty_database_url: str) -> None:
    application(empty_database_url, {})
    with connect(empty_database_url) as connection:
        connection.execute(
            "ALTER TABLE campaign_assets DROP CONSTRAINT campaign_assets_tenant_id_fkey;"
            "ALTER TABLE campaign_spaces DROP CONSTRAINT campaign_spaces_tenant_id_fkey,"
            " ADD FOREIGN KEY (tenant_id) REFERENCES tenants ON UPDATE CASCADE ON DELETE CASCADE"
        )
        migrate.upgrade(empty_database_url)
        fill(empty_database_url)
        connection.execute("UPDATE tenants SET id = gen_random_uuid()")
        moved = connection.execute(
            "SELECT count(*) FROM campaign_metrics m JOIN tenants t ON t.id = m.tenant_id"
        ).fetchone()
        connection.execute("DELETE FROM campaign_assets; DELETE FROM tenants")
        left = connection.execute("SELECT count(*) FROM campaign_metrics").fetchone()
    assert (moved, left) == ((5,), (0,))
