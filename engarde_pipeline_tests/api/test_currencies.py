"""Rule 13 in the API: a group per key and currency, and no sum of money over several; compared with the source."""

from collections import defaultdict
from datetime import date
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.shop import Shop

DAYS = date(2026, 3, 1), date(2026, 3, 2)
RANGE = {"start_date": str(DAYS[0]), "end_date": str(DAYS[1])}
SPEND = ("impressions", "clicks", "spend", "revenue")

# The first campaign changes its currency, the second has one, the third has none on one of the dates.
CURRENCIES = {
    ("c1", DAYS[0]): "EUR",
    ("c1", DAYS[1]): "USD",
    ("c2", DAYS[0]): "EUR",
    ("c2", DAYS[1]): "EUR",
    ("c3", DAYS[0]): None,
    ("c3", DAYS[1]): "USD",
}

Row = dict[str, Any]


class Exchange:
    """A tenant with campaigns in several currencies, each with one asset."""

    def __init__(self, shop: Shop) -> None:
        self.world, self.tenant = shop.world, shop.tenant
        third = self.world.campaign(self.tenant, "c3", "google")
        self.campaigns = {"c1": shop.first, "c2": shop.second, "c3": third}
        self.assets = {name: self.world.asset(campaign, "a") for name, campaign in self.campaigns.items()}
        self.rows: list[Row] = [
            {
                "tenant_id": str(self.tenant),
                "campaign_id": campaign,
                "asset_id": "a",
                "platform": "google" if campaign == "c3" else "meta",
                "metric_date": day,
                "currency": currency,
                **{name: number * factor for name, factor in zip(SPEND, (100, 7, 1.25, 5.5), strict=True)},
            }
            for number, ((campaign, day), currency) in enumerate(CURRENCIES.items(), start=1)
        ]
        for table in (CAMPAIGN_METRICS, ASSET_METRICS):
            self.world.create_source(table, currency="STRING")
            self.world.load(self.rows, table)
            self.world.sync(*DAYS, table=table)

    def key(self, by: str, row: Row) -> str:
        match by:
            case "campaign":
                return str(self.campaigns[row["campaign_id"]])
            case "asset":
                return str(self.assets[row["campaign_id"]])
        return str(row["metric_date" if by == "date" else by])

    def sums(self, by: str) -> dict[tuple[str, str | None], Row]:
        """Return the sums of the source's rows by key and currency."""
        sums: dict[tuple[str, str | None], Row] = defaultdict(lambda: dict.fromkeys(SPEND, Decimal(0)))
        for row in self.rows:
            group = sums[self.key(by, row), row["currency"]]
            for name in SPEND:
                group[name] += Decimal(str(row[name]))
        return sums


@pytest.fixture
def exchange(shop: Shop) -> Exchange:
    return Exchange(shop)


PATHS = {"/metrics": CAMPAIGN_METRICS, "/assets/metrics": ASSET_METRICS}
KEYS = {"date": "date", "campaign": "campaign_space_id", "asset": "campaign_asset_id", "platform": "platform"}


