"""The sensor `changed_partitions`: syncs the dates whose partitions changed in BigQuery.

docs/adr/0001-own-sensors.md says why this is not an observable source asset with automation conditions.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import UTC, date, datetime
from functools import partial
from hashlib import sha256
from typing import Literal

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor
from pydantic import BaseModel, Field, field_validator

from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.defs.assets.sources import data_version, updated
from engarde_pipeline.defs.budget import estimated_bytes, over_budget
from engarde_pipeline.defs.cursor import Cursor
from engarde_pipeline.defs.jobs import performance_sync
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.defs.ticks import failing_tick
from engarde_pipeline.postgres.load.removed_rows import removed_dates
from engarde_pipeline.runs.planning import Plan, current_plan, inspect_tables, note_compared, still_due
from engarde_pipeline.runs.requests import described, run_requests, without_unfinished_run
from engarde_pipeline.sync.plan import PlannedDate

_TABLES = {table.source: table for table in METRIC_TABLES}
_Identity = tuple[str, date, str, str]


class _DueDate(BaseModel):
    """The stored form of a `PlannedDate`, and whether a run was requested for it."""

    table: str
    day: date
    reason: str
    version: str
    size: int
    requested: bool

    @field_validator("table")
    @classmethod
    def _exists(cls, table: str) -> str:
        if table not in _TABLES:
            raise ValueError("is no source table")
        return table

    @property
    def planned(self) -> PlannedDate:
        return PlannedDate(_TABLES[self.table], self.day, self.reason, self.version, self.size)


class _Cursor(Cursor):
    """The state of each table at the last tick, the dates that were due, and those that differed besides.

    `source_versions` has the data version of each source table that was last reported to Dagster.
    """

    sensor = "changed_partitions"
    if_unreadable = "Every table is checked again; no run is requested twice."

    version: Literal[2] = 2
    states: dict[str, str] = Field(default_factory=dict)
    due: list[_DueDate] = Field(default_factory=list)
    differing: dict[str, list[date]] = Field(default_factory=dict)
    source_versions: dict[str, str] = Field(default_factory=dict)

    @property
    def requested(self) -> set[_Identity]:
        return {_identity(date.planned) for date in self.due if date.requested}


@sensor(
    job=performance_sync,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sync the dates whose BigQuery partitions changed, dates that were never synced, and dates that"
    " lost rows in Postgres without a sync. Reads table metadata, which is free of charge, and partition metadata"
    " only when a table changed; it never queries the metrics.",
)
@failing_tick("The tables could not be checked for changes")
def changed_partitions(context: SensorEvaluationContext, bigquery: BigQuery, postgres: Postgres) -> SensorResult:
    """Request runs for the dates that are due, once per version."""
    before = _Cursor.read(context.cursor)
    before_due = [date.planned for date in before.due]
    source = bigquery.open_source()
    moment = datetime.now(UTC)
    # Where BigQuery does not report changes by date, checking is not free: hourly_sync covers those tables.
    tables = {t: found for t, found in inspect_tables(source).items() if not found or found.is_partitioned}
    with postgres.connect() as connection:
        states = {t.source: _state(found, removed_dates(connection, t)) for t, found in tables.items()}
        changed = {
            table: found
            for table, found in tables.items()
            if not states[table.source] or before.states.get(table.source) != states[table.source]
        }
        kept = [p for p in before_due if p.table in tables and p.table not in changed]
        due = still_due(context.instance, connection, kept)
        plan = current_plan(context.instance, source, connection, changed)
        due += plan.due
        differing = {table: before.differing.get(table.source, []) for table in tables} | plan.differing
        note_compared(connection, Plan(due, differing), moment)
    source_versions = before.source_versions | {
        table.source: data_version(found, plan.versions[table]) for table, found in changed.items() if found
    }
    updates = [
        updated(found, plan.versions[table], [date for date in plan.due if date.table is table])
        for table, found in changed.items()
        if found and source_versions[table.source] != before.source_versions.get(table.source)
    ]
    requested = before.requested
    pending = [planned for planned in due if _identity(planned) not in requested]
    others = {table.source: days for table, days in differing.items()}
    write = partial(_cursor, states, due, others, source_versions)
    ready = without_unfinished_run(context.instance, pending)
    if not ready:
        nothing = _skip_reason(changed, pending)
        return SensorResult(skip_reason=nothing, cursor=write(requested), asset_events=updates)
    if reason := over_budget(postgres, estimated_bytes(context.instance, ready)):
        return SensorResult(skip_reason=reason, cursor=write(requested), asset_events=updates)
    context.log.info(f"Requesting runs for {described(ready)}")
    requested |= {_identity(planned) for planned in ready}
    return SensorResult(run_requests=run_requests(ready), cursor=write(requested), asset_events=updates)


def _cursor(
    states: dict[str, str],
    due: Sequence[PlannedDate],
    differing: dict[str, list[date]],
    source_versions: dict[str, str],
    requested: Set[_Identity],
) -> str:
    dates = [
        _DueDate(
            table=planned.table.source,
            day=planned.day,
            reason=planned.reason,
            version=planned.version,
            size=planned.size,
            requested=_identity(planned) in requested,
        )
        for planned in due
    ]
    return _Cursor(states=states, due=dates, differing=differing, source_versions=source_versions).write()


def _identity(planned: PlannedDate) -> _Identity:
    return planned.table.source, planned.day, planned.version, planned.reason


def _state(table: SourceTable | None, removed: Mapping[date, str]) -> str:
    """Return a table's state; it changes when the table does, when a new date begins, and when `removed` does.

    `removed` has the dates that lost rows in Postgres: they are due even if BigQuery has not changed.
    """
    dates = f"{today()} {latest_date()}"
    if table is None:
        return f"{dates} missing"
    digest = sha256(repr(sorted(removed.items())).encode()).hexdigest()[:16] if removed else ""
    return f"{dates} {table.state} {digest}".rstrip() if table.state else ""


def _skip_reason(changed: dict[MetricTable, SourceTable | None], pending: list[PlannedDate]) -> str:
    if pending:
        return f"Due, but already in an unfinished run: {described(pending)}."
    if not changed:
        return "No table has changed since the last tick."
    tables = " and ".join(table.source for table in changed)
    return f"{tables} may have changed, but no date is due for which no run has been requested."
