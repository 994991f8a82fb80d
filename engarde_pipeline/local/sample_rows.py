"""The sample portfolio's daily numbers, shaped like the source tables.

A date's rows follow from the date and the campaign alone, so they are the same whenever they are made.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from math import cos, nan, pi, sin
from random import Random
from typing import Any
from uuid import UUID

import pyarrow as pa

from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, CURRENCY, METRIC_DATE, MetricTable
from engarde_pipeline.local.sample_campaigns import Asset, Campaign, campaigns

Row = dict[str, Any]


@dataclass(frozen=True)
class _Level:
    """What is usual on a platform (rates as fractions), or by what factor a goal differs from it."""

    ctr: float
    cpc: float
    conversion_rate: float
    roas: float
    engagement_rate: float = 1.0


_PLATFORMS = {
    "google": _Level(ctr=0.024, cpc=1.70, conversion_rate=0.038, roas=3.0, engagement_rate=0.006),
    "meta": _Level(ctr=0.015, cpc=0.95, conversion_rate=0.024, roas=2.3, engagement_rate=0.035),
    "tiktok": _Level(ctr=0.014, cpc=0.55, conversion_rate=0.012, roas=1.7, engagement_rate=0.060),
    "linkedin": _Level(ctr=0.012, cpc=4.30, conversion_rate=0.026, roas=1.7, engagement_rate=0.018),
}

_GOALS = {
    "brand": _Level(ctr=1.15, cpc=0.45, conversion_rate=1.6, roas=1.45),
    "prospecting": _Level(ctr=1.0, cpc=1.0, conversion_rate=1.0, roas=1.0),
    "retargeting": _Level(ctr=1.15, cpc=1.15, conversion_rate=1.7, roas=1.4),
    "awareness": _Level(ctr=0.85, cpc=0.65, conversion_rate=0.5, roas=0.7),
}

# Monday to Sunday.
_WEEKS = {
    "retail": (0.90, 0.88, 0.91, 0.95, 1.06, 1.19, 1.15),
    "business": (1.12, 1.17, 1.16, 1.12, 0.96, 0.66, 0.70),
    "travel": (1.08, 1.03, 0.99, 0.94, 0.90, 0.93, 1.13),
}
_LINKEDIN_WEEK = (1.18, 1.24, 1.22, 1.16, 0.96, 0.36, 0.32)

# The strongest day of the year, and by what share it stands above the average.
_YEARS = {"retail": (335, 0.25), "business": (75, 0.10), "travel": (25, 0.20)}

_PARTIAL_SHARE = 0.4


@dataclass(frozen=True)
class _Nature:
    """How one campaign always differs from others of its kind. `value` is the revenue of a conversion."""

    ctr: float
    cpc: float
    conversion_rate: float
    value: float
    ad_sets: tuple[float, ...]
    drift_days: float
    phase: float


# Faults recur on fixed days of a cycle shorter than 30 days, so the last 30 dates hold each of them.
_FAULT_CYCLE = 29
_NEW_CAMPAIGN_DAYS = range(3, 9)
_NEGATIVE_SPEND_DAY = 11
_NOT_A_NUMBER_DAY = 14
_NO_CAMPAIGN_DAY = 17
_MALFORMED_TENANT_DAY = 20
_UNKNOWN_TENANT_DAY = 23
_UNKNOWN_ASSET_DAY = 26
_OTHER_CURRENCY_DAY = 27


def campaign_rows(dates: Collection[date], restated: bool = False, partial: Collection[date] = ()) -> pa.Table:
    """Return `campaign_metrics` source rows for `dates`: two to four (ad sets) per campaign and date.

    `restated` gives the numbers as the platforms correct them later: other spend, late conversions, one
    campaign gone, wrong rows put right. Of the dates in `partial` only the first 40 % of the day is there.
    """
    rows = (
        row
        for day in dates
        for rows_of_day in (
            *(_campaign_day(campaign, day, restated, day in partial) for campaign in campaigns()),
            _faults(day, restated),
        )
        for row in rows_of_day
    )
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(CAMPAIGN_METRICS))


def asset_rows(dates: Collection[date], restated: bool = False, partial: Collection[date] = ()) -> pa.Table:
    """Return `asset_metrics` source rows for `dates`, one per creative and date, without `tenant_id`.

    They sum to a little less than their campaign; Performance Max campaigns report none, as on Google.
    """
    rows = (
        row
        for day in dates
        for campaign in campaigns()
        for row in _asset_day(campaign, day, restated, day in partial)
    )
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(ASSET_METRICS))


def arrow_schema(table: MetricTable) -> pa.Schema:
    """Return the columns of the sample's source table, amounts as float64."""
    types = {"count": pa.int64(), "amount": pa.float64()}
    return pa.schema(
        [
            *((key.name, pa.string()) for key in table.keys if key.required),
            (METRIC_DATE, pa.date32()),
            (CURRENCY.name, pa.string()),
            *((measure.name, types[measure.kind]) for measure in table.measures),
        ]
    )


