"""The sample data is believable, the same everywhere, and holds one of everything a newcomer should see."""

from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest

from engarde_pipeline.local.sample_data import (
    DAYS,
    TENANTS,
    asset_rows,
    campaign_rows,
    campaigns,
    fill_bigquery,
    restate,
    seed_postgres,
)
from engarde_pipeline_tests.world import World

TODAY = date(2026, 6, 15)
LAST_30 = [TODAY - timedelta(days=n) for n in range(1, 31)]


@pytest.fixture(scope="module")
def month() -> pd.DataFrame:
    """30 dates of source rows whose campaign is one of the portfolio's, and whose spend is a number."""
    rows: pd.DataFrame = campaign_rows(LAST_30).to_pandas()
    return rows[rows.campaign_id.isin([c.external_campaign_id for c in campaigns()])]


def test_the_portfolio_spans_tenants_and_platforms() -> None:
    assert len(TENANTS) >= 3
    assert {campaign.platform for campaign in campaigns()} == {"google", "meta", "tiktok", "linkedin"}
    assert 55 <= len(campaigns()) <= 65
    assert {currency for tenant in TENANTS for currency in tenant.currencies.values()} == {"EUR", "USD"}
    assert max(len(set(tenant.currencies.values())) for tenant in TENANTS) == 2


def test_a_date_is_the_same_whenever_it_is_made() -> None:
    first, second = LAST_30[:2]
    together = campaign_rows([first, second]).to_pylist()
    alone = campaign_rows([second]).to_pylist()
    assert [repr(row) for row in together if row["metric_date"] == second] == [repr(row) for row in alone]


def test_a_campaign_has_several_rows_on_a_date(month: pd.DataFrame) -> None:
    rows = month.groupby(["platform", "campaign_id", "metric_date"]).size()
    assert rows.between(2, 4).mean() > 0.99


def test_weekends_differ_from_weekdays(month: pd.DataFrame) -> None:
    linkedin = month[month.platform == "linkedin"]
    is_weekend = pd.to_datetime(linkedin.metric_date).dt.dayofweek >= 5
    spend = linkedin.groupby(["metric_date", is_weekend]).spend.sum().groupby(level=1).mean()
    assert spend[True] < 0.6 * spend[False]


def test_seasons_differ() -> None:
    def spend(day: date) -> float:
        return float(campaign_rows([day + timedelta(days=n) for n in range(7)]).to_pandas().spend.abs().sum())

    assert spend(date(2025, 11, 24)) > 1.1 * spend(date(2025, 7, 7))


def test_a_campaigns_funnel_narrows(month: pd.DataFrame) -> None:
    sums = month.groupby(["platform", "campaign_id"])[["impressions", "clicks", "conversions"]].sum()
    assert (sums.impressions > sums.clicks).all()
    assert (sums.clicks > sums.conversions).all()


def test_assets_report_no_more_than_their_campaigns(month: pd.DataFrame) -> None:
    assets = asset_rows(LAST_30).to_pandas()
    per_campaign = assets.groupby("campaign_id").spend.sum()
    campaigns_spend = month.groupby("campaign_id").spend.sum()
    joined = pd.concat([per_campaign, campaigns_spend], axis=1, keys=["assets", "campaign"]).dropna()
    assert len(joined) > 20
    assert (joined.assets < joined.campaign).all()


def test_the_last_thirty_dates_hold_every_kind_of_bad_record(world: World) -> None:
    _fill(world)

    world.sync(*LAST_30)

    assert set(world.reasons()) == {
        "null_key",
        "malformed_tenant",
        "unknown_tenant",
        "campaign_not_mapped",
        "mixed_currency",
        "not_a_number",
        "negative_measure",
    }


def test_a_table_of_an_earlier_version_is_made_again(world: World) -> None:
    world.create_source()

    assert len(_fill(world)) == DAYS
    (row,) = world.source.client.query(
        f"SELECT COUNT(DISTINCT currency) FROM {world.dataset}.campaign_metrics WHERE metric_date > '2000-01-01'"
    ).result(timeout=60)
    assert row[0] == 2


@pytest.mark.long
def test_filling_again_loads_only_the_part_of_today_that_is_new(world: World) -> None:
    assert len(_fill(world)) == DAYS
    assert _fill(world) == []
    assert _fill(world, TODAY + timedelta(days=1)) == [TODAY, TODAY + timedelta(days=1)]


@pytest.mark.long
def test_restated_dates_change_and_no_others(world: World) -> None:
    _fill(world)
    before = _sums(world)
    restated = LAST_30[3:6]

    restate(world.source.client, world.dataset, restated)

    after = _sums(world)
    assert {day for day in after if repr(after[day]) != repr(before[day])} == set(restated)


def _fill(world: World, today: date = TODAY) -> list[date]:
    seed_postgres(world.connection)
    return fill_bigquery(world.source.client, world.dataset, today)


def _sums(world: World) -> dict[date, tuple[Any, ...]]:
    rows = world.source.client.query(
        f"SELECT metric_date, COUNT(*), SUM(impressions), SUM(conversions) FROM {world.dataset}.campaign_metrics"
        " WHERE metric_date > '2000-01-01' GROUP BY 1"
    ).result(timeout=60)
    return {day: tuple(values) for day, *values in rows}