def _get(api: Service, exchange: Exchange, path: str, **params: Any) -> dict[str, Any]:
    answer = api.get(path, exchange.tenant, **RANGE, **params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_there_is_a_group_per_key_and_currency(api: Service, exchange: Exchange) -> None:
    for path, by in product(PATHS, KEYS):
        if (path, by) == ("/metrics", "asset"):
            continue
        body = _get(api, exchange, path, group_by=by)
        expected = exchange.sums(by)

        found = {(group[KEYS[by]], group["currency"]): group for group in body["metrics"]}
        assert found.keys() == expected.keys()
        assert body["total_records"] == len(body["metrics"]) == len(expected)
        for key, group in found.items():
            assert {name: Decimal(str(group[name])) for name in SPEND} == expected[key]
            assert group["roas"] == pytest.approx(float(expected[key]["revenue"] / expected[key]["spend"]))
        if by in ("campaign", "asset"):
            assert {group["name"] for group in body["metrics"]} <= {"c1", "c2", "c3", "a"}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("order_by", [None, "impressions", "roas"])
def test_groups_of_a_key_are_read_page_by_page(
    api: Service, exchange: Exchange, order_by: str | None, order: str
) -> None:
    ordered = {"order": order, **({"order_by": order_by} if order_by else {})}
    for path, by in (("/metrics", "date"), ("/metrics", "campaign"), ("/assets/metrics", "platform")):
        whole = _get(api, exchange, path, group_by=by, **ordered)["metrics"]
        found: list[Row] = []
        cursor: dict[str, str] = {}
        while True:
            page = _get(api, exchange, path, group_by=by, limit=1, **ordered, **cursor)
            assert page["total_records"] == len(whole)
            found += page["metrics"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}

        assert found == whole
        assert len({(group[KEYS[by]], group["currency"]) for group in found}) == len(whole) > 2
        if order_by == "impressions":
            numbers = [group["impressions"] for group in whole]
            assert numbers == sorted(numbers, reverse=order == "desc")


def test_a_summary_of_several_currencies_has_no_sums_of_money(api: Service, exchange: Exchange) -> None:
    for name, table in product(exchange.campaigns, (CAMPAIGN_METRICS, ASSET_METRICS)):
        body = _get(api, exchange, _one(exchange, name, table))
        rows = [row for row in exchange.rows if row["campaign_id"] == name]
        currencies = {row["currency"] for row in rows}

        assert [(point["date"], point["currency"], point["spend"]) for point in body["metrics"]] == [
            (str(row["metric_date"]), row["currency"], row["spend"]) for row in rows
        ]
        summary = body["summary"]
        assert summary["total_clicks"] == sum(row["clicks"] for row in rows)
        assert summary["avg_ctr"] == 7.0
        assert summary["days_tracked"] == 2
        money = [summary[each] for each in ("currency", "total_spend", "total_revenue", "avg_roas", "avg_cpc")]
        if len(currencies) > 1:
            assert money == [None] * 5
        else:
            spend, revenue = (sum(row[each] for row in rows) for each in ("spend", "revenue"))
            assert money == [*currencies, spend, revenue, 4.4, pytest.approx(spend / summary["total_clicks"])]


def _one(exchange: Exchange, name: str, table: MetricTable) -> str:
    if table is CAMPAIGN_METRICS:
        return f"/metrics/{exchange.campaigns[name]}"
    return f"/assets/{exchange.assets[name]}/metrics"


def test_a_currency_that_is_restated_is_seen_by_the_next_request(api: Service, exchange: Exchange) -> None:
    def currencies(by: str) -> set[str | None]:
        return {group["currency"] for group in _get(api, exchange, "/metrics", group_by=by)["metrics"]}

    assert currencies("campaign") == currencies("date") == {None, "EUR", "USD"}
    exchange.world.execute(f"UPDATE {exchange.world.dataset}.campaign_metrics SET currency = 'CHF' WHERE true")
    exchange.world.sync(*DAYS)
    assert currencies("campaign") == currencies("date") == {"CHF"}


def test_records_rejected_for_their_currency_are_shown_with_it(api: Service, exchange: Exchange) -> None:
    row = {**exchange.rows[0], "metric_date": DAYS[0]}
    exchange.world.load([{**row, "currency": "USD"}, {**exchange.rows[2], "campaign_id": "c9", "currency": "usd"}])
    exchange.world.sync(*DAYS)

    records = _get(api, exchange, "/rejected-records")["rejected_records"]

    assert {
        record["reason"]: (record["currency"], record["measures"]["spend"], record["measures"]["clicks"])
        for record in records
    } == {"mixed_currency": (None, None, 14), "campaign_not_mapped": ("usd", 3.75, 21)}
    assert _get(api, exchange, "/metrics")["rejected_spend"] is None
    assert _get(api, exchange, "/metrics", platform="google")["rejected_spend"] == 0