def expected_spend(day: date) -> float:
    """Return what all campaigns together spend on a whole day, within a few percent."""
    return sum(campaign.daily_budget * _intensity(campaign, day) for campaign in campaigns())


def _campaign_day(campaign: Campaign, day: date, restated: bool, partial: bool) -> list[Row]:
    spend = campaign.daily_budget * _intensity(campaign, day)
    if not spend or (restated and campaign.id == _vanishing().id):
        return []
    random = Random(f"{campaign.id} {day}")
    spend *= random.lognormvariate(0, 0.10) * (_PARTIAL_SHARE if partial else 1)
    rows = [_row(campaign, day, spend * share, random) for share in _natures()[campaign.id].ad_sets]
    return [_restate(row, campaign, random) for row in rows] if restated else rows


def _row(campaign: Campaign, day: date, spend: float, random: Random) -> Row:
    nature = _natures()[campaign.id]
    clicks = round(spend / nature.cpc * random.lognormvariate(0, 0.07))
    ctr = nature.ctr * random.lognormvariate(0, 0.06)
    conversions = clicks * nature.conversion_rate * random.lognormvariate(0, 0.15)
    conversions = _attributed(conversions, campaign, random)
    return {
        "tenant_id": str(campaign.tenant_id),
        "campaign_id": campaign.external_campaign_id,
        "platform": campaign.platform,
        METRIC_DATE: day,
        CURRENCY.name: campaign.currency,
        "impressions": max(clicks, round(clicks / ctr)),
        "clicks": clicks,
        "spend": round(spend, 6),
        "conversions": conversions,
        "revenue": round(conversions * nature.value * random.lognormvariate(0, 0.12), 2),
    }


def _attributed(conversions: float, campaign: Campaign, random: Random) -> float:
    # Google's attribution splits conversions; elsewhere there are whole ones, some days more, some fewer.
    return round(conversions, 2) if campaign.platform == "google" else float(int(conversions + random.random()))


@cache
def _natures() -> dict[UUID, _Nature]:
    return {campaign.id: _nature(campaign) for campaign in campaigns()}


def _nature(campaign: Campaign) -> _Nature:
    usual, goal = _PLATFORMS[campaign.platform], _GOALS[campaign.goal]
    random = Random(f"{campaign.id}")
    cpc = usual.cpc * goal.cpc * random.uniform(0.85, 1.15)
    conversion_rate = usual.conversion_rate * goal.conversion_rate * random.uniform(0.9, 1.1)
    ad_sets = [random.uniform(1, 3) for _ in range(random.randint(2, 4))]
    return _Nature(
        ctr=usual.ctr * goal.ctr * random.uniform(0.92, 1.08),
        cpc=cpc,
        conversion_rate=conversion_rate,
        value=usual.roas * goal.roas * random.uniform(0.85, 1.12) * cpc / conversion_rate,
        ad_sets=tuple(share / sum(ad_sets) for share in ad_sets),
        drift_days=random.uniform(60, 140),
        phase=random.random(),
    )


def _intensity(campaign: Campaign, day: date) -> float:
    """Return the share of its budget a campaign spends on a day: week, year, slow drift, launch and pause."""
    nature = _natures()[campaign.id]
    number = day.toordinal()
    started = 1.0
    if campaign.flight:
        days_on, every = campaign.flight
        age = (number + int(nature.phase * every)) % every
        if age >= days_on:
            return 0.0
        started = min(1.0, 0.5 + age / 8)  # the platforms' learning phase
    week = _LINKEDIN_WEEK if campaign.platform == "linkedin" else _WEEKS[campaign.market]
    peak, height = _YEARS[campaign.market]
    year = 1 + height * cos(2 * pi * (day.timetuple().tm_yday - peak) / 365.25)
    drift = 1 + 0.15 * sin(2 * pi * (number / nature.drift_days + nature.phase))
    return started * week[day.weekday()] * year * drift


