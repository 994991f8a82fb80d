"""What a Dagster run syncs: its tables, dates and tenant."""

from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any

from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, METRIC_TABLES
from engarde_pipeline.dagster_internals import (
    ASSET_JOB,
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
)
from engarde_pipeline.runs.run_config import DRY_RUN, RANGE_JOB, SLICE_JOB, SLICE_OP
from engarde_pipeline.runs.tags import ALL_TENANTS, TENANT

RANGE_JOBS = (RANGE_JOB, ASSET_JOB)
"""The jobs that sync all tenants: `performance_sync`, and Dagster's job for materializing selected assets."""

UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.MANAGED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
"""The statuses of a run that has not ended."""

SYNCED_ASSETS = frozenset(AssetKey(table.target) for table in METRIC_TABLES)


def is_sync(run: DagsterRun) -> bool:
    """Return whether a run syncs dates or is a dry run of that; a run of only totals or checks is neither."""
    return run.job_name in (*RANGE_JOBS, SLICE_JOB) and bool(synced_assets(run))


def is_dry_run(run: DagsterRun) -> bool:
    """Return whether a run only reports what a sync would do (rule 16).

    One asset with this option is enough: then the run writes to no table.
    """
    ops: Any = run.run_config.get("ops") or {}
    steps = [ops.get(name) or {} for name in (*(table.target for table in METRIC_TABLES), SLICE_OP)]
    return any((step.get("config") or {}).get(DRY_RUN) for step in steps)


def synced_assets(run: DagsterRun) -> Collection[AssetKey]:
    """Return which of the two metric tables a run syncs."""
    # Both selections are empty if the whole job runs; a selection of only checks has no assets.
    if run.asset_selection or run.asset_check_selection or run.job_name == ASSET_JOB:
        return SYNCED_ASSETS & (run.asset_selection or frozenset())
    return SYNCED_ASSETS


def dates_of(run: DagsterRun) -> tuple[date | None, date | None]:
    """Return the first and last requested date of a run, also of a slice, or None."""
    config = slice_config(run)
    partition = run.tags.get(PARTITION_NAME_TAG)
    start = run.tags.get(ASSET_PARTITION_RANGE_START_TAG) or partition or config.get("start")
    end = run.tags.get(ASSET_PARTITION_RANGE_END_TAG) or partition or config.get("end")
    return _date(start), _date(end)


def slice_config(run: DagsterRun) -> dict[str, Any]:
    """Return the configuration of a run of `slice_sync`, or an empty dict for other runs."""
    ops: Any = run.run_config.get("ops", {})
    return dict(ops.get(SLICE_OP, {}).get("config", {})) if run.job_name == SLICE_JOB else {}


def tenant_of(run: DagsterRun) -> str | None:
    """Return the tenant whose slice a run syncs, or None for a sync of all tenants."""
    if run.job_name != SLICE_JOB:
        return None
    # The configuration may have the tenant's name; the run is tagged with its id when it starts.
    tenant = str(run.tags.get(TENANT) or slice_config(run).get("tenant") or ALL_TENANTS).lower()
    return None if tenant == ALL_TENANTS else tenant


def is_of_all_campaigns(run: DagsterRun) -> bool:
    """Return whether a run syncs all campaigns of its tenants."""
    config = slice_config(run)
    return AssetKey(CAMPAIGN_METRICS.target) in synced_assets(run) and not (
        config.get("platforms") or config.get("campaigns")
    )


def job_of(run: DagsterRun) -> str:
    """Return the job of a run as people know it, instead of the hidden one that materializes selected assets."""
    if run.job_name != ASSET_JOB:
        return run.job_name
    return f"backfill {run.tags[BACKFILL_ID_TAG]}" if BACKFILL_ID_TAG in run.tags else "Materialize"


def describe_run(instance: DagsterInstance, run_id: str) -> str:
    """Return a run as a log calls it: its id, its job and since when it has been running."""
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return f"run {run_id}"
    run = record.dagster_run
    job = job_of(run) if run.job_name == ASSET_JOB else f"job {run.job_name}"
    started = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None
    since = f", running since {started:%Y-%m-%d %H:%M:%S} UTC" if started else ""
    return f"run {run_id} ({job}{since})"


def _date(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:  # the run fails because its configuration is invalid
        return None
