"""From planned dates to runs: few of them, none for a date that an unfinished run already has."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from dagster import AssetKey, DagsterInstance, DagsterRun, RunRequest, RunsFilter

from engarde_pipeline.runs.run_config import SLICE_JOB, range_tags
from engarde_pipeline.runs.sync_runs import UNFINISHED, dates_of, is_sync, synced_assets
from engarde_pipeline.runs.tags import REASON
from engarde_pipeline.sync.plan import PlannedDate, PlannedRange, merged_ranges

TOTALS_ASSET = AssetKey("campaign_space_aggregates")
"""Selected beside the tables of a run, so that the totals follow."""


def without_unfinished_run(instance: DagsterInstance, due: Sequence[PlannedDate]) -> list[PlannedDate]:
    """Return the planned dates that no unfinished run already has."""
    runs = instance.get_runs(RunsFilter(statuses=UNFINISHED)) if due else []
    return [planned for planned in due if not any(_has(run, planned) for run in runs)]


def run_requests(due: Iterable[PlannedDate], run_key: str | None = None) -> list[RunRequest]:
    """Return one request of performance_sync per range of planned dates.

    A run key is remembered for ever, so it holds the dates' versions and reasons: the same change is asked for
    once, the next one anew. `run_key`, where given, takes their place.
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
    """Return planned dates in words, for a log or a skip reason."""
    return "; ".join(
        f"{' and '.join(table.source for table in planned.tables)} {planned.first}"
        + (f" .. {planned.last}" if planned.last != planned.first else "")
        for planned in merged_ranges(due)
    )


def _has(run: DagsterRun, planned: PlannedDate) -> bool:
    # A slice of a date is not the date.
    if not is_sync(run) or run.job_name == SLICE_JOB or AssetKey(planned.table.target) not in synced_assets(run):
        return False
    start, end = dates_of(run)
    return start is not None and end is not None and start <= planned.day <= end


def _digest(planned: PlannedRange) -> str:
    versions = " ".join(f"{date.table.source} {date.day} {date.version} {date.reason}" for date in planned.dates)
    return sha256(versions.encode()).hexdigest()[:16]


def _reason(planned: PlannedRange) -> str:
    return ", ".join(sorted({date.reason for date in planned.dates}))[:200]