def _restate(row: Row, campaign: Campaign, random: Random) -> Row:
    late = _attributed(row["conversions"] * random.uniform(0.02, 0.10), campaign, random)
    return row | {
        "spend": round(row["spend"] * random.uniform(0.98, 1.015), 6),
        "conversions": row["conversions"] + late,
        "revenue": round(row["revenue"] * (1 + late / max(row["conversions"], 1)), 2),
    }


def _asset_day(campaign: Campaign, day: date, restated: bool, partial: bool) -> Iterator[Row]:
    rows = _campaign_day(campaign, day, restated, partial)
    if not rows or campaign.name.startswith("PMax"):
        return
    total = {name: sum(row[name] for row in rows) for name in CAMPAIGN_METRICS.measure_names if name in rows[0]}
    random = Random(f"{campaign.id} {day} assets")
    shares = [_asset_share(asset, day) * random.lognormvariate(0, 0.1) for asset in campaign.assets]
    for asset, share in zip(campaign.assets, shares, strict=True):
        yield _asset_row(campaign, day, asset, total, share / sum(shares) * random.uniform(0.95, 1.0), random)
    if day.toordinal() % _FAULT_CYCLE == _UNKNOWN_ASSET_DAY and campaign.id == _always_on("meta").id:
        unknown = Asset(campaign.id, "120299776204815933", "not in Postgres")
        yield _asset_row(campaign, day, unknown, total, 0.04, random)


def _asset_share(asset: Asset, day: date) -> float:
    # Creatives wear out and are refreshed, each in its own time.
    own = Random(f"{asset.id}")
    return own.uniform(1, 4) * (1 + 0.35 * sin(2 * pi * (day.toordinal() / own.uniform(40, 90) + own.random())))


def _asset_row(campaign: Campaign, day: date, asset: Asset, total: Row, share: float, random: Random) -> Row:
    impressions = round(total["impressions"] * share)
    conversions = total["conversions"] * share
    whole = campaign.platform != "google"
    engagement_rate = _PLATFORMS[campaign.platform].engagement_rate * random.lognormvariate(0, 0.15)
    return {
        "campaign_id": campaign.external_campaign_id,
        "asset_id": asset.external_asset_id,
        "platform": campaign.platform,
        METRIC_DATE: day,
        CURRENCY.name: campaign.currency,
        "impressions": impressions,
        "clicks": min(impressions, round(total["clicks"] * share)),
        "spend": round(total["spend"] * share, 6),
        "conversions": float(round(conversions)) if whole else round(conversions, 2),
        "revenue": round(total["revenue"] * share, 2),
        "engagements": round(impressions * engagement_rate),
    }


def _faults(day: date, restated: bool) -> Iterator[Row]:
    """Yield what goes wrong upstream now and then; the platforms put right what is only a wrong number."""
    position = day.toordinal() % _FAULT_CYCLE
    random = Random(f"{day} faults")
    row = _row(_always_on("google"), day, 40 * random.lognormvariate(0, 0.1), random)
    if position in _NEW_CAMPAIGN_DAYS:  # launched on the platform, not yet connected in the application
        launched = _row(_always_on("meta"), day, 85 * random.lognormvariate(0, 0.1), random)
        yield launched | {"campaign_id": "120299418830516207"}
    elif position == _NEGATIVE_SPEND_DAY and not restated:  # a refund, booked as a row of its own
        yield row | dict.fromkeys(CAMPAIGN_METRICS.measure_names, 0) | {"spend": -12.5}
    elif position == _NOT_A_NUMBER_DAY and not restated:
        yield row | {"revenue": nan}
    elif position == _OTHER_CURRENCY_DAY and not restated:
        yield row | {CURRENCY.name: "EUR"}
    elif position == _NO_CAMPAIGN_DAY:
        yield row | {"campaign_id": None}
    elif position == _MALFORMED_TENANT_DAY:
        yield row | {"tenant_id": "larkspur-outdoor"}
    elif position == _UNKNOWN_TENANT_DAY:
        yield row | {"tenant_id": "00000000-0000-4000-8000-000000000404"}


def _always_on(platform: str) -> Campaign:
    return next(c for c in campaigns() if c.platform == platform and not c.flight)


def _vanishing() -> Campaign:
    return min((c for c in campaigns() if not c.flight), key=lambda campaign: campaign.daily_budget)
