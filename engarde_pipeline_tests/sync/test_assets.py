"""Asset metrics: the same rules, one level down, with a tenant that may have to be found."""

from math import inf, nan
from typing import Any
from uuid import UUID

import pytest

from engarde_pipeline.bigquery.errors import TableMissing
from engarde_pipeline.core.metrics import ASSET_METRICS, RejectReason
from engarde_pipeline_tests.sync.samples import DAY, asset_row, counted, measures, row, versions
from engarde_pipeline_tests.world import World

STRANGER = "00000000-0000-4000-8000-000000000000"

BAD_ASSETS: list[tuple[RejectReason, dict[str, Any]]] = [
    (RejectReason.NULL_KEY, {"campaign_id": None}),
    (RejectReason.NULL_KEY, {"asset_id": None}),
    (RejectReason.NULL_KEY, {"platform": None}),
    (RejectReason.MALFORMED_KEY, {"asset_id": "a\x001"}),
    (RejectReason.MALFORMED_TENANT, {"tenant_id": "acme"}),
    (RejectReason.UNKNOWN_TENANT, {"tenant_id": STRANGER}),
    (RejectReason.AMBIGUOUS_TENANT, {"campaign_id": "shared"}),
    (RejectReason.CAMPAIGN_NOT_MAPPED, {"campaign_id": "c2"}),
    (RejectReason.CAMPAIGN_NOT_MAPPED, {"platform": "google"}),
    (RejectReason.AMBIGUOUS_CAMPAIGN, {"campaign_id": "twice"}),
    (RejectReason.ASSET_NOT_MAPPED, {"asset_id": "a2"}),
    (RejectReason.ASSET_NOT_MAPPED, {"asset_id": "elsewhere"}),
    (RejectReason.AMBIGUOUS_ASSET, {"asset_id": "twice"}),
    (RejectReason.NOT_A_NUMBER, {"spend": nan}),
    (RejectReason.NEGATIVE_MEASURE, {"engagements": -1}),
    (RejectReason.OUT_OF_RANGE, {"revenue": inf}),
]


@pytest.mark.parametrize(
    ("reason", "fault"), BAD_ASSETS, ids=[f"{reason}-{ascii(fault)[1:-1]}" for reason, fault in BAD_ASSETS]
)
def test_a_record_with_one_fault_is_rejected_for_it(
    world: World, tenant: UUID, campaign: UUID, asset: UUID, reason: RejectReason, fault: dict[str, Any]
) -> None:
    other = world.tenant("Globex")
    for owner, name in ((tenant, "shared"), (other, "shared"), (tenant, "twice"), (tenant, "twice")):
        world.asset(world.campaign(owner, name), "a1")
    for name in ("twice", "twice", "good"):
        world.asset(campaign, name)
    world.asset(world.campaign(tenant, "c3"), "elsewhere")
    world.create_source(ASSET_METRICS, tenant_id="STRING")
    world.load([asset_row(**fault), asset_row("good", clicks=1)], ASSET_METRICS)

    synced = world.sync_one(DAY, table=ASSET_METRICS)

    assert counted(synced) == {"processed": 2, "inserted": 1, "rejected": 1, "source_rows": 2}
    assert [loaded["clicks"] for loaded in world.rows(ASSET_METRICS)] == [1]
    (rejected,) = world.rejected()
    assert (rejected["reason_code"], rejected["reason"]) == (reason, reason.sentence)
    assert rejected["table_name"] == "asset_metrics"


def test_the_tenant_of_a_table_without_tenants_is_found_through_the_campaign(
    world: World, tenant: UUID, asset: UUID
) -> None:
    world.campaign(world.tenant("Globex"), "c1", platform="google")
    world.load(
        [
            asset_row(impressions=5, clicks=4, spend=0.1, conversions=3, revenue=2.5, engagements=2),
            asset_row(impressions=5, clicks=4, spend=0.2, conversions=3, revenue=2.5, engagements=2),
        ],
        ASSET_METRICS,
    )

    synced = world.sync_one(DAY, table=ASSET_METRICS)

    assert counted(synced) == {"processed": 1, "inserted": 1, "source_rows": 2}
    (loaded,) = world.rows(ASSET_METRICS)
    assert (loaded["tenant_id"], loaded["campaign_asset_id"], loaded["platform"]) == (tenant, asset, "meta")
    assert [{name: float(value) for name, value in sums.items()} for sums in measures(world, ASSET_METRICS)] == [
        {"impressions": 10, "clicks": 8, "spend": 0.3, "conversions": 6, "revenue": 5, "engagements": 4}
    ]


def test_rows_with_and_without_a_tenant_are_one_record(world: World, tenant: UUID, asset: UUID) -> None:
    world.create_source(ASSET_METRICS, tenant_id="STRING")
    named = [None, str(tenant), str(tenant).upper()]
    world.load([asset_row(tenant_id=name, clicks=1) for name in named], ASSET_METRICS)

    assert counted(world.sync_one(DAY, table=ASSET_METRICS)) == {"processed": 1, "inserted": 1, "source_rows": 3}
    assert measures(world, ASSET_METRICS)[0]["clicks"] == 3


