"""The schemas of metrics and rejected records.

Fields for measures and ratios are generated from `core.metrics`.
"""

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema, create_model

from engarde_pipeline.api import examples
from engarde_pipeline.api.schemas import Success, with_example
from engarde_pipeline.core.metrics import (
    ASSET_METRICS,
    CAMPAIGN_METRICS,
    Measure,
    MetricTable,
    RejectReason,
    ratios_of_sums,
)


def _measure_or_ratio(table: MetricTable) -> Callable[[str], str]:
    names = _numbers(table)

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"is not a measure or ratio; use one of {', '.join(names)}")
        return value

    return check


def _numbers(table: MetricTable) -> list[str]:
    return [*table.measure_names, *(ratio.name for ratio in ratios_of_sums(table))]


CampaignOrder = Annotated[
    str,
    AfterValidator(_measure_or_ratio(CAMPAIGN_METRICS)),
    WithJsonSchema({"type": "string", "enum": _numbers(CAMPAIGN_METRICS)}),
]
AssetOrder = Annotated[
    str,
    AfterValidator(_measure_or_ratio(ASSET_METRICS)),
    WithJsonSchema({"type": "string", "enum": _numbers(ASSET_METRICS)}),
]


_Currency = Annotated[
    str | None, Field(description="Of the amounts of money (ISO 4217); null if the source has none for them.")
]


def _values(table: MetricTable) -> dict[str, Any]:
    measures: dict[str, Any] = {
        measure.name: (_type(measure), Field(description=measure.description)) for measure in table.measures
    }
    ratios: dict[str, Any] = {
        ratio.name: (
            float | None,
            Field(description=f"{ratio.description} In {ratio.unit}; null where {ratio.denominator} is 0."),
        )
        for ratio in ratios_of_sums(table)
    }
    return {"currency": (_Currency, ...)} | measures | ratios


def _totals(table: MetricTable) -> dict[str, Any]:
    return {
        f"total_{measure.name}": (_type(measure) | None if measure.is_money else _type(measure), ...)
        for measure in table.measures
    }


def _type(measure: Measure) -> type:
    return int if measure.kind == "count" else float


MetricValues = create_model("MetricValues", **_values(CAMPAIGN_METRICS))
AssetMetricValues = create_model("AssetMetricValues", **_values(ASSET_METRICS))


_Date = date  # because a field of MetricGroup is named date
_Name = Annotated[
    str | None, Field(description="Of the group's campaign or asset; null if the application has no name for it.")
]


class MetricGroup(MetricValues):
    """The sums of a group and the ratios of these sums. Of the three keys, it has the one in `group_by`."""

    date: _Date | None = None
    campaign_space_id: UUID | None = None
    platform: str | None = None
    name: _Name = None


class AssetMetricGroup(AssetMetricValues):
    """The sums of a group and the ratios of these sums. Of the four keys, it has the one in `group_by`."""

    date: _Date | None = None
    campaign_asset_id: UUID | None = None
    campaign_space_id: UUID | None = None
    platform: str | None = None
    name: _Name = None


class _Trusted(Success):
    """How far the numbers can be trusted, read from the same snapshot of Postgres as the numbers."""

    synced_at: datetime | None = Field(
        description="The oldest of the moments (UTC) at which the dates were last compared with BigQuery; null if"
        " none was ever synced."
    )
    missing_dates: list[date] = Field(description="The dates, up to today (UTC), that were never synced.")
    provisional_from: date | None = Field(
        description="The first date that an ad platform may still restate; null if there is none."
    )
    rejected_records: int = Field(description="The number of records that could not be loaded.")
    rejected_spend: float | None = Field(
        description="Their spend; null if it is of several currencies. Amounts that are no number are left out."
    )


class _Page(Success):
    total_records: int = Field(description="The number on all pages.")
    next_cursor: str | None = Field(
        default=None, description="The cursor of the next page; null on the last page."
    )


class Metrics(_Page, _Trusted):
    """Metrics, a group per key and currency, ordered by key unless `order_by` says otherwise."""

    model_config = with_example(examples.METRICS)

    start_date: date
    end_date: date
    group_by: Literal["date", "campaign", "platform"]
    metrics: list[MetricGroup]


class AssetGroupMetrics(_Page, _Trusted):
    """Metrics of creatives, a group per key and currency, ordered by key unless `order_by` says otherwise."""

    model_config = with_example(examples.ASSET_GROUP_METRICS)

    start_date: date
    end_date: date
    group_by: Literal["date", "asset", "campaign", "platform"]
    metrics: list[AssetMetricGroup]


class MetricPoint(MetricValues):
    """The metrics of a campaign space on one date, in one currency."""

    date: date


class AssetMetricPoint(AssetMetricValues):
    """The metrics of a creative on one date, in one currency."""

    date: date


class _Ratios(BaseModel):
    currency: str | None = Field(
        description="Of the totals; null if the source has none, or if there are several. With several, the totals"
        " of money and their ratios are null."
    )
    avg_ctr: float | None
    avg_roas: float | None
    avg_cpc: float | None
    conversion_rate: float | None
    days_tracked: int = Field(description="The number of dates that have metrics.")


Totals = create_model("Totals", **_totals(CAMPAIGN_METRICS))
AssetTotals = create_model("AssetTotals", **_totals(ASSET_METRICS))


class Summary(_Ratios, Totals):
    """The sums over all dates, and the ratios of these sums."""


class AssetSummary(_Ratios, AssetTotals):
    """The sums over all dates, and the ratios of these sums."""

    engagement_rate: float | None


class CampaignMetrics(_Trusted):
    """The metrics of a campaign space by date, and their summary."""

    model_config = with_example(examples.CAMPAIGN_METRICS)

    campaign_space_id: UUID
    start_date: date
    end_date: date
    metrics: list[MetricPoint]
    summary: Summary


class AssetMetrics(_Trusted):
    """The metrics of a creative by date, and their summary."""

    model_config = with_example(examples.ASSET_METRICS)

    campaign_asset_id: UUID
    start_date: date
    end_date: date
    metrics: list[AssetMetricPoint]
    summary: AssetSummary


class RejectedRecord(BaseModel):
    """A record that could not be loaded. Times are in UTC."""

    id: UUID
    table: Literal["campaign_metrics", "asset_metrics"] = Field(description="The source table in BigQuery.")
    date: _Date
    keys: dict[str, str | int | None] = Field(description="The record's keys as BigQuery has them.")
    currency: str | None = Field(
        description="As BigQuery has it; null if it has none, or if the source rows have several."
    )
    measures: dict[str, float | Literal["NaN", "Infinity", "-Infinity"] | None] = Field(
        description="The sums over its source rows; null for money of several currencies."
    )
    source_rows: int
    reason: RejectReason
    what_to_do: str = Field(description="What is wrong and what to do.")
    first_seen_at: datetime
    last_seen_at: datetime


class RejectedRecords(_Page):
    """The records that could not be loaded, newest date first."""

    model_config = with_example(examples.REJECTED_RECORDS)

    start_date: date
    end_date: date
    rejected_records: list[RejectedRecord]
