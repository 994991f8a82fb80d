"""What the ratios mean: from the record's sums, and NULL where the denominator is zero."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline_tests.sync.samples import DAY, asset_row, row
from engarde_pipeline_tests.world import World

NUMBERS: dict[str, Any] = {"impressions": 8000, "clicks": 250, "spend": 75.5, "conversions": 5, "revenue": 302.0}


def ratios(world: World, table: MetricTable = CAMPAIGN_METRICS) -> dict[str, Decimal | None]:
    (loaded,) = world.rows(table)
    return {ratio.name: loaded[ratio.name] for ratio in table.ratios}


def test_every_ratio_of_a_campaign(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, **NUMBERS)])

    world.sync_one(DAY)

    assert ratios(world) == {
        "ctr": Decimal("3.125"),
        "cpc": Decimal("0.302"),
        "cpm": Decimal("9.4375"),
        "roas": Decimal(4),
        "conversion_rate": Decimal(2),
    }


def test_every_ratio_of_an_asset(world: World, asset: UUID) -> None:
    world.load([asset_row(**NUMBERS, engagements=1000)], ASSET_METRICS)

    world.sync_one(DAY, table=ASSET_METRICS)

    assert ratios(world, ASSET_METRICS) == {"ctr": Decimal("3.125"), "engagement_rate": Decimal("12.5")}


@pytest.mark.parametrize(
    ("zero", "undefined"),
    [
        ("impressions", {"ctr", "cpm"}),
        ("clicks", {"cpc", "conversion_rate"}),
        ("spend", {"roas"}),
        ("conversions", set()),
        ("revenue", set()),
    ],
)
def test_a_ratio_is_null_exactly_where_its_denominator_is_zero(
    world: World, tenant: UUID, campaign: UUID, zero: str, undefined: set[str]
) -> None:
    world.load([row(tenant, **NUMBERS | {zero: 0})])

    world.sync_one(DAY)

    assert {name for name, value in ratios(world).items() if value is None} == undefined


def test_a_numerator_of_zero_gives_zero(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, impressions=10, clicks=10, spend=0.0, conversions=0, revenue=0.0)])

    world.sync_one(DAY)

    assert ratios(world) == {"ctr": 100, "cpc": 0, "cpm": 0, "roas": None, "conversion_rate": 0}


def test_the_ratios_of_an_asset_without_impressions_are_null(world: World, asset: UUID) -> None:
    world.load([asset_row(clicks=3, engagements=4)], ASSET_METRICS)

    world.sync_one(DAY, table=ASSET_METRICS)

    assert ratios(world, ASSET_METRICS) == {"ctr": None, "engagement_rate": None}


def test_a_ratio_is_of_the_sums_and_no_average_of_ratios(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, impressions=10, clicks=10), row(tenant, impressions=990, clicks=0)])

    world.sync_one(DAY)

    assert ratios(world)["ctr"] == 1


def test_a_ratio_without_an_end_has_at_least_sixteen_digits(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, impressions=3, clicks=1, spend=0.000001)])

    world.sync_one(DAY)

    found = ratios(world)
    assert found["ctr"] is not None
    assert abs(found["ctr"] - Decimal(100) / 3) < Decimal("1e-14")
    assert found["cpm"] is not None
    assert abs(found["cpm"] - Decimal("0.001") / 3) < Decimal("1e-16")


def test_a_restated_measure_changes_its_ratios(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, impressions=100, clicks=1)])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, impressions=0, clicks=2, spend=3.0)])
    world.sync_one(DAY)

    assert ratios(world) == {"ctr": None, "cpc": Decimal("1.5"), "cpm": None, "roas": 0, "conversion_rate": 0}


def test_ratios_that_bigquery_has_are_never_trusted(world: World, tenant: UUID, campaign: UUID) -> None:
    theirs: dict[str, Any] = dict.fromkeys(("ctr", "cpc", "cpm", "roas", "conversion_rate"), 0.0625)
    types: dict[str, Any] = dict.fromkeys(theirs, "FLOAT64")
    world.create_source(**types)
    world.load([row(tenant, **NUMBERS, **theirs)])

    world.sync_one(DAY)

    assert Decimal("0.0625") not in ratios(world).values()
    assert ratios(world)["ctr"] == Decimal("3.125")
