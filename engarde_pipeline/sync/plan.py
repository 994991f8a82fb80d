"""Which dates to sync, and why: dates that are missing or whose version changed (rule 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from engarde_pipeline.bigquery.changes import EMPTY, Versions, modified_at
from engarde_pipeline.core.metrics import MetricTable

MISSING = "missing: never synced"
RESTORED = "restored: Postgres has an older version than Dagster's history"
UNRECORDED = "unrecorded: synced, but missing in Dagster's history"
MAY_HAVE_CHANGED = "may have changed: BigQuery does not report which dates changed"
NEW_MAPPING = "new mapping: rejected records can be loaded now"
REMOVED = "rows were removed without a sync, or belong to another campaign or asset now"
SUMS_DIFFER = "sums differ from those in BigQuery"


@dataclass(frozen=True)
class PlannedDate:
    """A date to sync, with the reason, the source's version, and the bytes of its partition (0 if unknown)."""

    table: MetricTable
    day: date
    reason: str
    version: str
    size: int = 0


@dataclass(frozen=True)
class PlannedRange:
    """Consecutive dates of the same tables, which one run syncs."""

    tables: tuple[MetricTable, ...]
    dates: tuple[PlannedDate, ...]

    @property
    def first(self) -> date:
        return self.dates[0].day

    @property
    def last(self) -> date:
        return self.dates[-1].day


def plan_dates(
    table: MetricTable,
    window: Sequence[date],
    versions: Versions,
    recorded: Mapping[date, str],
    held: Mapping[date, str],
    removed: Mapping[date, str],
) -> list[PlannedDate]:
    """Return the dates of `table` to sync, oldest first.

    `recorded` has the versions of dates in Dagster's history, and `held` those in Postgres: either can be lost or
    restored without the other. A date in the window is due unless both have its current version. A date outside
    the window is due only if at least one of them has it, it still has a partition, and it changed. `removed` has
    the dates that lost rows without a sync, each with a digest of the removals. They are due whatever their
    version is, unless they are outside the window and have no partition.
    """
    past = {*recorded, *held} - {*window}
    late = [day for day in past if versions.by_date.get(day, EMPTY) != EMPTY] if versions.is_per_date else []
    incomplete = {day for day in removed if day in window or versions.of(day) != EMPTY}
    due = []
    for day in sorted({*window, *late, *incomplete}):
        version = versions.of(day)
        if day in incomplete:
            # The version contains the digest, so that the next removal is requested again.
            found = f"{version or 'unknown'} removed {removed[day]}"
            due.append(PlannedDate(table, day, REMOVED, found, versions.bytes_by_date.get(day, 0)))
            continue
        # Outside the window, a date that only Dagster's history lost is not synced again.
        history_lost = day not in recorded and day not in window
        if version is None or (held.get(day) == version and (history_lost or recorded.get(day) == version)):
            continue
        reason = _reason(versions, version, recorded.get(day), held.get(day))
        due.append(PlannedDate(table, day, reason, version, versions.bytes_by_date.get(day, 0)))
    return due


def _reason(versions: Versions, version: str, recorded: str | None, held: str | None) -> str:
    if recorded is None and held is None:
        return MISSING
    if recorded == version:
        return RESTORED
    if held == version:
        return UNRECORDED
    return _changed(version) if versions.is_per_date else MAY_HAVE_CHANGED


def _changed(version: str) -> str:
    if moment := modified_at(version):
        return f"changed at {moment:%Y-%m-%d %H:%M} UTC"
    return (
        "changed: its partition was deleted" if version == EMPTY else "changed: rows are in the streaming buffer"
    )


def merged_ranges(due: Iterable[PlannedDate]) -> list[PlannedRange]:
    """Combine planned dates into ranges of consecutive dates of the same tables."""
    by_day: dict[date, list[PlannedDate]] = {}
    for planned in due:
        by_day.setdefault(planned.day, []).append(planned)
    ranges: list[PlannedRange] = []
    for day in sorted(by_day):
        tables = tuple(dict.fromkeys(planned.table for planned in by_day[day]))  # a date can have two reasons
        last = ranges[-1] if ranges else None
        if last and last.tables == tables and last.last == day - timedelta(days=1):
            ranges[-1] = PlannedRange(tables, (*last.dates, *by_day[day]))
        else:
            ranges.append(PlannedRange(tables, tuple(by_day[day])))
    return ranges
