"""The metrics of creatives: those of campaigns, and engagements; and the top of many groups, with names."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
DATES = {"start_date": str(DAY), "end_date": str(NEXT)}


class Gallery:
    """A tenant with three creatives: two of the first campaign, one of the second."""

    def __init__(self, shop: Shop) -> None:
        self.world, self.tenant = shop.world, shop.tenant
        self.campaigns = shop.first, shop.second
        self.assets = (
            shop.asset,
            self.world.asset(shop.first, "a2"),
            self.world.asset(shop.second, "a3"),
        )
        self.load(DAY, "c1", "a1", impressions=1000, clicks=10, spend=10.0, revenue=40.0, engagements=50)
        self.load(NEXT, "c1", "a1", impressions=1000, clicks=30, spend=10.0, revenue=0.0, engagements=150)
        self.load(DAY, "c1", "a2", impressions=500, clicks=0, spend=7.5, engagements=5)
        self.load(DAY, "c2", "a3", impressions=0, clicks=0, spend=30.0, conversions=2)
        self.sync()

    def load(self, day: date, campaign: str, asset: str, **measures: Any) -> None:
        row = {"platform": "meta", "metric_date": day, "campaign_id": campaign, "asset_id": asset, **measures}
        self.world.load([row], ASSET_METRICS)

    def sync(self) -> None:
        self.world.sync(DAY, NEXT, table=ASSET_METRICS)

    def names(self, api: Service, **params: Any) -> list[str]:
        """Return the names of the groups, in the order of the response."""
        return [group["name"] for group in groups(api, self.tenant, **{"group_by": "asset", **params})]


@pytest.fixture
def gallery(shop: Shop) -> Gallery:
    return Gallery(shop)


def groups(api: Service, tenant: UUID, path: str = "/assets/metrics", **params: Any) -> list[dict[str, Any]]:
    answer = api.get(path, tenant, **{**DATES, **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["metrics"]
    return found


def test_by_date_they_are_sums_with_every_ratio_of_the_sums(api: Service, gallery: Gallery) -> None:
    first, second = groups(api, gallery.tenant)

    assert first == {
        "date": "2026-03-01",
        "currency": None,
        "impressions": 1500,
        "clicks": 10,
        "spend": 47.5,
        "conversions": 2.0,
        "revenue": 40.0,
        "engagements": 55,
        "ctr": pytest.approx(100 * 10 / 1500),
        "cpc": 4.75,
        "cpm": pytest.approx(1000 * 47.5 / 1500),
        "roas": pytest.approx(40 / 47.5),
        "conversion_rate": 20.0,
        "engagement_rate": pytest.approx(100 * 55 / 1500),
    }
    assert (second["date"], second["engagement_rate"]) == ("2026-03-02", 15.0)


def test_by_asset_campaign_and_platform(api: Service, gallery: Gallery) -> None:
    by_asset = groups(api, gallery.tenant, group_by="asset")
    assert {group["campaign_asset_id"]: (group["name"], group["engagements"]) for group in by_asset} == {
        str(gallery.assets[0]): ("a1", 200),
        str(gallery.assets[1]): ("a2", 5),
        str(gallery.assets[2]): ("a3", 0),
    }
    assert {group["ctr"] for group in by_asset if group["name"] == "a1"} == {2.0}

    by_campaign = groups(api, gallery.tenant, group_by="campaign")
    assert {group["campaign_space_id"]: (group["name"], group["spend"]) for group in by_campaign} == {
        str(gallery.campaigns[0]): ("c1", 27.5),
        str(gallery.campaigns[1]): ("c2", 30.0),
    }
    assert {group["engagement_rate"] for group in by_campaign if group["name"] == "c2"} == {None}

    (platform,) = groups(api, gallery.tenant, group_by="platform")
    assert (platform["platform"], platform["spend"]) == ("meta", 57.5)
    assert "name" not in platform


def test_they_are_narrowed_to_assets_campaigns_and_a_platform(api: Service, gallery: Gallery) -> None:
    first, second, third = gallery.assets

    assert gallery.names(api, campaign_asset_ids=f"{first},{third}", order_by="spend") == ["a3", "a1"]
    assert gallery.names(api, campaign_space_ids=str(gallery.campaigns[0]), order_by="spend") == ["a1", "a2"]
    assert gallery.names(api, campaign_space_ids=str(gallery.campaigns[1]), campaign_asset_ids=str(second)) == []
    assert len(gallery.names(api, platform="meta")) == 3
    assert api.get("/assets/metrics", gallery.tenant, platform="google").status_code == 422


def test_a_creative_has_a_point_per_date_and_a_summary(api: Service, gallery: Gallery) -> None:
    answer = api.get(f"/assets/{gallery.assets[0]}/metrics", gallery.tenant, **DATES).json()

    assert [(point["date"], point["engagements"]) for point in answer["metrics"]] == [
        ("2026-03-01", 50),
        ("2026-03-02", 150),
    ]
    assert answer["campaign_asset_id"] == str(gallery.assets[0])
    assert answer["summary"] == {
        "currency": None,
        "total_impressions": 2000,
        "total_clicks": 40,
        "total_spend": 20.0,
        "total_conversions": 0.0,
        "total_revenue": 40.0,
        "total_engagements": 200,
        "avg_ctr": 2.0,
        "avg_roas": 2.0,
        "avg_cpc": 0.5,
        "conversion_rate": 0.0,
        "engagement_rate": 10.0,
        "days_tracked": 2,
    }


def test_those_of_another_tenant_are_not_found(api: Service, gallery: Gallery) -> None:
    other = gallery.world.tenant("Other")
    theirs = gallery.world.asset(gallery.world.campaign(other, "x"), "a1")

    assert groups(api, other, group_by="asset") == []
    for asset in (theirs, uuid4()):
        assert api.get(f"/assets/{asset}/metrics", gallery.tenant).status_code == 404
        both = f"{gallery.assets[0]},{asset}"
        assert api.get("/assets/metrics", gallery.tenant, campaign_asset_ids=both).status_code == 404
    for path in ("/assets/metrics", f"/assets/{theirs}/metrics", "/rejected-records"):
        assert api.get(path, uuid4()).status_code == 403


# The top of many groups


def test_the_top_by_a_measure_or_ratio_comes_first_and_null_last(api: Service, gallery: Gallery) -> None:
    assert gallery.names(api, order_by="spend") == ["a3", "a1", "a2"]
    assert gallery.names(api, order_by="spend", order="asc") == ["a2", "a1", "a3"]
    assert gallery.names(api, order_by="spend", order="desc", limit=1) == ["a3"]
    # 10 %, 1 %, and no impressions
    assert gallery.names(api, order_by="engagement_rate") == ["a1", "a2", "a3"]
    assert gallery.names(api, order_by="engagement_rate", order="asc") == ["a2", "a1", "a3"]


def test_without_a_measure_the_order_is_that_of_the_keys(api: Service, gallery: Gallery) -> None:
    assert [group["date"] for group in groups(api, gallery.tenant, order="desc")] == [str(NEXT), str(DAY)]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("order_by", [None, "clicks", "engagement_rate", "cpc", "revenue"])
def test_an_ordered_list_is_read_page_by_page_without_gaps(
    api: Service, gallery: Gallery, order_by: str | None, order: str
) -> None:
    params = {"order": order, **({"order_by": order_by} if order_by else {})}
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        answer = api.get(
            "/assets/metrics", gallery.tenant, group_by="asset", limit=1, **DATES, **params, **cursor
        ).json()
        assert answer["total_records"] == 3
        found += [group["name"] for group in answer["metrics"]]
        cursor = {"cursor": answer["next_cursor"]}

    assert cursor == {"cursor": None}
    assert sorted(found) == ["a1", "a2", "a3"]
    assert found == gallery.names(api, **params)


def test_campaigns_and_platforms_are_ordered_too(api: Service, shop: Shop) -> None:
    google = shop.world.campaign(shop.tenant, "g1", "google")
    shop.load(DAY)
    row = {"tenant_id": str(shop.tenant), "campaign_id": "g1", "platform": "google", "metric_date": DAY}
    shop.world.load([{**row, "clicks": 1, "spend": 99.0, "revenue": 1.0}])
    shop.world.sync(DAY)

    by_campaign = groups(api, shop.tenant, "/metrics", group_by="campaign", order_by="spend", limit=1)
    by_platform = groups(api, shop.tenant, "/metrics", group_by="platform", order_by="roas")

    assert [(group["campaign_space_id"], group["name"]) for group in by_campaign] == [(str(google), "g1")]
    assert [group["platform"] for group in by_platform] == ["meta", "google"]


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("/metrics", {"order_by": "engagements"}, "order_by"),
        ("/metrics", {"order_by": "name"}, "order_by"),
        ("/metrics", {"order_by": ""}, "order_by"),
        ("/metrics", {"order": "up"}, "order"),
        ("/metrics", {"group_by": "asset"}, "group_by"),
        ("/metrics", {"campaign_asset_ids": str(uuid4())}, "campaign_asset_ids"),
        ("/assets/metrics", {"order_by": "Spend"}, "order_by"),
        ("/assets/metrics", {"campaign_asset_ids": "a1"}, "campaign_asset_ids"),
        ("/assets/metrics", {"order_by": "spend", "cursor": "2026-03-01"}, "cursor"),
        ("/assets/metrics", {"order_by": "spend", "cursor": "NaN|2026-03-01"}, "cursor"),
        ("/assets/metrics", {"order_by": "spend", "cursor": "1|a", "group_by": "asset"}, "cursor"),
        ("/assets/metrics", {"order_by": "spend", "cursor": "1|\x00", "group_by": "platform"}, "cursor"),
    ],
)
def test_a_request_that_makes_no_sense_names_the_field(
    api: Service, shop: Shop, path: str, params: dict[str, str], field: str
) -> None:
    answer = api.get(path, shop.tenant, **params)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


# The response cache


def test_unchanged_creatives_are_not_added_up_again(api: Service, gallery: Gallery) -> None:
    told = groups(api, gallery.tenant, group_by="asset")
    # Now the role can read what tells a change, but no measure.
    gallery.world.connection.execute("REVOKE SELECT ON campaign_asset_metrics FROM engarde_api")
    gallery.world.connection.execute(
        "GRANT SELECT (id, tenant_id, campaign_asset_id, metric_date, platform, xmin)"
        " ON campaign_asset_metrics TO engarde_api"
    )

    assert groups(api, gallery.tenant, group_by="asset") == told


def test_every_change_of_a_creative_is_seen_by_the_next_request(api: Service, gallery: Gallery) -> None:
    def engagements() -> dict[str, int]:
        return {group["name"]: group["engagements"] for group in groups(api, gallery.tenant, group_by="asset")}

    assert engagements() == {"a1": 200, "a2": 5, "a3": 0}
    gallery.load(NEXT, "c1", "a2", engagements=1)
    gallery.sync()
    assert engagements() == {"a1": 200, "a2": 6, "a3": 0}
    gallery.world.connection.execute("UPDATE campaign_assets SET name = 'A3' WHERE name = 'a3'")
    assert engagements() == {"a1": 200, "a2": 6, "A3": 0}
    gallery.world.connection.execute("DELETE FROM campaign_assets WHERE name = 'a2'")
    assert engagements() == {"a1": 200, "A3": 0}


def test_a_creative_that_moves_and_a_campaign_that_is_renamed_are_seen(api: Service, gallery: Gallery) -> None:
    def spend(path: str) -> dict[str, float]:
        found = groups(api, gallery.tenant, path, group_by="campaign")
        return {group["name"]: group["spend"] for group in found}

    assert spend("/assets/metrics") == {"c1": 27.5, "c2": 30.0}
    gallery.world.connection.execute(
        "UPDATE campaign_assets SET campaign_space_id = %s WHERE name = 'a3'", [gallery.campaigns[0]]
    )
    assert spend("/assets/metrics") == {"c1": 57.5}

    row = {"tenant_id": str(gallery.tenant), "campaign_id": "c1", "platform": "meta", "metric_date": DAY}
    gallery.world.load([{**row, "spend": 1.0}])
    gallery.world.sync(DAY)
    assert spend("/metrics") == {"c1": 1.0}
    gallery.world.connection.execute("UPDATE campaign_spaces SET name = 'Spring' WHERE name = 'c1'")
    assert spend("/metrics") == {"Spring": 1.0}
    assert spend("/assets/metrics") == {"Spring": 57.5}
