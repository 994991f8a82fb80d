"""Rule 3: a bad record stops nothing and is not lost."""

from datetime import UTC, datetime
from math import inf, nan
from typing import Any
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, RejectReason
from engarde_pipeline_tests.sync.samples import (
    DAY,
    NEXT_DAY,
    asset_row,
    by_external_id,
    counted,
    measures,
    row,
    versions,
)
from engarde_pipeline_tests.sync.test_assets import BAD_ASSETS
from engarde_pipeline_tests.world import World

FIRST_RUN, SECOND_RUN = uuid4(), uuid4()
BAD_CURRENCIES = ("", "usd", "EURO", "EU", "EUR ", "EUR\n", "EU\0", "ÉUR", "€")
STRANGER = "00000000-0000-4000-8000-000000000000"
TOP = 2**63 - 1

BAD_RECORDS: list[tuple[RejectReason, dict[str, Any]]] = [
    (RejectReason.NULL_KEY, {"tenant_id": None}),
    (RejectReason.NULL_KEY, {"campaign_id": None}),
    (RejectReason.NULL_KEY, {"platform": None}),
    (RejectReason.MALFORMED_KEY, {"campaign_id": "c\x001"}),
    (RejectReason.MALFORMED_KEY, {"platform": "meta\x00"}),
    (RejectReason.MALFORMED_KEY, {"tenant_id": STRANGER + "\x00"}),
    (RejectReason.MALFORMED_TENANT, {"tenant_id": "acme"}),
    (RejectReason.MALFORMED_TENANT, {"tenant_id": ""}),
    (RejectReason.MALFORMED_TENANT, {"tenant_id": STRANGER + " "}),
    (RejectReason.MALFORMED_TENANT, {"tenant_id": STRANGER + "\n"}),
    (RejectReason.UNKNOWN_TENANT, {"tenant_id": STRANGER}),
    (RejectReason.CAMPAIGN_NOT_MAPPED, {"campaign_id": "c2"}),
    (RejectReason.CAMPAIGN_NOT_MAPPED, {"campaign_id": ""}),
    (RejectReason.CAMPAIGN_NOT_MAPPED, {"platform": "google"}),
    (RejectReason.AMBIGUOUS_CAMPAIGN, {"campaign_id": "twice"}),
    *((RejectReason.MALFORMED_CURRENCY, {"currency": currency}) for currency in BAD_CURRENCIES),
    (RejectReason.NOT_A_NUMBER, {"spend": nan}),
    (RejectReason.NOT_A_NUMBER, {"revenue": nan}),
    (RejectReason.NEGATIVE_MEASURE, {"impressions": -1}),
    (RejectReason.NEGATIVE_MEASURE, {"clicks": -TOP - 1}),
    (RejectReason.NEGATIVE_MEASURE, {"spend": -0.01}),
    (RejectReason.NEGATIVE_MEASURE, {"conversions": -1}),
    (RejectReason.NEGATIVE_MEASURE, {"revenue": -1e-9}),
    (RejectReason.NEGATIVE_MEASURE, {"spend": -inf}),
    (RejectReason.OUT_OF_RANGE, {"spend": inf}),
    (RejectReason.OUT_OF_RANGE, {"revenue": 1e32}),
    (RejectReason.OUT_OF_RANGE, {"revenue": 1.7e308}),
    (RejectReason.OUT_OF_RANGE, {"metric_hour": 24}),
    (RejectReason.OUT_OF_RANGE, {"metric_hour": -1}),
    (RejectReason.OUT_OF_RANGE, {"metric_hour": TOP}),
]


def _names(cases: list[tuple[RejectReason, dict[str, Any]]]) -> list[str]:
    return [f"{reason}-{ascii(values)[1:-1]:.40}" for reason, values in cases]


@pytest.mark.parametrize(("reason", "fault"), BAD_RECORDS, ids=_names(BAD_RECORDS))
def test_a_record_with_one_fault_is_rejected_for_it(
    world: World, tenant: UUID, campaign: UUID, reason: RejectReason, fault: dict[str, Any]
) -> None:
    for _ in range(2):
        world.campaign(tenant, "twice")
    world.campaign(tenant, "good")
    world.create_source(metric_hour="INT64", currency="STRING")
    world.load([row(tenant, **fault), row(tenant, "good", clicks=1)])

    synced = world.sync_one(DAY)

    assert counted(synced) == {"processed": 2, "inserted": 1, "rejected": 1, "source_rows": 2}
    assert by_external_id(world, "clicks") == {"good": 1}
    (rejected,) = world.rejected()
    assert (rejected["reason_code"], rejected["reason"]) == (reason, reason.sentence)


