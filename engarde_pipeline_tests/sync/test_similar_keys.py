"""A rejected record whose key differs only in case or blanks from what the application has says so."""

from typing import Any
from uuid import UUID

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, RejectReason
from engarde_pipeline.postgres.load.rejected import open_reasons
from engarde_pipeline_tests.sync.samples import DAY, asset_row, row
from engarde_pipeline_tests.world import World


def _said(world: World) -> list[str]:
    return [rejected["reason"] for rejected in world.rejected()]


@pytest.mark.parametrize(
    "spelling",
    [
        {"platform": "Meta"},
        {"platform": "meta "},
        {"campaign_id": " c1"},
        {"campaign_id": "C1\t"},
        {"campaign_id": "c\u00a01"},
        {"platform": "META", "campaign_id": "\ufeffC1"},
    ],
    ids=repr,
)
def test_a_campaign_spelled_otherwise_is_named(
    world: World, tenant: UUID, campaign: UUID, spelling: dict[str, Any]
) -> None:
    world.load([{**row(tenant), **spelling}])
    world.sync_one(DAY)

    assert world.reasons() == ["campaign_not_mapped"]
    (said,) = _said(world)
    assert 'differs only in case or blanks: platform "meta" and id "c1"; correct the spelling' in said


@pytest.mark.parametrize("spelling", [" {}", "{}\n", "{}\u00a0"])
def test_a_tenant_spelled_with_blanks_is_named(world: World, tenant: UUID, campaign: UUID, spelling: str) -> None:
    world.load([row(spelling.format(str(tenant).upper()))])
    world.sync_one(DAY)

    assert world.reasons() == ["malformed_tenant"]
    (said,) = _said(world)
    assert f'differs only in case or blanks from that of the tenant "{tenant}"' in said


@pytest.mark.parametrize(
    ("spelling", "reason", "near"),
    [
        ({"asset_id": "A1"}, "asset_not_mapped", '"a1"'),
        ({"asset_id": "a1 "}, "asset_not_mapped", '"a1"'),
        ({"campaign_id": "C1"}, "campaign_not_mapped", 'platform "meta" and id "c1"'),
    ],
)
def test_an_asset_or_its_campaign_spelled_otherwise_is_named(
    world: World, asset: UUID, spelling: dict[str, Any], reason: str, near: str
) -> None:
    world.load([{**asset_row(), **spelling}], ASSET_METRICS)
    world.sync_one(DAY, table=ASSET_METRICS)

    assert world.reasons() == [reason]
    (said,) = _said(world)
    assert f"differs only in case or blanks: {near}; correct the spelling" in said


def test_a_key_that_is_like_none_or_like_another_tenants_keeps_the_plain_sentence(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.campaign(world.tenant("Other"), "theirs")
    world.load([row(tenant, "c2"), row(tenant, "THEIRS")])
    world.sync_one(DAY)

    assert _said(world) == [RejectReason.CAMPAIGN_NOT_MAPPED.sentence] * 2


def test_nearly_right_records_are_counted_beside_those_that_were_never_connected(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.load([row(tenant, "C1"), row(tenant, " c1"), *(row(tenant, f"x{n}") for n in range(3))])
    world.sync_one(DAY)

    never, near = open_reasons(world.connection, DAY, DAY)
    assert (never.records, never.reason) == (3, RejectReason.CAMPAIGN_NOT_MAPPED.sentence)
    assert (near.reason_code, near.records) == ("campaign_not_mapped", 2)
    assert "differs only in case or blanks" in near.reason


def test_the_sentence_follows_when_the_application_corrects_its_spelling_to_another(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.load([row(tenant, "C1")])
    world.sync_one(DAY)
    world.connection.execute("UPDATE campaign_spaces SET external_campaign_id = 'other'")
    world.sync_one(DAY)

    assert _said(world) == [RejectReason.CAMPAIGN_NOT_MAPPED.sentence]
