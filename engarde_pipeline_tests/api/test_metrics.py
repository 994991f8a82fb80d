"""The metrics endpoints: sums, ratios of the sums, one tenant's alone."""

from datetime import UTC, date, datetime, timedelta

import pytest

from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
DATES = {"start_date": "2026-03-01", "end_date": "2026-03-02"}


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.load(DAY)
    shop.load(NEXT, clicks=0, conversions=0)
    shop.world.sync(DAY, NEXT, versions=dict.fromkeys((DAY, NEXT), "v1"))
    return shop


def test_by_date_they_are_the_sums_of_each_date(api: Service, synced: Shop) -> None:
    answer = api.get("/metrics", synced.tenant, **DATES)

    assert answer.status_code == 200
    body = answer.json()
    assert datetime.fromisoformat(body.pop("synced_at")) <= datetime.now(UTC)
    assert body == {
        "success": True,
        "start_date": "2026-03-01",
        "end_date": "2026-03-02",
        "group_by": "date",
        "total_records": 2,
        "next_cursor": None,
        "missing_dates": [],
        "provisional_from": None,
        "rejected_records": 0,
        "rejected_spend": 0,
        "metrics": [
            {
                "date": "2026-03-01",
                "currency": None,
                "impressions": 2000,
                "clicks": 20,
                "spend": 21.0,
                "conversions": 2.0,
                "revenue": 84.0,
                "ctr": 1.0,
                "cpc": 1.05,
                "cpm": 10.5,
                "roas": 4.0,
                "conversion_rate": 10.0,
            },
            {
                "date": "2026-03-02",
                "currency": None,
                "impressions": 2000,
                "clicks": 0,
                "spend": 21.0,
                "conversions": 0.0,
                "revenue": 84.0,
                "ctr": 0.0,
                "cpc": None,
                "cpm": 10.5,
                "roas": 4.0,
                "conversion_rate": None,
            },
        ],
    }


def test_by_campaign_a_ratio_is_that_of_the_sums_over_all_dates(api: Service, synced: Shop) -> None:
    groups = api.get("/metrics", synced.tenant, group_by="campaign", **DATES).json()["metrics"]

    assert {group["campaign_space_id"] for group in groups} == {str(synced.first), str(synced.second)}
    assert {group["ctr"] for group in groups} == {0.5}
    assert "date" not in groups[0]


def test_by_platform_there_is_one_group_per_platform(api: Service, synced: Shop) -> None:
    (group,) = api.get("/metrics", synced.tenant, group_by="platform", **DATES).json()["metrics"]

    assert (group["platform"], group["spend"]) == ("meta", 42.0)


def test_they_are_narrowed_to_campaigns_and_a_platform(api: Service, synced: Shop) -> None:
    ids = f"{synced.first}, {synced.first}"

    (group,) = api.get(
        "/metrics", synced.tenant, campaign_space_ids=ids, platform="meta", group_by="platform", **DATES
    ).json()["metrics"]

    assert group["spend"] == 21.0


def test_a_long_list_is_read_page_by_page_without_gaps(api: Service, synced: Shop) -> None:
    found, cursor = [], None
    for _ in range(2):
        page = api.get(
            "/metrics", synced.tenant, limit=1, **({"cursor": cursor} if cursor else {}), **DATES
        ).json()
        assert page["total_records"] == 2
        found += [group["date"] for group in page["metrics"]]
        cursor = page["next_cursor"]

    assert found == ["2026-03-01", "2026-03-02"]
    assert cursor is None


def test_without_dates_they_are_the_last_thirty_days(api: Service, synced: Shop) -> None:
    answer = api.get("/metrics", synced.tenant).json()

    assert (answer["start_date"], answer["end_date"]) == (str(today() - timedelta(days=29)), str(latest_date()))


def test_a_campaign_has_a_point_per_date_and_a_summary(api: Service, synced: Shop) -> None:
    answer = api.get(f"/metrics/{synced.first}", synced.tenant, **DATES).json()

    assert answer["success"] is True
    assert [point["date"] for point in answer["metrics"]] == ["2026-03-01", "2026-03-02"]
    assert answer["summary"] == {
        "currency": None,
        "total_impressions": 2000,
        "total_clicks": 10,
        "total_spend": 21.0,
        "total_conversions": 1.0,
        "total_revenue": 84.0,
        "avg_ctr": 0.5,
        "avg_roas": 4.0,
        "avg_cpc": 2.1,
        "conversion_rate": 10.0,
        "days_tracked": 2,
    }


def test_a_campaign_without_numbers_has_sums_of_zero_and_no_ratios(api: Service, shop: Shop) -> None:
    answer = api.get(f"/metrics/{shop.first}", shop.tenant).json()

    assert answer["metrics"] == []
    assert (answer["summary"]["total_spend"], answer["summary"]["avg_ctr"]) == (0.0, None)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"start_date": "1 March"}, "start_date"),
        ({"end_date": "2026-02-30"}, "end_date"),
        ({"end_date": "1700000000"}, "end_date"),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "start_date"),
        ({"group_by": "tenant"}, "group_by"),
        ({"campaign_space_ids": "c1"}, "campaign_space_ids"),
        ({"limit": 0}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"platform": "a\x00b"}, "platform"),
        ({"campaign_space_ids": ""}, "campaign_space_ids"),
        ({"campaign_space_ids": ","}, "campaign_space_ids"),
        ({"group_by": "platform", "cursor": "a\x00b"}, "cursor"),
    ],
)
def test_a_request_that_makes_no_sense_names_the_field(
    api: Service, shop: Shop, params: dict[str, str], field: str
) -> None:
    answer = api.get("/metrics", shop.tenant, **params)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("end_date", ["0001-01-01", "9999-12-31"])
def test_the_ends_of_the_calendar_are_dates_too(api: Service, shop: Shop, end_date: str) -> None:
    assert api.get("/metrics", shop.tenant, end_date=end_date).status_code == 200


@pytest.mark.parametrize("group_by", ["date", "campaign", "platform"])
def test_a_range_costs_as_much_as_the_dates_in_it_that_have_rows(
    api: Service, synced: Shop, group_by: str
) -> None:
    always = {"start_date": "0001-01-01", "end_date": "9999-12-31", "group_by": group_by}

    answer = api.get("/metrics", synced.tenant, **always)

    assert answer.status_code == 200, answer.text
    assert answer.json()["metrics"] == api.get("/metrics", synced.tenant, **{**always, **DATES}).json()["metrics"]


def test_a_campaign_of_another_tenant_is_not_found(api: Service, synced: Shop) -> None:
    other = synced.world.tenant("Other")

    assert api.get(f"/metrics/{synced.first}", other).status_code == 404
    assert api.get("/metrics", other, campaign_space_ids=str(synced.first), **DATES).status_code == 404
