"""Which dates to sync, and why: those missing or changed, decided by versions, never by the clock (rule 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from engarde_pipeline.bigquery.changes import EMPTY, Versions, modified_at
from engarde_pipeline.core.metrics import MetricTable

MISSING = "missing: never synced"
RESTORED = "restored: Postgres has an earlier state than Dagster saw synced"
UNRECORDED = "unrecorded: synced, and Dagster's history does not have it"
UNTOLD = "may have changed: BigQuery does not tell which dates did"
MAPPED = "mapping arrived: rejected records can be loaded"
REMOVED = "rows were removed without a sync, or belong to another campaign or asset now"
DIFFERS = "sums differ from BigQuery's"


@dataclass(frozen=True)
class PlannedDate:
    """A date to sync, why, the source's version, and the size of its partition where BigQuery tells it."""

    table: MetricTable
    day: date
    reason: str
    version: str
    size: int = 0


@dataclass(frozen=True)
class PlannedRange:
    """Consecutive dates of the same tables: one run."""

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

    `recorded` has the version of each date that Dagster's history saw synced, `held` that of the numbers Postgres
    has: either can be lost or restored without the other. A date of the window is due unless both have its version
    of now; one outside the window only when one of them has it, it still has a partition, and it changed.
    `removed` has the dates that lost rows without a sync, each with a digest of what removed them: they are due
    whatever their version is, unless they lie outside the window and their partition is gone.
    """
    past = {*recorded, *held} - {*window}
    late = [day for day in past if versions.by_date.get(day, EMPTY) != EMPTY] if versions.tells_dates else []
    incomplete = {day for day in removed if day in window or versions.of(day) != EMPTY}
    due = []
    for day in sorted({*window, *late, *incomplete}):
        version = versions.of(day)
        if day in incomplete:
            # The digest is part of the version, so that the next removal is asked for again.
            found = f"{version or 'unknown'} removed {removed[day]}"
            due.append(PlannedDate(table, day, REMOVED, found, versions.bytes_by_date.get(day, 0)))
            continue
        # Beyond the window, what Dagster's history has lost is history only.
        beyond = day not in recorded and day not in window
        if version is None or (held.get(day) == version and (beyond or recorded.get(day) == version)):
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
    return _changed(version) if versions.tells_dates else UNTOLD


def _changed(version: str) -> str:
    if moment := modified_at(version):
        return f"changed at {moment:%Y-%m-%d %H:%M} UTC"
    return "changed: its partition is gone" if version == EMPTY else "changed: rows are in the streaming buffer"


def merged_ranges(due: Iterable[PlannedDate]) -> list[PlannedRange]:
    """Return planned dates as few ranges: consecutive dates of the same tables together."""
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
