"""changed_partitions: twice a minute, the dates whose partitions changed in BigQuery are synced again.

A sensor of our own, not Dagster's observable sources with automation conditions: those observe all partitions or
none, ask for one run per partition, and do not know that a run over a range is already on its way. What they do
well is used: versions stand on the materializations as Dagster's data versions.
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
from engarde_pipeline.defs.budget import estimated_bytes, why_not
from engarde_pipeline.defs.jobs import performance_sync
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.load.removed_rows import removed_dates
from engarde_pipeline.runs.planning import TABLES, current_plan, inspect_tables, still_due
from engarde_pipeline.runs.requests import described, not_under_way, run_requests
from engarde_pipeline.sync.plan import PlannedDate

logger = logging.getLogger(__name__)

_Identity = tuple[str, date, str, str]


@dataclass(frozen=True)
class _Written:
    """A cursor as it is stored; a row of `due` is a `PlannedDate`, and whether it was asked for."""

    states: dict[str, str]
    due: list[tuple[str, date, str, str, int, bool]]


_WRITTEN = TypeAdapter(_Written)


@dataclass(frozen=True)
class _Cursor:
    """What the last tick saw: each table's state, the dates that were due, and which of them were asked for."""

    states: dict[str, str] = field(default_factory=dict)
    due: tuple[PlannedDate, ...] = ()
    asked: frozenset[_Identity] = frozenset()

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        if not text:
            return cls()
        tables = {table.source: table for table in TABLES}
        try:
            found = _WRITTEN.validate_json(text)
            due = tuple(
                PlannedDate(tables[source], day, reason, version, size)
                for source, day, reason, version, size, _ in found.due
            )
        except (ValueError, KeyError) as error:  # of another version of the code, or edited by hand
            logger.warning(
                "The cursor of changed_partitions cannot be read (%s). Every table is checked again; no run is"
                " requested twice.",
                type(error).__name__,
            )
            return cls()
        asked = (_identity(planned) for planned, row in zip(due, found.due, strict=True) if row[-1])
        return cls(found.states, due, frozenset(asked))

    def write(self) -> str:
        rows = [
            [p.table.source, p.day.isoformat(), p.reason, p.version, p.size, _identity(p) in self.asked]
            for p in self.due
        ]
        return json.dumps({"states": self.states, "due": rows})


@sensor(
    job=performance_sync,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sync the dates whose BigQuery partitions changed, those never synced, and those that lost rows in"
    " Postgres without a sync. Looks at free table"
    " metadata, at partition metadata only when a table changed, and never at the metrics themselves.",
)
def changed_partitions(context: SensorEvaluationContext, bigquery: BigQuery, postgres: Postgres) -> SensorResult:
    """Ask for the dates that are due, once per version; see `_Cursor`."""
    before = _Cursor.read(context.cursor)
    try:
        source = bigquery.open_source()
        # Where BigQuery tells no dates, nothing cheap can be known each minute: the hourly schedule's business.
        tables = {t: found for t, found in inspect_tables(source).items() if not found or found.is_partitioned}
        with postgres.connect() as connection:
            states = {t.source: _state(found, removed_dates(connection, t)) for t, found in tables.items()}
            moved = {
                table: found
                for table, found in tables.items()
                if not states[table.source] or before.states.get(table.source) != states[table.source]
            }
            kept = [p for p in before.due if p.table in tables and p.table not in moved]
            due = still_due(context.instance, connection, kept)
            due += current_plan(context.instance, source, connection, moved)
        now = _Cursor(states, tuple(due), before.asked & {_identity(planned) for planned in due})
        open_dates = [planned for planned in due if _identity(planned) not in now.asked]
        ready = not_under_way(context.instance, open_dates)
        if not ready:
            return SensorResult(skip_reason=_nothing_to_do(moved, open_dates), cursor=now.write())
        if reason := why_not(postgres, estimated_bytes(context.instance, ready)):
            return SensorResult(skip_reason=reason, cursor=now.write())
    except EngardeError as error:
        return SensorResult(skip_reason=f"Nothing could be looked at: {error}", cursor=context.cursor)
    asked = now.asked | {_identity(planned) for planned in ready}
    context.log.info(f"Asking for {described(ready)}")
    return SensorResult(run_requests=run_requests(ready), cursor=replace(now, asked=asked).write())


def _identity(planned: PlannedDate) -> _Identity:
    return planned.table.source, planned.day, planned.version, planned.reason


def _state(table: SourceTable | None, removed: Mapping[date, str]) -> str:
    """Return a table's state on these dates: when a new one begins it may be due though nothing has changed.

    `removed` are the dates that lost rows in Postgres: they are due though nothing has changed in BigQuery.
    """
    dates = f"{today()} {latest_date()}"
    if table is None:
        return f"{dates} missing"
    digest = sha256(repr(sorted(removed.items())).encode()).hexdigest()[:16] if removed else ""
    return f"{dates} {table.state} {digest}".rstrip() if table.state else ""


def _nothing_to_do(moved: dict[MetricTable, SourceTable | None], open_dates: list[PlannedDate]) -> str:
    if open_dates:
        return f"Due, and already in a run that has not ended: {described(open_dates)}."
    if not moved:
        return "No table has changed since the last look."
    return f"{' and '.join(table.source for table in moved)} may have changed, and no date is left to ask for."