def test_every_reason_is_tested() -> None:
    assert {reason for reason, _ in BAD_RECORDS + BAD_ASSETS} == set(RejectReason) - {
        RejectReason.NOT_REPRESENTABLE,
        RejectReason.MIXED_CURRENCY,  # which needs two rows; see test_currencies
    }


# What is wrong is judged source row by source row, and the record is rejected whole


@pytest.mark.parametrize(
    ("reason", "one", "other"),
    [
        (RejectReason.NEGATIVE_MEASURE, {"clicks": -1}, {"clicks": 5}),
        (RejectReason.NEGATIVE_MEASURE, {"spend": -0.5, "clicks": None}, {"spend": 0.5}),
        (RejectReason.NOT_A_NUMBER, {"spend": nan}, {"spend": 1.0}),
        (RejectReason.NOT_A_NUMBER, {"spend": inf}, {"spend": -inf}),
        (RejectReason.OUT_OF_RANGE, {"revenue": inf}, {"revenue": 1.0}),
        (RejectReason.OUT_OF_RANGE, {"revenue": 6e31}, {"revenue": 6e31}),
        (RejectReason.OUT_OF_RANGE, {"impressions": TOP}, {"impressions": 1}),
    ],
)
def test_one_bad_source_row_rejects_its_record_whole(
    world: World, tenant: UUID, campaign: UUID, reason: RejectReason, one: dict[str, Any], other: dict[str, Any]
) -> None:
    world.load([row(tenant, **other), row(tenant, **one), row(tenant, clicks=3)])

    synced = world.sync_one(DAY)

    assert counted(synced) == {"processed": 1, "rejected": 1, "source_rows": 3}
    assert world.rows() == []
    assert world.reasons() == [reason]


def test_the_first_fault_is_the_one_that_is_named(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(STRANGER, "c2", clicks=-1, spend=nan)])

    world.sync_one(DAY)

    assert world.reasons() == [RejectReason.UNKNOWN_TENANT]


# What is kept of it


def test_a_rejected_record_is_kept_with_its_keys_measures_and_run(world: World, tenant: UUID) -> None:
    world.create_source(metric_hour="INT64")
    numbers: dict[str, Any] = {"impressions": 10, "clicks": 1, "conversions": 2, "revenue": 3.5, "metric_hour": 7}
    world.load([row(tenant, "Ünmapped", spend=spend, **numbers) for spend in (0.1, 0.2)])
    before = datetime.now(UTC)

    world.sync_one(DAY, run_id=FIRST_RUN)

    (rejected,) = world.rejected()
    assert (rejected["table_name"], rejected["metric_date"]) == ("campaign_metrics", DAY)
    assert rejected["keys"] == {
        "tenant_id": str(tenant),
        "campaign_id": "Ünmapped",
        "platform": "meta",
        "metric_hour": 7,
    }
    assert rejected["measures"] == {
        "impressions": 20,
        "clicks": 2,
        "spend": 0.3,
        "conversions": 4,
        "revenue": 7,
        "source_rows": 2,
    }
    assert rejected["kept_row_ids"] == []
    assert rejected["run_id"] == FIRST_RUN
    assert rejected["first_seen_at"] == rejected["last_seen_at"] >= before
    assert rejected["resolved_at"] is None


def test_numbers_that_json_does_not_know_are_kept_by_name(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, spend=nan, revenue=inf)])

    world.sync_one(DAY)

    (rejected,) = world.rejected()
    assert (rejected["measures"]["spend"], rejected["measures"]["revenue"]) == ("NaN", "Infinity")


def test_ids_with_a_nul_are_kept_with_it_spelled_out(world: World, tenant: UUID) -> None:
    world.load([row(tenant, "a\x00b"), row(tenant, "\x00ab"), row(tenant, "ab\x00\x00")])

    assert counted(world.sync_one(DAY)) == {"processed": 3, "rejected": 3, "source_rows": 3}
    assert {rejected["keys"]["campaign_id"] for rejected in world.rejected()} == {
        "a\\u0000b",
        "\\u0000ab",
        "ab\\u0000\\u0000",
    }


