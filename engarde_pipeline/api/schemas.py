"""The schemas of requests and responses; those of metrics are in `metric_schemas`."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from engarde_pipeline.api import examples
from engarde_pipeline.runs.job_log import CANCELLED, SyncJob
from engarde_pipeline.runs.run_config import DRY_RUN


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
    dry_run: StrictBool = Field(
        default=False,
        description="Write nothing: the job's counts say what a sync would insert, update and delete.",
    )
    all_tenants: StrictBool = Field(
        default=False, description="Sync all tenants. The token needs the scope `sync:all`."
    )


class SyncJobBody(BaseModel):
    """A sync job: a Dagster run with its retries. Times are in UTC.

    The counts of a sync of all tenants are null unless the token has the scope `sync:all`. The metadata of a dry
    run has `"dry_run": true` and, if a sync would not land some of the dates, these as `would_not_land`, by table;
    its counts are those that a sync would have. The metadata of a cancelled job, which is `failed`, has
    `"cancelled": true`.
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
        shown["metadata"] = {
            "all_tenants": True,
            **{name: True for name in (DRY_RUN, CANCELLED) if name in job.metadata},
        }
        if job.error_message and not job.is_cancelled:
            shown["error_message"] = (
                "The sync of all tenants failed. The operators of the pipeline can see the reason."
            )
    return SyncJobBody(**shown)


def with_example(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a model with an example."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class Success(BaseModel):
    """The body of a successful response."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    success: Literal[True] = True


class SyncStarted(Success):
    """The sync that was queued."""

    model_config = with_example(examples.SYNC_STARTED)

    message: str
    sync_job: SyncJobBody


class SyncJobAnswer(Success):
    """A sync job."""

    model_config = with_example(examples.SYNC_JOB)

    sync_job: SyncJobBody


class SyncStatus(Success):
    """The status of the tenant's syncs, including syncs of all tenants; newest first."""

    model_config = with_example(examples.SYNC_STATUS)

    last_sync: SyncJobBody | None
    is_syncing: bool
    recent_jobs: list[SyncJobBody]
    total_jobs: int
    next_cursor: str | None = None
