"""The current plan, from BigQuery's metadata, Dagster's history and the versions in Postgres."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import attrgetter

import psycopg
from dagster import AssetKey, DagsterInstance

from engarde_pipeline.bigquery.changes import EMPTY, Versions, modified_at, read_versions
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.date_states import MISSING_TABLE
from engarde_pipeline.core.dates import dates_ahead, first_date, latest_date, today
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.postgres.load.new_mappings import mapped_rejections
from engarde_pipeline.postgres.load.removed_rows import removed_dates
from engarde_pipeline.postgres.load.source_keys import note_moved_keys
from engarde_pipeline.postgres.load.synced_dates import note_unchanged, synced_versions
from engarde_pipeline.runs.history import recorded_versions
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline.sync.plan import MAY_HAVE_CHANGED, MISSING, NEW_MAPPING, REMOVED, PlannedDate, plan_dates

logger = logging.getLogger(__name__)

NO_TABLE = Versions({}, MISSING_TABLE)
"""The versions of an optional table that does not exist in BigQuery; its dates are marked as such once."""


@dataclass(frozen=True)
class Plan:
    """The dates that are due, and for each table the other synced dates that have another version in BigQuery.

    `versions` has the versions of the tables that were read.
    """

    due: list[PlannedDate]
    differing: dict[MetricTable, list[date]]
    versions: dict[MetricTable, Versions] = field(default_factory=dict)


def window(now: datetime | None = None) -> list[date]:
    """Return the dates up to today (UTC) that are kept in sync with BigQuery, oldest first.

    The date that has not begun in UTC is handled separately; see `dates_ahead`.
    """
    settings = load_pipeline_settings()
    days = (today(now) - timedelta(days=n) for n in reversed(range(settings.engarde_window_days)))
    return [day for day in days if day >= settings.engarde_first_date]


def inspect_tables(source: Source) -> dict[MetricTable, SourceTable | None]:
    """Return the source tables, with None for an optional one that does not exist; free of charge.

    Raises:
        SourceError: BigQuery cannot be read.
    """
    return {table: source.find(table) for table in METRIC_TABLES}


def current_plan(
    instance: DagsterInstance,
    source: Source,
    connection: psycopg.Connection,
    tables: Mapping[MetricTable, SourceTable | None],
    now: datetime | None = None,
) -> Plan:
    """Return the plan of `tables`; reads only partition metadata from BigQuery.

    The date that has not begun in UTC is due once BigQuery has rows for it, or if BigQuery does not report that. A
    date outside the window whose partition is gone differs, but is not due.

    Raises:
        SourceError: BigQuery cannot be read.
    """
    due: list[PlannedDate] = []
    differing: dict[MetricTable, list[date]] = {}
    read: dict[MetricTable, Versions] = {}
    days, ahead = window(now), dates_ahead(now)
    first, last = first_date(), latest_date(now)
    for table, found in tables.items():
        versions = read_versions(source, found, [*days, *ahead]) if found else NO_TABLE
        read[table] = versions
        begun = [day for day in ahead if not versions.is_per_date or versions.by_date.get(day, EMPTY) != EMPTY]
        recorded = recorded_versions(instance, AssetKey(table.target))
        held = synced_versions(connection, table)
        removed = removed_dates(connection, table) if found else {}
        planned = plan_dates(table, [*days, *begun], versions, recorded, held, removed)
        planned = [date for date in planned if first <= date.day <= last]
        due += [_missing_only_with_partition(date) if date.day in ahead else date for date in planned]
        changed = {day for day, version in held.items() if versions.of(day) != version}
        differing[table] = sorted(changed - {date.day for date in planned})
    return Plan(due, differing, read)


def _missing_only_with_partition(planned: PlannedDate) -> PlannedDate:
    """Replace the reason "missing" of a date ahead of UTC unless BigQuery has a partition for it."""
    if planned.reason == MISSING and modified_at(planned.version) is None:
        return replace(planned, reason=MAY_HAVE_CHANGED)
    return planned


def still_due(
    instance: DagsterInstance, connection: psycopg.Connection, planned: Iterable[PlannedDate]
) -> list[PlannedDate]:
    """Return the planned dates that have not been synced since they were planned; does not read BigQuery."""
    left: list[PlannedDate] = []
    for table, dates in groupby(planned, key=attrgetter("table")):
        recorded, held = recorded_versions(instance, AssetKey(table.target)), synced_versions(connection, table)
        removed = removed_dates(connection, table)
        left += [
            date
            for date in dates
            if (
                date.day in removed
                if date.reason == REMOVED
                else not recorded.get(date.day) == held.get(date.day) == date.version
            )
        ]
    return left


def note_compared(connection: psycopg.Connection, plan: Plan, moment: datetime) -> None:
    """Note that the synced dates of the plan's tables had their held versions in BigQuery at `moment`.

    The API says when dates were compared. A failure is logged: it must not stop the syncs of other dates.
    """
    due = {table: {planned.day for planned in plan.due if planned.table is table} for table in plan.differing}
    try:
        note_unchanged(connection, {table: due[table].union(plan.differing[table]) for table in due}, moment)
    except psycopg.Error as error:
        logger.warning("When the dates were compared with BigQuery could not be noted: %s", error)


def note_moved_rows(connection: psycopg.Connection) -> None:
    """Note the dates of rows that belong to another campaign space or asset now, so that they become due."""
    for table in METRIC_TABLES:
        note_moved_keys(connection, table)


def dates_with_new_mappings(connection: psycopg.Connection) -> list[PlannedDate]:
    """Return the dates with rejected records whose tenant, campaign or asset has been added to Postgres since."""
    first, last = first_date(), latest_date()
    return [
        PlannedDate(table, day, NEW_MAPPING, " ".join(sorted(rejections)))
        for table in METRIC_TABLES
        for day, rejections in mapped_rejections(connection, table).items()
        if first <= day <= last
    ]
