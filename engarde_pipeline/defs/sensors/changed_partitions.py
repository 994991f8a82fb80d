"""The sensor `changed_partitions`: syncs the dates whose partitions changed in BigQuery.

docs/adr/0001-own-sensors.md says why this is not an observable source asset with automation conditions.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from hashlib import sha256

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor
from pydantic import TypeAdapter

from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.dates import latest_date, today
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.defs.budget import estimated_bytes, over_budget
from engarde_pipeline.defs.jobs import performance_sync
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.load.removed_rows import removed_dates
from engarde_pipeline.runs.planning import TABLES, current_plan, inspect_tables, still_due
from engarde_pipeline.runs.requests import described, run_requests, without_unfinished_run
from engarde_pipeline.sync.plan import PlannedDate

logger = logging.getLogger(__name__)

_Identity = tuple[str, date, str, str]


@dataclass(frozen=True)
class _StoredCursor:
    """The stored form of a cursor; a row of `due` is a `PlannedDate` and whether a run was requested for it."""

    states: dict[str, str]
    due: list[tuple[str, date, str, str, int, bool]]


_STORED_CURSOR = TypeAdapter(_StoredCursor)


@dataclass(frozen=True)
class _Cursor:
    """The state after a tick: each table's state, the dates that were due, and for which a run was requested."""

    states: dict[str, str] = field(default_factory=dict)
    due: tuple[PlannedDate, ...] = ()
    requested: frozenset[_Identity] = frozenset()

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        if not text:
            return cls()
        tables = {table.source: table for table in TABLES}
        try:
            found = _STORED_CURSOR.validate_json(text)
            due = tuple(
                PlannedDate(tables[source], day, reason, version, size)
                for source, day, reason, version, size, _ in found.due
            )
        except (ValueError, KeyError) as error:  # written by another version of the code, or edited by hand
            logger.warning(
                "The cursor of changed_partitions cannot be read (%s). Every table is checked again; no run is"
                " requested twice.",
                type(error).__name__,
            )
            return cls()
        requested = (_identity(planned) for planned, row in zip(due, found.due, strict=True) if row[-1])
        return cls(found.states, due, frozenset(requested))

    def write(self) -> str:
        rows = [
            [p.table.source, p.day.isoformat(), p.reason, p.version, p.size, _identity(p) in self.requested]
            for p in self.due
        ]
        return json.dumps({"states": self.states, "due": rows})


@sensor(
    job=performance_sync,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sync the dates whose BigQuery partitions changed, dates that were never synced, and dates that"
    " lost rows in Postgres without a sync. Reads table metadata, which is free of charge, and partition metadata"
    " only when a table changed; it never queries the metrics.",
)
def changed_partitions(context: SensorEvaluationContext, bigquery: BigQuery, postgres: Postgres) -> SensorResult:
    """Request runs for the dates that are due, once per version."""
    before = _Cursor.read(context.cursor)
    try:
        source = bigquery.open_source()
        # Where BigQuery does not report changes by date, checking is not free: hourly_sync covers those tables.
        tables = {t: found for t, found in inspect_tables(source).items() if not found or found.is_partitioned}
        with postgres.connect() as connection:
            states = {t.source: _state(found, removed_dates(connection, t)) for t, found in tables.items()}
            changed = {
                table: found
                for table, found in tables.items()
                if not states[table.source] or before.states.get(table.source) != states[table.source]
            }
            kept = [p for p in before.due if p.table in tables and p.table not in changed]
            due = still_due(context.instance, connection, kept)
            due += current_plan(context.instance, source, connection, changed)
        now = _Cursor(states, tuple(due), before.requested & {_identity(planned) for planned in due})
        pending = [planned for planned in due if _identity(planned) not in now.requested]
        ready = without_unfinished_run(context.instance, pending)
        if not ready:
            return SensorResult(skip_reason=_skip_reason(changed, pending), cursor=now.write())
        if reason := over_budget(postgres, estimated_bytes(context.instance, ready)):
            return SensorResult(skip_reason=reason, cursor=now.write())
    except EngardeError as error:
        return SensorResult(
            skip_reason=f"The tables could not be checked for changes: {error}", cursor=context.cursor
        )
    requested = now.requested | {_identity(planned) for planned in ready}
    context.log.info(f"Requesting runs for {described(ready)}")
    return SensorResult(run_requests=run_requests(ready), cursor=replace(now, requested=requested).write())


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