def test_ids_too_long_to_index_are_kept(world: World, tenant: UUID) -> None:
    ids = {"x" * 10_000, "x" * 9_999, "é" * 10_000}
    world.load([row(tenant, external_id) for external_id in ids])

    for _ in range(2):
        assert counted(world.sync_one(DAY)) == {"processed": 3, "rejected": 3, "source_rows": 3}
    assert {rejected["keys"]["campaign_id"] for rejected in world.rejected(only_open=False)} == ids


def test_every_bad_record_of_a_date_is_kept_and_accounted_for(world: World, tenant: UUID, campaign: UUID) -> None:
    for _ in range(2):
        world.campaign(tenant, "twice")
    world.create_source(metric_hour="INT64")
    bad = [row(tenant, **{"metric_hour": 5, **fault}) for _, fault in BAD_RECORDS]
    world.load([row(tenant, metric_hour=6, clicks=1), *bad])

    for loaded in ("inserted", "unchanged"):
        counts = world.sync_one(DAY).merged.counts
        rejected = world.rejected()
        assert counts.add_up
        assert counts.source_rows == len(bad) + 1
        assert sum(row["measures"]["source_rows"] for row in rejected) == len(bad)
        assert (getattr(counts, loaded), counts.rejected) == (1, len(rejected))
        assert counts.processed == len(rejected) + 1


# What becomes of it later


def test_a_record_rejected_again_refreshes_its_row(world: World, tenant: UUID) -> None:
    world.load([row(tenant, "c2", clicks=1)])
    world.sync_one(DAY, run_id=FIRST_RUN)
    (first,) = world.rejected()
    world.replace(DAY, [row(tenant, "c2", clicks=-1)])
    world.campaign(tenant, "c2")

    world.sync_one(DAY, run_id=SECOND_RUN)

    (again,) = world.rejected(only_open=False)
    assert again["id"] == first["id"]
    assert again["first_seen_at"] == first["first_seen_at"] < again["last_seen_at"]
    assert again["run_id"] == SECOND_RUN
    assert again["reason_code"] == RejectReason.NEGATIVE_MEASURE
    assert again["reason"] == RejectReason.NEGATIVE_MEASURE.sentence
    assert again["measures"]["clicks"] == -1


def test_a_campaign_mapped_later_is_loaded_and_its_rejection_resolved(world: World, tenant: UUID) -> None:
    world.load([row(tenant, "late", clicks=3)])
    world.sync_one(DAY, run_id=FIRST_RUN)
    world.campaign(tenant, "late")

    synced = world.sync_one(DAY, run_id=SECOND_RUN)

    assert counted(synced) == {"processed": 1, "inserted": 1, "source_rows": 1}
    assert by_external_id(world, "clicks") == {"late": 3}
    assert world.rejected() == []
    (resolved,) = world.rejected(only_open=False)
    assert resolved["resolved_at"] > resolved["last_seen_at"]
    assert resolved["run_id"] == FIRST_RUN


def test_a_bad_record_that_vanished_is_resolved(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant), row(tenant, "c2")])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant)])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "unchanged": 1, "source_rows": 1}
    assert world.rejected() == []


