"""Which dates to sync, and why: those missing or changed, decided by versions, never by the clock (rule 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from engarde_pipeline.bigquery.changes import EMPTY, Versions, modified_at
from engarde_pipeline.metrics import MetricTable

MISSING = "missing: never synced"
UNTOLD = "may have changed: BigQuery does not tell which dates did"
MAPPED = "mapping arrived: rejected records can be loaded"
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
    table: MetricTable, window: Sequence[date], versions: Versions, synced: Mapping[date, str]
) -> list[PlannedDate]:
    """Return the dates of `table` to sync, oldest first.

    `synced` has the version each date was last read at. A date of the window is due when it was never synced or
    has another version now; one outside the window only when it was synced, still has a partition, and changed.
    """
    late = [day for day in synced if versions.by_date.get(day, EMPTY) != EMPTY] if versions.tells_dates else []
    due = []
    for day in sorted({*window, *late}):
        version = versions.of(day)
        if version is None or synced.get(day) == version:
            continue
        reason = MISSING if day not in synced else _changed(version) if versions.tells_dates else UNTOLD
        due.append(PlannedDate(table, day, reason, version, versions.bytes_by_date.get(day, 0)))
    return due


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
        tables = tuple(planned.table for planned in by_day[day])
        last = ranges[-1] if ranges else None
        if last and last.tables == tables and last.last == day - timedelta(days=1):
            ranges[-1] = PlannedRange(tables, (*last.dates, *by_day[day]))
        else:
            ranges.append(PlannedRange(tables, tuple(by_day[day])))
    return ranges
