"""The configuration and tags of runs that sync a range of dates, or a slice of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from engarde_pipeline.core.metrics import METRIC_TABLES
from engarde_pipeline.dagster_internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from engarde_pipeline.runs.tags import TENANT, dates_tag

RANGE_JOB = "performance_sync"
SLICE_JOB = "slice_sync"
SLICE_OP = "sync_the_slice"

DRY_RUN = "dry_run"
"""The name of the option of a dry run, and of its mark in the job log."""


@dataclass(frozen=True)
class RunSpec:
    """The job, configuration and tags of a run to start."""

    job: str
    run_config: dict[str, Any]
    tags: dict[str, str]


@dataclass(frozen=True)
class SyncOptions:
    """The options of a sync besides what it syncs: the fields of `SyncConfig`."""

    allow_shrink: bool = False
    allow_growth: bool = False
    dry_run: bool = False


def range_run(start: date, end: date, options: SyncOptions = SyncOptions()) -> RunSpec:
    """Return a run that syncs all tenants from `start` to `end`, inclusive."""
    config = {"config": asdict(options)}
    tables = METRIC_TABLES
    return RunSpec(RANGE_JOB, {"ops": {table.target: config for table in tables}}, range_tags(start, end))


def slice_run(
    start: date,
    end: date,
    *,
    tenant: str | None,
    platforms: Sequence[str],
    campaigns: Sequence[str],
    options: SyncOptions = SyncOptions(),
) -> RunSpec:
    """Return a run that syncs one tenant, some platforms or some campaigns from `start` to `end`, inclusive."""
    config = {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "tenant": tenant,
        "platforms": list(platforms),
        "campaigns": list(campaigns),
        **asdict(options),
    }
    tags = {**dates_tag(start, end), **({TENANT: tenant.lower()} if tenant else {})}
    return RunSpec(SLICE_JOB, {"ops": {SLICE_OP: {"config": config}}}, tags)


def sync_run(
    dates: Sequence[date],
    *,
    tenant: str | None = None,
    platforms: Sequence[str] = (),
    campaigns: Sequence[str] = (),
    options: SyncOptions = SyncOptions(),
) -> RunSpec:
    """Return a run that syncs consecutive dates, or a slice if a tenant, platforms or campaigns are given."""
    if not (tenant or platforms or campaigns):
        return range_run(dates[0], dates[-1], options)
    return slice_run(dates[0], dates[-1], tenant=tenant, platforms=platforms, campaigns=campaigns, options=options)


def range_tags(start: date, end: date) -> dict[str, str]:
    """Return the tags of a run of the partitions from `start` to `end`, inclusive."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: start.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: end.isoformat(),
        **dates_tag(start, end),
    }
