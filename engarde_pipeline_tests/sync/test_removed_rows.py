"""Whatever removes rows without a sync makes their dates due; a sync brings them back and answers the removal."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from uuid import UUID

import psycopg
import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.removed_rows import removed_dates
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.postgres.load.synced_dates import note_synced
from engarde_pipeline.postgres.totals.campaign_totals import update_totals
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, counted, row
from engarde_pipeline_tests.world import World

BOTH = CAMPAIGN_METRICS, ASSET_METRICS


@pytest.fixture(autouse=True)
def synced(world: World, tenant: UUID, campaign: UUID, asset: UUID) -> None:
    """Two dates of two campaigns, of which the first has one asset."""
    world.campaign(tenant, "c2")
    days = (DAY, NEXT_DAY)
    world.load([row(tenant, name, metric_date=day, clicks=5) for day in days for name in ("c1", "c2")])
    world.load([asset_row(metric_date=day) for day in days], ASSET_METRICS)
    for table in BOTH:
        world.sync(*days, table=table)
        for day in days:
            note_synced(world.connection, table, day, "version", UUID(int=1))


def removed(world: World, table: MetricTable = CAMPAIGN_METRICS) -> list[date]:
    return sorted(removed_dates(world.connection, table))


def execute(world: World, statement: str) -> None:
    world.connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("statement", "of_campaigns", "of_assets"),
    [
        ("DELETE FROM campaign_spaces WHERE external_campaign_id = 'c2'", 2, 0),
        ("DELETE FROM campaign_assets; DELETE FROM campaign_spaces", 2, 2),
        ("DELETE FROM campaign_assets; DELETE FROM campaign_spaces; DELETE FROM tenants", 2, 2),
        ("DELETE FROM campaign_assets", 0, 2),
        (f"DELETE FROM campaign_metrics WHERE metric_date = '{DAY}'", 1, 0),
        (f"DELETE FROM campaign_asset_metrics WHERE metric_date = '{DAY}'", 0, 1),
        ("TRUNCATE campaign_metrics", 2, 0),
        ("DELETE FROM campaign_metrics WHERE clicks < 0", 0, 0),
        ("UPDATE campaign_metrics SET clicks = clicks + 1", 0, 0),
    ],
)
def test_a_date_that_loses_rows_is_noted(world: World, statement: str, of_campaigns: int, of_assets: int) -> None:
    execute(world, statement)
    assert [len(removed(world, table)) for table in BOTH] == [of_campaigns, of_assets]


def test_a_sync_that_deletes_rows_removes_nothing_unseen(world: World, tenant: UUID) -> None:
    world.replace(DAY, [row(tenant, "c2")])
    assert counted(world.sync_one(DAY))["deleted"] == 1
    assert removed(world) == []


def test_a_setting_of_the_sync_ends_with_its_transaction(world: World) -> None:
    with connect(world.database_url) as connection:
        connection.execute("BEGIN; SELECT set_config('engarde.is_sync', 'on', true); COMMIT")
        connection.execute("DELETE FROM campaign_metrics")
    assert removed(world) == [DAY, NEXT_DAY]


def test_a_sync_brings_rows_back_and_answers_their_removal(world: World) -> None:
    execute(world, "DELETE FROM campaign_metrics")
    assert counted(world.sync_one(DAY)) == {"processed": 2, "inserted": 2, "source_rows": 2}
    assert removed(world) == [NEXT_DAY]


def test_a_slice_answers_no_removal(world: World, tenant: UUID) -> None:
    execute(world, "DELETE FROM campaign_metrics")
    world.sync_one(DAY, scope=Scope(tenant))
    assert removed(world) == [DAY, NEXT_DAY]


def test_a_date_that_is_refused_stays_due(world: World, tenant: UUID) -> None:
    execute(world, "DELETE FROM campaign_metrics WHERE metric_date = '2026-03-01' AND ctid = '(0,1)'")
    world.replace(DAY, [])
    world.sync(DAY)
    assert removed(world) == [DAY]


def test_rows_that_are_removed_during_a_sync_are_due_after_it(world: World) -> None:
    with connect(world.database_url) as application, ThreadPoolExecutor() as pool:
        with application.transaction():
            application.execute("DELETE FROM campaign_metrics WHERE metric_date = '2026-03-01'")
            pool.submit(world.sync_one, DAY).result(timeout=60)  # finds its rows unchanged: they are not gone yet
        assert removed(world) == [DAY]


def test_who_removes_rows_waits_for_nobody_who_does_so_too(world: World) -> None:
    with connect(world.database_url) as one, connect(world.database_url) as two:
        two.execute("SET lock_timeout = '5s'")
        with one.transaction():
            one.execute("DELETE FROM campaign_spaces WHERE external_campaign_id = 'c2'")
            two.execute(
                "DELETE FROM campaign_assets; DELETE FROM campaign_spaces WHERE external_campaign_id = 'c1'"
            )
    assert removed(world) == [DAY, NEXT_DAY]


def test_removing_many_campaigns_at_once_notes_each_date_once(world: World) -> None:
    with world.connection.transaction():
        for external_id in ("c2", "c1"):
            world.connection.execute(
                "DELETE FROM campaign_assets USING campaign_spaces c"
                " WHERE c.id = campaign_space_id AND external_campaign_id = %s",
                [external_id],
            )
            world.connection.execute("DELETE FROM campaign_spaces WHERE external_campaign_id = %s", [external_id])
    assert world.query("SELECT count(*) AS notes FROM removed_rows WHERE table_name = 'campaign_metrics'") == [
        {"notes": 2}
    ]


def test_totals_follow_rows_that_were_removed_and_do_not_come_back(world: World, tenant: UUID) -> None:
    update_totals(world.connection)
    execute(world, f"DELETE FROM campaign_metrics WHERE metric_date = '{DAY}'")
    world.replace(DAY, [])

    world.sync_one(DAY)
    update_totals(world.connection)

    totals = world.query("SELECT total_clicks FROM campaign_spaces")
    assert totals == [{"total_clicks": 5}, {"total_clicks": 5}]


def test_nobody_else_may_use_the_function_that_notes(connection: psycopg.Connection) -> None:
    connection.execute("CREATE ROLE stranger_of_notes; GRANT ALL ON SCHEMA public TO stranger_of_notes")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL ROLE stranger_of_notes; CREATE TEMPORARY TABLE mine (metric_date date)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "CREATE TRIGGER forged AFTER DELETE ON mine REFERENCING OLD TABLE AS removed"
                    " FOR EACH STATEMENT EXECUTE FUNCTION public.note_removed_rows()"
                )
    finally:
        connection.execute("DROP OWNED BY stranger_of_notes; DROP ROLE stranger_of_notes")
