"""Run requests for planned dates, as few as possible and none for dates that an unfinished run syncs."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from dagster import AssetKey, DagsterInstance, DagsterRun, RunRequest, RunsFilter

from engarde_pipeline.core.dates import date_range
from engarde_pipeline.runs.run_config import SLICE_JOB, range_tags
from engarde_pipeline.runs.sync_runs import UNFINISHED, dates_of, is_dry_run, is_sync, synced_assets
from engarde_pipeline.runs.tags import REASON
from engarde_pipeline.sync.plan import PlannedDate, PlannedRange, merged_ranges

TOTALS_ASSET = AssetKey("campaign_space_aggregates")
"""Added to the selected tables of a run, so that the totals are updated after them."""


def without_unfinished_run(instance: DagsterInstance, due: Sequence[PlannedDate]) -> list[PlannedDate]:
    """Return the planned dates that no unfinished run already syncs."""
    runs = instance.get_runs(RunsFilter(statuses=UNFINISHED)) if due else []
    return [planned for planned in due if not any(_syncs(run, planned) for run in runs)]


def run_requests(due: Iterable[PlannedDate], run_key: str | None = None) -> list[RunRequest]:
    """Return one request of `performance_sync` per range of planned dates.

    Dagster never starts a second run with the same run key. The key contains a digest of the dates' versions and
    reasons, so that each change is requested once; `run_key` replaces the digest.
    """
    return [
        RunRequest(
            run_key=f"{planned.first}..{planned.last} {run_key or _digest(planned)}",
            asset_selection=[*(AssetKey(t.target) for t in planned.tables), TOTALS_ASSET],
            tags={**range_tags(planned.first, planned.last), REASON: _reason(planned)},
        )
        for planned in merged_ranges(due)
    ]


def described(due: Iterable[PlannedDate]) -> str:
    """Return a description of planned dates, for a log or a skip reason."""
    return "; ".join(
        f"{' and '.join(table.target for table in planned.tables)} {date_range(planned.first, planned.last)}"
        for planned in merged_ranges(due)
    )


def _syncs(run: DagsterRun, planned: PlannedDate) -> bool:
    # A slice does not sync the whole date, and a dry run syncs none.
    if not is_sync(run) or run.job_name == SLICE_JOB or is_dry_run(run):
        return False
    if AssetKey(planned.table.target) not in synced_assets(run):
        return False
    start, end = dates_of(run)
    return start is not None and end is not None and start <= planned.day <= end


def _digest(planned: PlannedRange) -> str:
    versions = " ".join(f"{date.table.source} {date.day} {date.version} {date.reason}" for date in planned.dates)
    return sha256(versions.encode()).hexdigest()[:16]


def _reason(planned: PlannedRange) -> str:
    return ", ".join(sorted({date.reason for date in planned.dates}))[:200]