def test_a_record_rejected_after_it_was_resolved_is_a_new_rejection(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    for clicks in (-1, 1, -1):
        world.create_source()
        world.load([row(tenant, clicks=clicks)])
        world.sync_one(DAY)

    first, second = sorted(world.rejected(only_open=False), key=lambda rejected: rejected["first_seen_at"])
    assert first["keys"] == second["keys"]
    assert (first["resolved_at"] is None, second["resolved_at"] is None) == (False, True)
    assert first["resolved_at"] < second["first_seen_at"]


def test_the_same_record_on_two_dates_is_two_rejections(world: World, tenant: UUID) -> None:
    world.load([row(tenant, metric_date=DAY), row(tenant, metric_date=NEXT_DAY)])
    world.sync(DAY, NEXT_DAY)

    world.replace(DAY, [])
    world.sync(DAY)

    assert [rejected["metric_date"] for rejected in world.rejected()] == [NEXT_DAY]


def test_a_sync_resolves_nothing_of_the_other_table(world: World, tenant: UUID) -> None:
    world.load([row(tenant)])
    world.load([asset_row()], ASSET_METRICS)
    world.sync_one(DAY)
    world.sync_one(DAY, table=ASSET_METRICS)

    world.replace(DAY, [])
    world.sync_one(DAY)

    assert [rejected["table_name"] for rejected in world.rejected()] == ["asset_metrics"]


# A row that an earlier, good record left keeps its last good value

FAULTS: dict[str, dict[str, Any]] = {
    "negative": {"clicks": -1},
    "not_a_number": {"spend": nan},
    "infinite": {"revenue": inf},
    "no_platform": {"platform": None},
    "no_tenant": {"tenant_id": None},
    "malformed_tenant": {"tenant_id": "acme"},
    "unknown_tenant": {"tenant_id": STRANGER},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_row_whose_record_turned_bad_keeps_its_last_good_value(
    world: World, tenant: UUID, campaign: UUID, fault: dict[str, Any]
) -> None:
    world.load([row(tenant, clicks=5, spend=1.5)])
    world.sync_one(DAY)
    before = versions(world)

    world.replace(DAY, [row(tenant, **{"clicks": 6, "spend": 2.5, **fault})])
    synced = world.sync_one(DAY, shrink_threshold=None)

    assert counted(synced) == {"processed": 1, "rejected": 1, "source_rows": 1}
    assert versions(world) == before
    assert [rejected["kept_row_ids"] for rejected in world.rejected()] == [list(before)]


def test_a_row_whose_campaign_became_ambiguous_keeps_its_last_good_value(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.load([row(tenant, clicks=5)])
    world.sync_one(DAY)
    before = versions(world)
    world.campaign(tenant, "c1")

    synced = world.sync_one(DAY, shrink_threshold=None)

    assert counted(synced) == {"processed": 1, "rejected": 1, "source_rows": 1}
    assert versions(world) == before
    assert [rejected["kept_row_ids"] for rejected in world.rejected()] == [list(before)]


def test_a_kept_row_is_updated_once_its_record_is_good_again(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant, clicks=5)])
    world.sync_one(DAY)
    world.replace(DAY, [row(tenant, clicks=-1)])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, clicks=6)])

    assert counted(world.sync_one(DAY)) == {"processed": 1, "updated": 1, "source_rows": 1}
    assert measures(world)[0]["clicks"] == 6
    assert world.rejected() == []


def test_a_kept_row_is_deleted_once_its_bad_record_is_gone(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant)])
    world.sync_one(DAY)
    world.replace(DAY, [row(tenant, clicks=-1)])
    world.sync_one(DAY)

    world.replace(DAY, [])

    assert counted(world.sync_one(DAY, shrink_threshold=None)) == {"deleted": 1}
    assert (world.rows(), world.rejected()) == ([], [])


def test_every_tenants_row_is_kept_where_nobody_can_say_whose_record_is_bad(world: World) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    for tenant in (acme, globex):
        world.campaign(tenant, "c1")
        world.campaign(tenant, "c2")
    world.load([row(tenant, name) for tenant in (acme, globex) for name in ("c1", "c2")])
    world.sync_one(DAY)

    world.replace(DAY, [row(None, "c1", clicks=1), row(globex, "c1", clicks=2)])
    synced = world.sync_one(DAY)

    assert counted(synced) == {"processed": 2, "updated": 1, "rejected": 1, "deleted": 2, "source_rows": 2}
    kept, updated = sorted(world.rows(), key=lambda loaded: loaded["clicks"])
    assert (kept["tenant_id"], kept["clicks"]) == (acme, 0)
    assert (updated["tenant_id"], updated["clicks"]) == (globex, 2)
    assert [rejected["kept_row_ids"] for rejected in world.rejected()] == [[kept["id"]]]


def test_a_bad_record_keeps_only_its_own_hour(world: World, tenant: UUID, campaign: UUID) -> None:
    world.create_source(metric_hour="INT64")
    world.load([row(tenant, metric_hour=hour) for hour in (None, 0, 1)])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, metric_hour=1, clicks=-1)])
    world.sync_one(DAY, shrink_threshold=None)

    assert [loaded["metric_hour"] for loaded in world.rows()] == [1]


@pytest.mark.parametrize("hour", [-1, 24])
def test_an_hour_that_does_not_exist_keeps_no_row(world: World, tenant: UUID, campaign: UUID, hour: int) -> None:
    world.campaign(tenant, "c2")
    world.create_source(metric_hour="INT64")
    world.load([row(tenant), row(tenant, "c2")])
    world.sync_one(DAY)

    world.replace(DAY, [row(tenant, metric_hour=hour), row(tenant, "c2")])
    world.sync_one(DAY)

    assert list(by_external_id(world, "clicks")) == ["c2"]
