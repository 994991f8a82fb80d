"""What requests and answers look like. The numbers are built from the vocabulary in `metrics`."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, create_model

from engarde_pipeline.api import examples
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.runs.job_log import SyncJob


def _iso_date(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("is not a date; write it as YYYY-MM-DD")
    return value


def _no_number(value: object) -> object:
    # Pydantic would take a number as seconds since 1970.
    if isinstance(value, int | float):
        raise ValueError("is not a date; write it as YYYY-MM-DD")  # noqa: TRY004  pydantic wants a ValueError
    return value


IsoDate = Annotated[date, BeforeValidator(_iso_date), BeforeValidator(_no_number)]


def _digits(value: object) -> object:
    # Pydantic would take 1.0 and 1_0, too.
    if isinstance(value, str) and not re.fullmatch(r"[0-9]+", value):
        raise ValueError("is not a whole number")
    return value


Count = Annotated[int, BeforeValidator(_digits)]
Platform = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


class SyncRequest(BaseModel):
    """What to sync. Nothing given: this tenant's dates from the last sync to the latest date anywhere on Earth."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.SYNC_REQUEST]})

    start_date: IsoDate | None = Field(default=None, description="Default: the last date that was synced.")
    end_date: IsoDate | None = Field(
        default=None, description="Included. Default: the latest date anywhere on Earth."
    )
    campaign_space_ids: list[UUID] = Field(
        default_factory=list, max_length=1000, description="Only these campaigns."
    )
    platform: Platform | None = Field(default=None, description="Only this ad platform.")
    allow_shrink: StrictBool = Field(
        default=False,
        description="Sync dates even if BigQuery has far fewer rows for them: the rows are meant to go.",
    )
    all_tenants: StrictBool = Field(default=False, description="Every tenant; the token needs the scope sync:all.")


class SyncJobBody(BaseModel):
    """A sync job: a Dagster run, with its retries. Moments are in UTC.

    The counts of a sync of all tenants are null but for tokens with the scope sync:all.
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


def job_body(job: SyncJob, sees_all: bool) -> SyncJobBody:
    """Return a job as a tenant may see it.

    What a sync of all tenants counted, and why it failed, speaks of other tenants, too.
    """
    shown = {name: getattr(job, name) for name in SyncJobBody.model_fields}
    if job.tenant_id is None and not sees_all:
        hidden = [name for name in shown if name.startswith("records_")]
        shown |= dict.fromkeys([*hidden, "error_details", "triggered_by_user_id"])
        shown["metadata"] = {"all_tenants": True}
        if job.error_message:
            shown["error_message"] = "The sync of all tenants did not succeed; its operators see why."
    return SyncJobBody(**shown)


def _shows(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Success(BaseModel):
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    success: Literal[True] = True


class SyncStarted(_Success):
    """A sync was queued."""

    model_config = _shows(examples.SYNC_STARTED)

    message: str
    sync_job: SyncJobBody


class SyncJobAnswer(_Success):
    """One job."""

    model_config = _shows(examples.SYNC_JOB)

    sync_job: SyncJobBody


class SyncStatus(_Success):
    """How the syncs that concern the tenant are going, newest first."""

    model_config = _shows(examples.SYNC_STATUS)

    last_sync: SyncJobBody | None
    is_syncing: bool
    recent_jobs: list[SyncJobBody]
    total_jobs: int
    next_cursor: str | None = None


_measures: dict[str, Any] = {
    measure.name: (int if measure.kind == "count" else float, Field(description=measure.description))
    for measure in CAMPAIGN_METRICS.measures
}
_ratios: dict[str, Any] = {
    ratio.name: (
        float | None,
        Field(description=f"{ratio.description} In {ratio.unit}; null where {ratio.denominator} is 0."),
    )
    for ratio in CAMPAIGN_METRICS.ratios
}
Numbers = create_model("Numbers", **_measures, **_ratios)


_Date = date  # a field of the groups has that name


class MetricGroup(Numbers):
    """A group's sums, and the ratios of these sums. Of the three keys it has the one that was grouped by."""

    date: _Date | None = None
    campaign_space_id: UUID | None = None
    platform: str | None = None


class Metrics(_Success):
    """Numbers in groups, ordered by the group's key."""

    model_config = _shows(examples.METRICS)

    start_date: date
    end_date: date
    group_by: Literal["date", "campaign", "platform"]
    metrics: list[MetricGroup]
    total_records: int = Field(description="How many groups there are in all.")
    next_cursor: str | None = Field(default=None, description="Where the next page begins, if there is one.")


class MetricPoint(Numbers):
    """One date of a campaign."""

    date: date


_totals: dict[str, Any] = {
    f"total_{measure.name}": (int if measure.kind == "count" else float, ...)
    for measure in CAMPAIGN_METRICS.measures
}
Totals = create_model("Totals", **_totals)


class Summary(Totals):
    """Sums over the dates, and the ratios of these sums."""

    avg_ctr: float | None
    avg_roas: float | None
    avg_cpc: float | None
    conversion_rate: float | None
    days_tracked: int = Field(description="Dates that have numbers.")


class CampaignMetrics(_Success):
    """A campaign's numbers, one point per date."""

    model_config = _shows(examples.CAMPAIGN_METRICS)

    campaign_space_id: UUID
    start_date: date
    end_date: date
    metrics: list[MetricPoint]
    summary: Summary
