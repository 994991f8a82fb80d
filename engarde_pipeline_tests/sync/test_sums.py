"""The check between the two ends: BigQuery's own sums and Postgres', loaded and rejected together."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from math import inf, nan
from typing import Any
from uuid import UUID

import pytest

from engarde_pipeline.bigquery.sums import sums_by_date as bigquery_sums
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.load.scope import Scope
from engarde_pipeline.postgres.reads.sums import sums_by_date as postgres_sums
from engarde_pipeline.sync.sums import differing_sums
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, asset_row, row
from engarde_pipeline_tests.world import World

STRANGER = "00000000-0000-4000-8000-000000000000"
Sums = dict[tuple[date, str], dict[str, Decimal]]


def in_bigquery(world: World, table: MetricTable = CAMPAIGN_METRICS) -> Sums:
    return bigquery_sums(world.source, world.source.inspect(table), DAY, NEXT_DAY)


def in_postgres(world: World, table: MetricTable = CAMPAIGN_METRICS) -> Sums:
    return postgres_sums(world.connection, table, [DAY, NEXT_DAY])


def numbers(spend: float | None = 0.25, **others: Any) -> dict[str, Any]:
    return {"impressions": 100, "clicks": 10, "spend": spend, "conversions": 3, "revenue": 1.1, **others}


def test_a_synced_date_has_bigquerys_sums(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, **numbers(0.1)), row(tenant, **numbers(0.2))])
    world.load([row(tenant, metric_date=NEXT_DAY, **numbers(0.0000005))])

    world.sync(DAY, NEXT_DAY)

    assert in_bigquery(world) == in_postgres(world)
    one = {
        "impressions": Decimal(100),
        "clicks": Decimal(10),
        "conversions": Decimal(3),
        "revenue": Decimal("1.1"),
    }
    assert in_postgres(world) == {
        (DAY, ""): {**{name: 2 * value for name, value in one.items()}, "spend": Decimal("0.3")},
        (NEXT_DAY, ""): {**one, "spend": Decimal("0.000001")},
    }


@pytest.mark.parametrize("column_type", ["FLOAT64", "NUMERIC(38, 9)"])
def test_sums_agree_to_the_last_micro(world: World, tenant: UUID, column_type: str) -> None:
    world.create_source(spend=column_type, conversions=column_type, revenue=column_type)
    amounts = [0.0000005, 0.0000015, 0.1, 0.3, 98765432.123456, 1234567.8901235, None, 3.0000004, 7.0000004]
    exact = [None if amount is None else Decimal(str(amount)) for amount in amounts]
    for n in range(0, len(amounts), 2):
        world.campaign(tenant, f"c{n // 2}")
    world.load(
        [
            row(tenant, f"c{n // 2}", spend=amount, conversions=amount, revenue=amount)
            for n, amount in enumerate(amounts if column_type == "FLOAT64" else exact)
        ]
    )

    world.sync_one(DAY)

    assert in_bigquery(world) == in_postgres(world)


FAULTS: dict[str, Mapping[str, Any]] = {
    "unmapped": {"campaign_id": "c2"},
    "no_campaign": {"campaign_id": None},
    "no_platform": {"platform": None},
    "no_tenant": {"tenant_id": None},
    "malformed_tenant": {"tenant_id": "Acme"},
    "unknown_tenant": {"tenant_id": STRANGER},
    "negative": {"clicks": -7},
    "negative_amount": {"spend": -0.000001},
    "not_a_number": {"spend": nan},
    "infinite": {"revenue": inf},
    "beyond_storage": {"revenue": 1e32},
    "count_beyond_int64": {"impressions": 2**63 - 1},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_rejected_records_count_on_both_sides(
    world: World, tenant: UUID, campaign: UUID, fault: Mapping[str, Any]
) -> None:
    world.campaign(tenant, "good")
    bad = [row(tenant, **{**numbers(), **fault})] * 2  # two, so that counts can go beyond int64
    world.load([row(tenant, "good", **numbers(0.5)), *bad])

    world.sync_one(DAY)

    assert len(world.rejected()) == 1
    assert in_bigquery(world) == in_postgres(world)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_kept_row_counts_as_what_bigquery_has_now(
    world: World, tenant: UUID, campaign: UUID, fault: Mapping[str, Any]
) -> None:
    world.campaign(tenant, "good")
    world.load([row(tenant, "good", **numbers()), row(tenant, **numbers())])
    world.sync_one(DAY)

    bad = [row(tenant, **{**numbers(0.75, clicks=11), **fault})] * 2
    world.replace(DAY, [row(tenant, "good", **numbers()), *bad])
    world.sync_one(DAY)

    assert len(world.rejected()) == 1
    assert in_bigquery(world) == in_postgres(world)


@pytest.mark.parametrize("measure", CAMPAIGN_METRICS.measure_names)
def test_a_row_edited_by_hand_shows(world: World, tenant: UUID, campaign: UUID, measure: str) -> None:
    world.load([row(tenant, **numbers())])
    world.sync_one(DAY)
    step = "0.000001" if measure in ("spend", "conversions", "revenue") else "1"

    world.connection.execute(f"UPDATE campaign_metrics SET {measure} = {measure} + {step}".encode())

    theirs, ours = in_bigquery(world)[DAY, ""], in_postgres(world)[DAY, ""]
    assert {name for name in theirs if theirs[name] != ours[name]} == {measure}


def test_differing_sums_name_the_dates_and_measures(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, **numbers()), row(tenant, metric_date=NEXT_DAY, **numbers())])
    world.sync_one(DAY)
    source_table = world.source.inspect(CAMPAIGN_METRICS)
    world.connection.execute("UPDATE campaign_metrics SET clicks = clicks + 1")

    changed, missing = differing_sums(world.source, source_table, world.connection, [DAY, NEXT_DAY])

    assert (changed.day, changed.differing_measures) == (DAY, ["clicks"])
    assert changed.postgres["clicks"] == changed.bigquery["clicks"] + 1
    assert (missing.day, set(missing.postgres.values())) == (NEXT_DAY, {Decimal(0)})
    assert differing_sums(world.source, source_table, world.connection, []) == []


def test_a_deleted_row_shows(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, **numbers())])
    world.sync_one(DAY)

    world.connection.execute("DELETE FROM campaign_metrics")

    assert in_postgres(world) == {}
    assert in_bigquery(world) != {}


def test_a_restated_date_shows_until_it_is_synced(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, **numbers())])
    world.sync_one(DAY)

    world.load([row(tenant, **numbers())])

    assert in_bigquery(world) != in_postgres(world)
    world.sync_one(DAY)
    assert in_bigquery(world) == in_postgres(world)


def test_a_tenant_spelled_in_two_ways_is_rounded_once(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(str(tenant), spend=0.0000004), row(str(tenant).upper(), spend=0.0000004)])

    world.sync_one(DAY)

    assert in_postgres(world)[DAY, ""]["spend"] == Decimal("0.000001")
    assert in_bigquery(world) == in_postgres(world)


def test_a_sync_of_the_whole_date_settles_what_a_slice_loaded(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, **numbers())])
    world.sync_one(DAY)
    world.replace(DAY, [row(None, **numbers())])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, **numbers(0.75))])
    world.sync_one(DAY, scope=Scope(tenant_id=tenant))
    world.sync_one(DAY)

    assert in_bigquery(world) == in_postgres(world)


@pytest.mark.parametrize("with_tenant", [True, False])
def test_assets_have_bigquerys_sums(world: World, tenant: UUID, asset: UUID, with_tenant: bool) -> None:
    if with_tenant:
        world.create_source(ASSET_METRICS, tenant_id="STRING")
    engagements = numbers(engagements=5)
    world.load(
        [
            asset_row("a1", tenant_id=str(tenant), **engagements),
            asset_row("a1", **engagements),
            asset_row("a2", **engagements),
            asset_row("a3", **engagements | {"spend": nan}),
            asset_row(None, **engagements),
        ],
        ASSET_METRICS,
    )

    world.sync_one(DAY, table=ASSET_METRICS)

    assert in_bigquery(world, ASSET_METRICS) == in_postgres(world, ASSET_METRICS)
    assert in_postgres(world, ASSET_METRICS)[DAY, ""]["engagements"] == 20
