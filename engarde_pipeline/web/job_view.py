"""Sync jobs as the pages show them: in words, with counts, date by date."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from engarde_pipeline.api.schemas import SyncJobBody, job_body
from engarde_pipeline.api.sync_events import LandedDate
from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.runs.job_log import CANCELLED, SyncJob
from engarde_pipeline.runs.run_config import DRY_RUN
from engarde_pipeline.web.date_ranges import written_range
from engarde_pipeline.web.freshness import TABLE_NAMES

ROWS_WHILE_RUNNING = 50
"""The number of the latest dates that are shown of a job that has not ended."""

_NAMES = {table.target: TABLE_NAMES[table] for table in METRIC_TABLES}
_OF_ONE_TABLE = {table.source for table in METRIC_TABLES}

_STATUSES = {
    "pending": ("Waiting", "muted"),
    "running": ("Running", "muted"),
    "retrying": ("Waiting to be tried again", "warn"),
    "completed": ("Completed", "good"),
    "failed": ("Failed", "bad"),
}

_TRIGGERS = {
    "manual": "Started by the operators",
    "schedule": "By schedule",
    "sensor": "After a change in BigQuery",
    "backfill": "A backfill of the operators",
    "api": "On this page or by the API",
}

COUNTS = {
    "inserted": "Inserted",
    "updated": "Updated",
    "unchanged": "Unchanged",
    "deleted": "Deleted",
    "failed": "Rejected",
}
"""What becomes of records, as in the names of a job's counts, and the headings of these counts."""

_OPTIONS = {"would_shrink": "allow_shrink", "repeated": "allow_growth", "grown": "allow_growth"}

_DATES_PER_SECOND = 300
"""Dates of all tables for which the page waits another second before it reads its progress again."""


@dataclass(frozen=True)
class JobView:
    """A job in words. `counts` are those of `COUNTS`, or None for a sync of all tenants."""

    id: str
    kind: str
    dates: str
    limits: str
    status: str
    style: str
    is_dry_run: bool
    has_ended: bool
    is_completed: bool
    triggered_by: str
    started_at: datetime | None
    completed_at: datetime | None
    duration: str
    attempts: str
    counts: Sequence[int] | None
    error: str | None
    error_details: str | None

    @property
    def title(self) -> str:
        """The job in a few words."""
        return f"{self.kind} of {self.dates}" if self.dates else self.kind


@dataclass(frozen=True)
class LandedRow:
    """A date of a table that has landed, or that a dry run has done. `counts` are those of `COUNTS`.

    `spend` has the currency and the spend before and after.
    """

    day: str
    table: str
    counts: Sequence[int] | None
    spend: Sequence[tuple[str, float, float]]
    would_not_land: str | None


@dataclass(frozen=True)
class StartAgain:
    """What the form needs to start a sync with the parameters of a job.

    `options` are those without which the sync would refuse dates, as the dry run has found.
    """

    start_date: str
    end_date: str
    platform: str
    campaign_space_ids: Sequence[str]
    options: Sequence[str]


@dataclass(frozen=True)
class JobProgress:
    """The page of a job. `total` is the number of dates of all tables, or None if it is not known."""

    job: JobView
    rows: Sequence[LandedRow]
    done: int
    total: int | None
    hidden_rows: int
    again: StartAgain | None

    @property
    def poll_seconds(self) -> int:
        """How often the page reads its progress again: each time, all of the dates that are done are read."""
        return 1 + self.done // _DATES_PER_SECOND

    @property
    def changes_nothing(self) -> bool:
        """Whether this is a dry run that has found every number unchanged."""
        job = self.job
        if not (job.is_dry_run and job.is_completed and job.counts) or any(
            row.would_not_land for row in self.rows
        ):
            return False
        return not any(count for name, count in zip(COUNTS, job.counts, strict=True) if name != "unchanged")

    @property
    def sentence(self) -> str:
        """How many dates of the tables are done."""
        return f"{self.done:,} of {self.total:,} done" if self.total else f"{self.done:,} done"


