"""The rejected records of a tenant: what could not be loaded, why, and what to do."""

from datetime import date, timedelta
from typing import Any

import pytest

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, RejectReason
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
DATES = {"start_date": str(DAY), "end_date": str(NEXT)}


def records(api: Service, shop: Shop, **params: Any) -> list[dict[str, Any]]:
    answer = api.get("/rejected-records", shop.tenant, **{**DATES, **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rejected_records"]
    return found


@pytest.fixture
def rejected(shop: Shop) -> Shop:
    """Two dates with an unmapped campaign, a NaN and an asset that is not mapped."""
    shop.load(DAY, NEXT)
    shop.load_unmapped(DAY)
    shop.load_unmapped(NEXT)
    keys = {"tenant_id": str(shop.tenant).upper(), "campaign_id": "c1", "platform": "meta"}
    shop.world.replace(NEXT, [{**keys, "metric_date": NEXT, "clicks": 3, "spend": float("nan")}])
    shop.load_unmapped(NEXT)
    shop.world.load(
        [{"platform": "meta", "metric_date": DAY, "campaign_id": "c1", "asset_id": "a2", "engagements": 4}],
        ASSET_METRICS,
    )
    shop.world.sync(DAY, NEXT)
    shop.world.sync(DAY, table=ASSET_METRICS)
    return shop


def test_they_are_newest_first_and_say_what_to_do(api: Service, rejected: Shop) -> None:
    found = records(api, rejected)

    assert [record["date"] for record in found] == [str(NEXT), str(NEXT), str(DAY), str(DAY)]
    assert {(record["table"], record["reason"], record["keys"]["campaign_id"]) for record in found} == {
        (CAMPAIGN_METRICS.source, "not_a_number", "c1"),
        (CAMPAIGN_METRICS.source, "campaign_not_mapped", "c3"),
        (ASSET_METRICS.source, "asset_not_mapped", "c1"),
    }
    for record in found:
        assert record["what_to_do"] == RejectReason(record["reason"]).sentence
        assert record["keys"]["tenant_id"] == str(rejected.tenant)
        assert record["first_seen_at"] == record["last_seen_at"]
        assert record["source_rows"] == 1


def test_a_reason_and_dates_narrow_them(api: Service, rejected: Shop) -> None:
    (nan,) = records(api, rejected, reason="not_a_number")
    assert (nan["measures"]["clicks"], nan["measures"]["spend"]) == (3, "NaN")
    (asset,) = records(api, rejected, reason="asset_not_mapped")
    assert (asset["keys"]["asset_id"], asset["measures"]["engagements"]) == ("a2", 4)

    assert {record["date"] for record in records(api, rejected, end_date=str(DAY))} == {str(DAY)}
    assert records(api, rejected, reason="null_key") == []


def test_they_are_read_page_by_page_without_gaps(api: Service, rejected: Shop) -> None:
    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        page = api.get("/rejected-records", rejected.tenant, limit=1, **DATES, **cursor).json()
        assert (len(page["rejected_records"]), page["total_records"]) == (1, 4)
        pages += page["rejected_records"]
        cursor = {"cursor": page["next_cursor"]}

    assert cursor == {"cursor": None}
    assert pages == records(api, rejected)


def test_one_that_a_later_sync_loads_is_gone(api: Service, rejected: Shop) -> None:
    rejected.world.campaign(rejected.tenant, "c3")

    rejected.world.sync(DAY, NEXT)

    assert {record["reason"] for record in records(api, rejected)} == {"not_a_number", "asset_not_mapped"}
    (seen_again,) = records(api, rejected, reason="not_a_number")
    assert seen_again["first_seen_at"] < seen_again["last_seen_at"]


def test_those_of_another_tenant_and_of_no_tenant_are_not_shown(api: Service, rejected: Shop) -> None:
    other = rejected.world.tenant("Other")
    for tenant in (str(other), "acme", "00000000-0000-0000-0000-000000000001"):
        rejected.load_unmapped(DAY, tenant=tenant)
    # A campaign of two tenants: an asset's row, which names no tenant, belongs to neither.
    for owner in (other, rejected.tenant):
        rejected.world.campaign(owner, "shared")
    row = {"platform": "meta", "metric_date": DAY, "campaign_id": "shared", "asset_id": "a1"}
    rejected.world.load([row], ASSET_METRICS)
    rejected.world.sync(DAY)
    rejected.world.sync(DAY, table=ASSET_METRICS)
    assert {"malformed_tenant", "unknown_tenant", "ambiguous_tenant"} < set(rejected.world.reasons())

    assert len(records(api, rejected)) == 4
    (theirs,) = api.get("/rejected-records", other, **DATES).json()["rejected_records"]
    assert theirs["keys"]["tenant_id"] == str(other)


def test_without_dates_they_are_those_of_the_last_thirty_days(api: Service, shop: Shop) -> None:
    answer = api.get("/rejected-records", shop.tenant).json()

    assert (answer["start_date"], answer["rejected_records"]) == (str(today() - timedelta(days=29)), [])


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"reason": "bad"}, "reason"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "2026-03-01"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "start_date"),
        ({"resons": "not_a_number"}, "resons"),
    ],
)
def test_a_request_that_makes_no_sense_names_the_field(
    api: Service, shop: Shop, params: dict[str, str], field: str
) -> None:
    answer = api.get("/rejected-records", shop.tenant, **params)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
