"""The schemas of requests and responses. Fields for measures and ratios are generated from `core.metrics`."""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
    create_model,
)

from engarde_pipeline.api import examples
from engarde_pipeline.core.metrics import (
    ASSET_METRICS,
    CAMPAIGN_METRICS,
    Measure,
    MetricTable,
    RejectReason,
    ratios_of_sums,
)
from engarde_pipeline.runs.job_log import SyncJob


def _iso_date(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("is not a date; write it as YYYY-MM-DD")
    return value


def _not_a_number(value: object) -> object:
    # Pydantic would interpret a number as seconds since 1970.
    if isinstance(value, int | float):
        raise ValueError("is not a date; write it as YYYY-MM-DD")  # noqa: TRY004  Pydantic requires a ValueError
    return value


IsoDate = Annotated[date, BeforeValidator(_iso_date), BeforeValidator(_not_a_number)]


def _digits(value: object) -> object:
    # Pydantic would accept 1.0 and 1_0 as well.
    if isinstance(value, str) and not re.fullmatch(r"[0-9]+", value):
        raise ValueError("is not a whole number")
    return value


Count = Annotated[int, BeforeValidator(_digits)]
Platform = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


class SyncRequest(BaseModel):
    """What to sync. Default: the tenant's data from the last synced date to the latest date anywhere on Earth."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.SYNC_REQUEST]})

    start_date: IsoDate | None = Field(default=None, description="The first date. Default: the last synced date.")
    end_date: IsoDate | None = Field(
        default=None, description="The last date, included. Default: the latest date anywhere on Earth."
    )
    campaign_space_ids: list[UUID] = Field(
        default_factory=list, max_length=1000, description="Sync only these campaign spaces."
    )
    platform: Platform | None = Field(default=None, description="Sync only this ad platform.")
    allow_shrink: StrictBool = Field(
        default=False,
        description="Also sync dates that would lose most of their rows, which are refused otherwise.",
    )
    allow_growth: StrictBool = Field(
        default=False,
        description="Also sync dates whose source rows look repeated or have grown, which are refused otherwise.",
    )
    all_tenants: StrictBool = Field(
        default=False, description="Sync all tenants. The token needs the scope `sync:all`."
    )


class SyncJobBody(BaseModel):
    """A sync job: a Dagster run with its retries. Times are in UTC.

    The counts of a sync of all tenants are null unless the token has the scope `sync:all`.
    """

    id: str
    job_type: Literal["campaign_metrics", "asset_metrics", "full_sync", "incremental_sync"]
    status: Literal["pending", "running", "completed", "failed", "retrying"]
    start_date: date | None
    end_date: date | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    records_processed: int | None
    records_inserted: int | None
    records_updated: int | None
    records_unchanged: int | None
    records_deleted: int | None
    records_failed: int | None
    error_message: str | None
    error_details: str | None
    retry_count: int
    max_retries: int
    triggered_by: Literal["manual", "schedule", "sensor", "backfill", "api"]
    triggered_by_user_id: str | None
    metadata: dict[str, Any]


def job_body(job: SyncJob, may_see_all: bool) -> SyncJobBody:
    """Return a job, without what the caller may not see.

    The counts and errors of a sync of all tenants include those of other tenants.
    """
    shown = {name: getattr(job, name) for name in SyncJobBody.model_fields}
    if job.tenant_id is None and not may_see_all:
        hidden = [name for name in shown if name.startswith("records_")]
        shown |= dict.fromkeys([*hidden, "error_details", "triggered_by_user_id"])
        shown["metadata"] = {"all_tenants": True}
        if job.error_message:
            shown["error_message"] = (
                "The sync of all tenants failed. The operators of the pipeline can see the reason."
            )
    return SyncJobBody(**shown)


def _with_example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Success(BaseModel):
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    success: Literal[True] = True


class SyncStarted(_Success):
    """The sync that was queued."""

    model_config = _with_example(examples.SYNC_STARTED)

    message: str
    sync_job: SyncJobBody


class SyncJobAnswer(_Success):
    """A sync job."""

    model_config = _with_example(examples.SYNC_JOB)

    sync_job: SyncJobBody


class SyncStatus(_Success):
    """The status of the tenant's syncs, including syncs of all tenants; newest first."""

    model_config = _with_example(examples.SYNC_STATUS)

    last_sync: SyncJobBody | None
    is_syncing: bool
    recent_jobs: list[SyncJobBody]
    total_jobs: int
    next_cursor: str | None = None


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
    return measures | ratios


def _totals(table: MetricTable) -> dict[str, Any]:
    return {f"total_{measure.name}": (_type(measure), ...) for measure in table.measures}


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


class _Page(_Success):
    total_records: int = Field(description="The number on all pages.")
    next_cursor: str | None = Field(
        default=None, description="The cursor of the next page; null on the last page."
    )


class Metrics(_Page):
    """Metrics by group, ordered by the group's key unless `order_by` says otherwise."""

    model_config = _with_example(examples.METRICS)

    start_date: date
    end_date: date
    group_by: Literal["date", "campaign", "platform"]
    metrics: list[MetricGroup]


class AssetGroupMetrics(_Page):
    """Metrics of creatives by group, ordered by the group's key unless `order_by` says otherwise."""

    model_config = _with_example(examples.ASSET_GROUP_METRICS)

    start_date: date
    end_date: date
    group_by: Literal["date", "asset", "campaign", "platform"]
    metrics: list[AssetMetricGroup]


class MetricPoint(MetricValues):
    """The metrics of a campaign space on one date."""

    date: date


class AssetMetricPoint(AssetMetricValues):
    """The metrics of a creative on one date."""

    date: date


class _Ratios(BaseModel):
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


class CampaignMetrics(_Success):
    """The metrics of a campaign space by date, and their summary."""

    model_config = _with_example(examples.CAMPAIGN_METRICS)

    campaign_space_id: UUID
    start_date: date
    end_date: date
    metrics: list[MetricPoint]
    summary: Summary


class AssetMetrics(_Success):
    """The metrics of a creative by date, and their summary."""

    model_config = _with_example(examples.ASSET_METRICS)

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
    measures: dict[str, float | Literal["NaN", "Infinity", "-Infinity"]] = Field(
        description="The sums over its source rows."
    )
    source_rows: int
    reason: RejectReason
    what_to_do: str = Field(description="What is wrong and what to do.")
    first_seen_at: datetime
    last_seen_at: datetime


class RejectedRecords(_Page):
    """The records that could not be loaded, newest date first."""

    model_config = _with_example(examples.REJECTED_RECORDS)

    start_date: date
    end_date: date
    rejected_records: list[RejectedRecord]