def test_a_named_tenant_settles_what_would_be_ambiguous(world: World, tenant: UUID, asset: UUID) -> None:
    world.asset(world.campaign(world.tenant("Globex"), "c1"), "a1")
    world.create_source(ASSET_METRICS, tenant_id="STRING")
    world.load([asset_row(tenant_id=str(tenant), clicks=1), asset_row(clicks=2)], ASSET_METRICS)

    synced = world.sync_one(DAY, table=ASSET_METRICS)

    assert counted(synced) == {"processed": 2, "inserted": 1, "rejected": 1, "source_rows": 2}
    (loaded,) = world.rows(ASSET_METRICS)
    assert (loaded["campaign_asset_id"], loaded["clicks"]) == (asset, 1)
    assert world.reasons() == [RejectReason.AMBIGUOUS_TENANT]


def test_the_same_asset_id_in_two_campaigns_is_two_assets(world: World, tenant: UUID, asset: UUID) -> None:
    other = world.asset(world.campaign(tenant, "c2"), "a1")
    world.load([asset_row("a1", "c1", clicks=1), asset_row("a1", "c2", clicks=2)], ASSET_METRICS)

    world.sync_one(DAY, table=ASSET_METRICS)

    found = {loaded["campaign_asset_id"]: loaded["clicks"] for loaded in world.rows(ASSET_METRICS)}
    assert found == {asset: 1, other: 2}


def test_a_second_sync_of_the_same_assets_writes_nothing(world: World, asset: UUID) -> None:
    world.load([asset_row(clicks=1, engagements=7)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    before = versions(world, ASSET_METRICS)

    assert counted(world.sync_one(DAY, table=ASSET_METRICS)) == {"processed": 1, "unchanged": 1, "source_rows": 1}
    assert versions(world, ASSET_METRICS) == before


def test_only_engagements_changed_is_a_change(world: World, asset: UUID) -> None:
    world.load([asset_row(impressions=10, engagements=1)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)

    world.replace(DAY, [asset_row(impressions=10, engagements=2)], ASSET_METRICS)

    assert counted(world.sync_one(DAY, table=ASSET_METRICS)) == {"processed": 1, "updated": 1, "source_rows": 1}
    assert world.rows(ASSET_METRICS)[0]["engagement_rate"] == 20


def test_a_vanished_asset_is_deleted(world: World, campaign: UUID, asset: UUID) -> None:
    world.asset(campaign, "a2")
    world.load([asset_row("a1"), asset_row("a2")], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)

    world.replace(DAY, [asset_row("a1")], ASSET_METRICS)

    assert counted(world.sync_one(DAY, table=ASSET_METRICS))["deleted"] == 1
    assert [loaded["campaign_asset_id"] for loaded in world.rows(ASSET_METRICS)] == [asset]


def test_an_asset_whose_tenant_became_ambiguous_keeps_its_last_good_value(world: World, asset: UUID) -> None:
    world.load([asset_row(clicks=1)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    before = versions(world, ASSET_METRICS)
    world.campaign(world.tenant("Globex"), "c1")

    world.sync_one(DAY, table=ASSET_METRICS)

    assert world.reasons() == [RejectReason.AMBIGUOUS_TENANT]
    assert versions(world, ASSET_METRICS) == before
    assert [rejected["kept_row_ids"] for rejected in world.rejected()] == [list(before)]


def test_an_asset_added_later_is_loaded_and_its_rejection_resolved(world: World, campaign: UUID) -> None:
    world.load([asset_row("late", clicks=1)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    world.asset(campaign, "late")

    assert counted(world.sync_one(DAY, table=ASSET_METRICS)) == {"processed": 1, "inserted": 1, "source_rows": 1}
    assert world.rejected() == []


def test_a_campaign_mapped_later_resolves_the_rejections_of_its_assets(world: World, tenant: UUID) -> None:
    world.load([asset_row(clicks=1)], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)
    world.asset(world.campaign(tenant, "c1"), "a1")

    world.sync_one(DAY, table=ASSET_METRICS)

    assert measures(world, ASSET_METRICS)[0]["clicks"] == 1
    assert world.rejected() == []


def test_assets_leave_the_numbers_of_their_campaign_alone(world: World, tenant: UUID, asset: UUID) -> None:
    world.load([row(tenant, clicks=10)])
    world.load([asset_row(clicks=99)], ASSET_METRICS)
    world.sync_one(DAY)
    before = versions(world)

    world.sync_one(DAY, table=ASSET_METRICS)

    assert versions(world) == before


def test_without_the_table_the_source_says_that_it_is_missing(world: World) -> None:
    with pytest.raises(TableMissing, match=rf"{world.dataset}\.asset_metrics"):
        world.source.inspect(ASSET_METRICS)
