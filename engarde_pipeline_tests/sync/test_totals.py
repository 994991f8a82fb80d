"""The totals on `campaign_spaces`: sums of the campaign's rows, and ratios of those sums."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.advisory_locks import LockWait, WaitStopped
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.totals.campaign_totals import (
    Totals,
    campaigns_with_several_currencies,
    update_totals,
    wrong_totals,
)
from engarde_pipeline.postgres.totals.changed_dates import note_changed
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, row
from engarde_pipeline_tests.sync.waiting import until_a_backend_waits
from engarde_pipeline_tests.world import World

NAMES = (
    "total_impressions",
    "total_clicks",
    "total_spend",
    "total_conversions",
    "total_revenue",
    "avg_ctr",
    "avg_roas",
)


def totals(world: World, campaign: UUID) -> dict[str, Any]:
    (found,) = world.query(f"SELECT {', '.join(NAMES)} FROM campaign_spaces WHERE id = %s", [campaign])
    return found


def update(world: World) -> Totals:
    with connect(world.database_url) as connection:
        return update_totals(connection)


def differing(world: World) -> int:
    return wrong_totals(world.connection).affected


def space_versions(world: World) -> dict[UUID, str]:
    rows = world.query("SELECT id, xmin::text || ctid::text AS version FROM campaign_spaces")
    return {row["id"]: row["version"] for row in rows}


def test_totals_are_sums_and_their_ratios_are_of_the_sums(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load(
        [
            row(tenant, impressions=10, clicks=10, spend=0.1, conversions=1, revenue=1.0, metric_date=DAY),
            row(tenant, impressions=990, clicks=0, spend=0.4, conversions=2, revenue=1.0, metric_date=NEXT_DAY),
        ]
    )
    world.sync(DAY, NEXT_DAY)

    assert update(world) == Totals(campaign_spaces=1, affected=1)

    assert totals(world, campaign) == {
        "total_impressions": 1000,
        "total_clicks": 10,
        "total_spend": Decimal("0.5"),
        "total_conversions": 3,
        "total_revenue": 2,
        "avg_ctr": 1,
        "avg_roas": 4,
    }


def test_hours_are_summed_into_the_totals(world: World, tenant: UUID, campaign: UUID) -> None:
    world.create_source(metric_hour="INT64")
    world.load([row(tenant, metric_hour=hour, clicks=1) for hour in (0, 1, 23)])
    world.sync_one(DAY)

    update(world)

    assert totals(world, campaign)["total_clicks"] == 3


def test_a_campaign_without_rows_has_zero_totals_and_no_ratios(world: World, campaign: UUID) -> None:
    update(world)

    assert totals(world, campaign) == {name: 0 if name.startswith("total") else None for name in NAMES}


def test_a_new_campaign_without_rows_has_zero_totals_beside_one_that_changed(world: World, tenant: UUID) -> None:
    world.campaign(tenant, "c1")
    new = world.campaign(tenant, "c2")
    world.load([row(tenant, "c1", clicks=1)])
    world.sync_one(DAY)

    assert update(world) == Totals(2, 2)
    assert totals(world, new)["total_clicks"] == 0


def test_only_campaigns_whose_totals_changed_are_rewritten(world: World, tenant: UUID, campaign: UUID) -> None:
    world.campaign(tenant, "c2")
    world.campaign(tenant, "empty")
    world.load([row(tenant, "c1", clicks=1, impressions=3), row(tenant, "c2", clicks=1, impressions=3)])
    world.sync_one(DAY)
    assert update(world) == Totals(3, 3)
    before = space_versions(world)
    stamped = world.query("SELECT performance_last_updated FROM campaign_spaces")
    assert update(world) == Totals(3, 0)
    assert space_versions(world) == before

    world.replace(DAY, [row(tenant, "c1", clicks=2, impressions=3), row(tenant, "c2", clicks=1, impressions=3)])
    world.sync_one(DAY)

    assert update(world) == Totals(3, 1)
    after = space_versions(world)
    assert {space for space in after if after[space] != before[space]} == {campaign}
    (moved,) = world.query("SELECT performance_last_updated FROM campaign_spaces WHERE id = %s", [campaign])
    assert moved not in stamped


def test_deleted_rows_lower_the_totals(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=1), row(tenant, metric_date=NEXT_DAY, clicks=2)])
    world.sync(DAY, NEXT_DAY)
    update(world)

    world.replace(DAY, [])
    world.sync_one(DAY, shrink_threshold=None)
    update(world)

    assert totals(world, campaign)["total_clicks"] == 2


def test_the_last_row_deleted_leaves_zero_totals(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=1, impressions=2, spend=1.0)])
    world.sync_one(DAY)
    update(world)

    world.replace(DAY, [])
    world.sync_one(DAY, shrink_threshold=None)
    update(world)

    assert totals(world, campaign) == {name: 0 if name.startswith("total") else None for name in NAMES}


@pytest.mark.parametrize(
    "huge", [{"impressions": 2**63 - 1}, {"clicks": 2**63 - 1}, {"spend": 9e31}, {"revenue": 9e31}]
)
def test_a_sum_too_large_to_store_stops_no_other_campaign(
    world: World, tenant: UUID, campaign: UUID, huge: dict[str, Any]
) -> None:
    sane = world.campaign(tenant, "c2")
    world.load([row(tenant, "c1", metric_date=day, **huge) for day in (DAY, NEXT_DAY)])
    world.load([row(tenant, "c2", clicks=3)])
    world.sync(DAY, NEXT_DAY)

    assert update(world) == Totals(2, 1)

    assert totals(world, sane)["total_clicks"] == 3
    assert set(totals(world, campaign).values()) == {None}
    assert differing(world) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_total_edited_by_hand_is_put_right(world: World, tenant: UUID, campaign: UUID, name: str) -> None:
    world.load([row(tenant, impressions=10, clicks=1, spend=1.0, conversions=1, revenue=1.0)])
    world.sync_one(DAY)
    update(world)
    right = totals(world, campaign)
    world.connection.execute(f"UPDATE campaign_spaces SET {name} = 77".encode())

    assert update(world) == Totals(1, 1)
    assert totals(world, campaign) == right


def test_wrong_totals_are_counted(world: World, tenant: UUID, campaign: UUID) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant, "c1", clicks=1), row(tenant, "c2", clicks=1)])
    world.sync_one(DAY)
    assert differing(world) == 2
    update(world)
    assert differing(world) == 0

    world.connection.execute("UPDATE campaign_spaces SET total_clicks = 2 WHERE external_campaign_id = 'c2'")

    assert differing(world) == 1


def test_assets_do_not_count_in_the_totals(world: World, asset: UUID, campaign: UUID) -> None:
    world.load([asset_row(clicks=1)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)

    update(world)

    assert totals(world, campaign)["total_clicks"] == 0


def test_dates_of_several_months_are_summed_together(world: World, tenant: UUID, campaign: UUID) -> None:
    days = [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 28), date(2026, 3, 1)]
    world.load([row(tenant, metric_date=day, clicks=10**n, spend=0.1) for n, day in enumerate(days)])
    world.sync(*days)

    update(world)

    assert totals(world, campaign)["total_clicks"] == 1111
    assert totals(world, campaign)["total_spend"] == Decimal("0.4")
    months = world.query("SELECT month, clicks FROM campaign_space_months ORDER BY month")
    assert [(row["month"].month, int(row["clicks"])) for row in months] == [(1, 1), (2, 110), (3, 1000)]


def test_only_the_months_of_changed_dates_are_summed_again(world: World, tenant: UUID, campaign: UUID) -> None:
    days = [date(2026, 1, 31), date(2026, 2, 1)]
    world.load([row(tenant, metric_date=day, clicks=1) for day in days])
    world.sync(*days)
    update(world)
    # Wrong on purpose: what is not summed again stays as it is.
    world.connection.execute("UPDATE campaign_space_months SET clicks = 100")

    world.replace(days[1], [row(tenant, metric_date=days[1], clicks=2)])
    world.sync(*days)
    update(world)

    assert totals(world, campaign)["total_clicks"] == 102
    assert differing(world) == 1


def test_totals_wait_for_a_merge_that_has_noted_its_date(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=1)])
    world.sync_one(DAY)
    with connect(world.database_url) as merging, ThreadPoolExecutor() as threads:
        with merging.transaction():
            merging.execute("UPDATE campaign_metrics SET clicks = 5")
            note_changed(merging, DAY)
            updating = threads.submit(update, world)
            until_a_backend_waits(world)
        updating.result(timeout=60)

    assert totals(world, campaign)["total_clicks"] == 5


def test_an_update_that_is_killed_changes_nothing_and_the_next_one_makes_up_for_it(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.load([row(tenant, clicks=1)])
    world.sync_one(DAY)
    update(world)
    world.load([row(tenant, metric_date=NEXT_DAY, clicks=2)])
    world.sync_one(NEXT_DAY)
    sums = world.query("SELECT * FROM campaign_space_sums")

    with (
        connect(world.database_url) as killed,
        ThreadPoolExecutor() as threads,
        world.connection.transaction(),
    ):
        world.connection.execute("SELECT FROM campaign_spaces FOR UPDATE")
        updating = threads.submit(update_totals, killed)
        until_a_backend_waits(world)
        world.connection.execute("SELECT pg_terminate_backend(%s)", [killed.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            updating.result(timeout=60)

    assert world.query("SELECT * FROM campaign_space_sums") == sums
    assert update(world) == Totals(1, 1)
    assert totals(world, campaign)["total_clicks"] == 3
    assert differing(world) == 0


def test_totals_wait_for_another_run_name_it_and_end_when_asked_to(
    world: World, tenant: UUID, campaign: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.load([row(tenant, clicks=1)])
    world.sync_one(DAY)
    holder, stopping = str(uuid4()), threading.Event()
    with (
        connect(world.database_url, holder) as first,
        connect(world.database_url) as second,
        connect(world.database_url) as third,
        ThreadPoolExecutor() as threads,
    ):
        with first.transaction():
            update_totals(first)
            waiting = threads.submit(update_totals, second)
            until_a_backend_waits(world)
            assert f"The lock of the totals of campaign_spaces is held by run {holder}" in caplog.text
            stopped = threads.submit(update_totals, third, LockWait(stopping.is_set))
            stopping.set()
            with pytest.raises(WaitStopped):
                stopped.result(timeout=60)
        waiting.result(timeout=60)

    assert totals(world, campaign)["total_clicks"] == 1


@pytest.mark.parametrize(
    ("column_type", "total"), [("numeric(12,2)", "10.13"), ("bigint", "10"), ("double precision", "10.125")]
)
def test_a_narrower_column_of_the_applications_own_gets_what_fits_it(
    world: World, tenant: UUID, campaign: UUID, column_type: str, total: str
) -> None:
    world.connection.execute(f"ALTER TABLE campaign_spaces ALTER total_spend TYPE {column_type}".encode())
    world.load([row(tenant, spend=10.125)])
    world.sync_one(DAY)

    assert update(world).affected == 1
    assert update(world).affected == 0

    assert str(totals(world, campaign)["total_spend"]) == total
    assert differing(world) == 0


def test_a_sum_too_large_for_a_narrower_column_stops_no_other_campaign(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    sane = world.campaign(tenant, "c2")
    world.connection.execute("ALTER TABLE campaign_spaces ALTER total_spend TYPE numeric(12,2)")
    world.load([row(tenant, spend=9_999_999_999.999), row(tenant, "c2", spend=1.0)])
    world.sync_one(DAY)

    update(world)

    assert totals(world, campaign)["total_spend"] is None
    assert totals(world, sane)["total_spend"] == 1
    assert differing(world) == 1


# Rule 13


@pytest.mark.parametrize("other", ["USD", None])
def test_rows_in_several_currencies_have_no_totals_of_money(
    world: World, tenant: UUID, campaign: UUID, other: str | None
) -> None:
    second = world.campaign(tenant, "c2")
    world.create_source(currency="STRING")
    later = date(2026, 4, 1)  # in another month

    def load(currency: str | None) -> None:
        world.replace(later, [row(tenant, metric_date=later, currency=currency, clicks=1, spend=2.0, revenue=4.0)])
        world.sync_one(later)
        update(world)

    world.load(
        [
            row(tenant, currency="EUR", impressions=100, clicks=1, spend=1.0, conversions=3, revenue=2.0),
            row(tenant, "c2", currency="USD", spend=5.0, revenue=10.0),
        ]
    )
    world.sync_one(DAY)

    load(other)

    assert totals(world, campaign) == {
        "total_impressions": 100,
        "total_clicks": 2,
        "total_spend": None,
        "total_conversions": 3,
        "total_revenue": None,
        "avg_ctr": 2,
        "avg_roas": None,
    }
    assert (totals(world, second)["total_spend"], totals(world, second)["avg_roas"]) == (5, 2)
    assert differing(world) == 0
    assert campaigns_with_several_currencies(world.connection, 20) == (
        1,
        {f"c1 {campaign}": f"EUR, {other or 'none'}"},
    )
    assert update(world).affected == 0

    load("EUR")
    assert (totals(world, campaign)["total_spend"], totals(world, campaign)["avg_roas"]) == (3, 2)
    assert campaigns_with_several_currencies(world.connection, 20) == (0, {})


def test_totals_of_money_that_must_not_be_null_are_left_as_they_are(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.connection.execute(
        "UPDATE campaign_spaces SET total_spend = 0; ALTER TABLE campaign_spaces ALTER total_spend SET NOT NULL"
    )
    other = world.query(
        "INSERT INTO campaign_spaces (tenant_id, name, platform, external_campaign_id, total_spend)"
        " VALUES (%s, 'Other', 'meta', 'c2', 0) RETURNING id",
        [tenant],
    )[0]["id"]
    world.create_source(currency="STRING")
    world.load([row(tenant, currency="EUR", clicks=1, spend=1.0)])
    world.sync_one(DAY)
    update(world)
    before = totals(world, campaign)

    world.load([row(tenant, name, metric_date=NEXT_DAY, currency="USD", spend=2.0) for name in ("c1", "c2")])
    world.sync_one(NEXT_DAY)
    update(world)

    assert totals(world, campaign) == before
    assert before["total_spend"] == 1
    assert totals(world, other)["total_spend"] == 2
    assert differing(world) == 1