def job_view(job: SyncJobBody) -> JobView:
    """Return a job in words, from what its reader may see."""
    is_cancelled, is_dry_run = CANCELLED in job.metadata, DRY_RUN in job.metadata
    status, style = ("Cancelled", "muted") if is_cancelled else _STATUSES[job.status]
    counts = [getattr(job, f"records_{name}") for name in COUNTS]
    user = f" ({job.triggered_by_user_id})" if job.triggered_by_user_id else ""
    return JobView(
        id=job.id,
        kind="Dry run" if is_dry_run else "Sync",
        dates=written_range(job.start_date, job.end_date) if job.start_date and job.end_date else "",
        limits=_limits(job.metadata),
        status=status,
        style=style,
        is_dry_run=is_dry_run,
        has_ended=job.status in ("completed", "failed"),
        is_completed=job.status == "completed",
        triggered_by=_TRIGGERS[job.triggered_by] + user,
        started_at=job.started_at,
        completed_at=job.completed_at,
        duration=_duration(job.duration_seconds),
        attempts=counted(job.retry_count, "retry", "retries") if job.retry_count else "",
        counts=None if None in counts else counts,
        error=None if is_cancelled else job.error_message,
        error_details=None if is_cancelled else job.error_details,
    )


def progress(job: SyncJob, landed: Iterable[LandedDate], may_see_all: bool) -> JobProgress:
    """Return the page of a job, without what its reader may not see."""
    body = job_body(job, may_see_all)
    view = job_view(body)
    may_see_counts = job.tenant_id is not None or may_see_all
    # A later attempt replaces what an earlier one has told of the same date.
    latest = {(each.data["date"], each.data["table"]): each for each in landed}
    rows = [_row(each, may_see_counts) for each in latest.values()]
    if view.has_ended:
        shown = sorted(rows, key=lambda row: (row.day, row.table))
    else:
        shown = rows[: -ROWS_WHILE_RUNNING - 1 : -1]
    return JobProgress(
        job=view,
        rows=shown,
        done=len(rows),
        total=_total(body),
        hidden_rows=len(rows) - len(shown),
        again=_again(body, [each.held for each in latest.values() if each.held]),
    )


def _row(landed: LandedDate, may_see_counts: bool) -> LandedRow:
    data = landed.shown(may_see_counts)
    return LandedRow(
        day=data["date"],
        table=_NAMES[data["table"]],
        counts=[data[f"records_{name}"] for name in COUNTS] if may_see_counts else None,
        spend=[(currency, *sums) for currency, sums in landed.spend.items()] if may_see_counts else [],
        would_not_land=data.get("would_not_land"),
    )


def _total(job: SyncJobBody) -> int | None:
    if job.start_date is None or job.end_date is None:
        return None
    tables = 1 if job.job_type in _OF_ONE_TABLE else len(METRIC_TABLES)
    return tables * ((job.end_date - job.start_date).days + 1)


def _again(job: SyncJobBody, held: Iterable[str]) -> StartAgain | None:
    """Return the parameters of a tenant's job, unless the form cannot have them."""
    platforms = job.metadata.get("platforms", [])
    campaigns = job.metadata.get("campaign_space_ids", [])
    is_of_all_tenants = "all_tenants" in job.metadata
    has_ids = all(_is_uuid(each) for each in campaigns)  # the command line accepts external ids, too
    if is_of_all_tenants or len(platforms) > 1 or not has_ids or not (job.start_date and job.end_date):
        return None
    return StartAgain(
        start_date=str(job.start_date),
        end_date=str(job.end_date),
        platform=next(iter(platforms), ""),
        campaign_space_ids=campaigns,
        options=sorted({_OPTIONS[code] for code in held if code in _OPTIONS}),
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _limits(metadata: dict[str, Any]) -> str:
    if "all_tenants" in metadata:
        return "all tenants"
    parts = list(metadata.get("platforms", []))
    if campaigns := metadata.get("campaign_space_ids"):
        parts.append(counted(len(campaigns), "campaign"))
    return ", ".join(parts)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
