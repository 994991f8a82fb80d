"""The checks of single dates: what they compare, and how their results are recorded for each date.

Each check runs one query for all dates of a run, however many there are. The results are stored in one batch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DagsterEvent,
    DagsterInstance,
    EventLogRecord,
    MetadataValue,
    OpExecutionContext,
    TableColumn,
    TableRecord,
    TableSchema,
)

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.limits import REJECTED_SHARE_LIMIT
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.dagster_internals import store_check_evaluations, target_materialization
from engarde_pipeline.postgres.reads.quality import (
    days_counted_twice,
    rejected_and_processed,
    rows_with_more_clicks_than_impressions,
)
from engarde_pipeline.postgres.totals.platform_days import dates_with_other_sums
from engarde_pipeline.runs.history import counts_of, latest_materializations
from engarde_pipeline.sync.sums import DateSums, differing_sums
from engarde_pipeline.telemetry.spans import span

_DIFFERENCE_COLUMNS = ("measure", "currency", "bigquery", "postgres", "difference")


@dataclass(frozen=True)
class SyncedDates:
    """The dates to check with their latest materializations, and where their numbers are."""

    table: MetricTable
    materializations: dict[date, EventLogRecord]
    source: Source
    connection: psycopg.Connection

    @property
    def days(self) -> list[date]:
        """The dates, in order."""
        return sorted(self.materializations)


@dataclass(frozen=True)
class Result:
    """The result of a check for a date."""

    passed: bool
    description: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DateCheck:
    """A check that has a result for each date."""

    name: str
    description: str
    evaluate: Callable[[SyncedDates], dict[date, Result]]
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR


def record_results(
    context: OpExecutionContext, dates: SyncedDates, selected: Collection[str] | None = None
) -> list[DagsterEvent]:
    """Run the checks of a table, or the `selected` ones, and record a result of each for each date.

    Returns the events, which are stored already.

    Raises:
        SourceError: BigQuery cannot be read. The results of the checks before are recorded.
    """
    evaluations: list[AssetCheckEvaluation] = []
    try:
        for check in date_checks(dates.table):
            if selected is None or check.name in selected:
                evaluations += _evaluations(context, dates, check)
    finally:
        events = store_check_evaluations(context.instance, evaluations, context)
    if evaluations and all(evaluation.passed for evaluation in evaluations):
        context.log.info(f"All checks passed for {counted(len(dates.days), 'date')}.")
    return events


def _evaluations(context: OpExecutionContext, dates: SyncedDates, check: DateCheck) -> list[AssetCheckEvaluation]:
    with span("check", table=dates.table.target, check=check.name):
        results = check.evaluate(dates)
    failed = [day.isoformat() for day, result in results.items() if not result.passed]
    if failed:
        context.log.warning(
            f"{check.name} failed for {', '.join(failed)} ({len(failed)} of {counted(len(results), 'date')})."
        )
    return [
        _evaluation(dates.table, check, day, result, dates.materializations[day])
        # The UI shows the last result where it shows only one.
        for day, result in sorted(results.items(), key=lambda item: (not item[1].passed, item[0]))
    ]


def report_different_sums(
    instance: DagsterInstance, table: MetricTable, different: Mapping[date, Sequence[DateSums]]
) -> None:
    """Record, outside of a run, that the sums of dates differ from BigQuery; dates never synced have no result."""
    latest = latest_materializations(instance, AssetKey(table.target), list(different)) if different else {}
    evaluations = [
        _evaluation(table, _SUMS_EQUAL_BIGQUERY, day, _different_sums(different[day], synced), synced)
        for day, synced in sorted(latest.items())
    ]
    store_check_evaluations(instance, evaluations)


def synced_dates(
    context: OpExecutionContext,
    table: MetricTable,
    days: Sequence[date],
    source: Source,
    connection: psycopg.Connection,
) -> SyncedDates:
    """Return those of `days` that were synced; others are missing, and have nothing to be checked."""
    latest = latest_materializations(context.instance, AssetKey(table.target), days) if days else {}
    return SyncedDates(table, latest, source, connection)


def date_checks(table: MetricTable) -> list[DateCheck]:
    """Return the checks of a table that have a result for each date."""
    checks = [
        _RECORDS_ACCOUNTED_FOR,
        _SUMS_EQUAL_BIGQUERY,
        _REJECTED_SHARE,
        _CLICKS_NOT_ABOVE_IMPRESSIONS,
    ]
    return [*checks, _NO_DAY_COUNTED_TWICE, _SUMS_EQUAL_ROWS] if table is CAMPAIGN_METRICS else checks


def _evaluation(
    table: MetricTable, check: DateCheck, day: date, result: Result, synced: EventLogRecord
) -> AssetCheckEvaluation:
    return AssetCheckEvaluation(
        asset_key=AssetKey(table.target),
        check_name=check.name,
        passed=result.passed,
        description=result.description,
        metadata=result.metadata,
        severity=check.severity,
        blocking=False,
        partition=day.isoformat(),
        target_materialization_data=target_materialization(synced),
    )


def _records_accounted_for(dates: SyncedDates) -> dict[date, Result]:
    counts = {day: counts_of(record) for day, record in dates.materializations.items()}
    return {
        day: Result(True)
        if found.add_up
        else Result(
            False,
            f"{counted(found.processed, 'record')} processed: {found.sentence}.",
            {**found.published, "what_to_do": "Sync the date again. If it fails again, report this as a bug."},
        )
        for day, found in counts.items()
    }


def _sums_equal_bigquery(dates: SyncedDates) -> dict[date, Result]:
    source_table = dates.source.find(dates.table)
    if source_table is None:
        return dict.fromkeys(
            dates.days, Result(True, "BigQuery has no such table, so there is nothing to compare.")
        )
    different: dict[date, list[DateSums]] = {}
    for sums in differing_sums(dates.source, source_table, dates.connection, dates.days):
        different.setdefault(sums.day, []).append(sums)
    return {
        day: _different_sums(different[day], dates.materializations[day]) if day in different else Result(True)
        for day in dates.days
    }


def _different_sums(different: Sequence[DateSums], synced: EventLogRecord) -> Result:
    rows = [
        (name, sums.currency, sums.bigquery[name], sums.postgres[name], sums.postgres[name] - sums.bigquery[name])
        for sums in different
        for name in sums.differing_measures
    ]
    measures = list(dict.fromkeys(name for name, *_ in rows))
    return Result(
        False,
        f"The sums of {', '.join(measures)} differ from BigQuery.",
        {
            "differences": MetadataValue.table(
                [TableRecord(dict(zip(_DIFFERENCE_COLUMNS, map(_text, row), strict=True))) for row in rows],
                TableSchema([TableColumn(name) for name in _DIFFERENCE_COLUMNS]),
            ),
            "what_to_do": f"The date was synced at {datetime.fromtimestamp(synced.timestamp, UTC):%Y-%m-%d %H:%M}"
            " UTC. If BigQuery has changed since then, it is synced again within minutes, or at the latest at"
            " night; `engarde sync` does it now. If the load was refused or is held, the date's page says why. If"
            " the sums still differ after a sync, rows were changed in Postgres in another way: the next sync"
            " restores them.",
        },
    )


def _rejected_share(dates: SyncedDates) -> dict[date, Result]:
    found = rejected_and_processed(dates.connection, dates.table, dates.days)
    return {day: _rejected(*found.get(day, (0, 0))) for day in dates.days}


def _rejected(rejected: int, processed: int) -> Result:
    share = rejected / processed if processed else 0.0
    counts = {"rejected": rejected, "processed": processed, "rejected_percent": round(100 * share, 3)}
    if share < REJECTED_SHARE_LIMIT:
        return Result(True, metadata=counts)
    return Result(
        False,
        f"{rejected:,} of {counted(processed, 'record')} rejected.",
        {
            **counts,
            "what_to_do": "The page of the date lists the rejected records, each with its reason and what to do.",
        },
    )


def _clicks_not_above_impressions(dates: SyncedDates) -> dict[date, Result]:
    found = rows_with_more_clicks_than_impressions(dates.connection, dates.table, dates.days)
    return {
        day: Result(
            False, f"{counted(found[day], 'row')} with more clicks than impressions.", {"rows": found[day]}
        )
        if day in found
        else Result(True)
        for day in dates.days
    }


def _no_day_counted_twice(dates: SyncedDates) -> dict[date, Result]:
    found = days_counted_twice(dates.connection, dates.days)
    return {
        day: Result(
            False,
            f"{counted(found[day], 'campaign')} with both hourly rows and a row for the whole day.",
            {
                "campaigns": found[day],
                "what_to_do": "Delete the rows of one kind in BigQuery. The date is then synced again.",
            },
        )
        if day in found
        else Result(True)
        for day in dates.days
    }


def _sums_equal_rows(dates: SyncedDates) -> dict[date, Result]:
    wrong = set(dates_with_other_sums(dates.connection, dates.days))
    return {
        day: Result(
            False,
            "The sums that the API reads differ from the sums of the rows.",
            {"what_to_do": "Rebuild the sums of the date: docs/recovery.md has the statements."},
        )
        if day in wrong
        else Result(True)
        for day in dates.days
    }


def _text(value: object) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


_RECORDS_ACCOUNTED_FOR = DateCheck(
    "records_accounted_for",
    "No record of the date was lost on its way from BigQuery: each was inserted, updated, found unchanged or"
    " rejected with a reason.",
    _records_accounted_for,
)
_SUMS_EQUAL_BIGQUERY = DateCheck(
    "sums_equal_bigquery",
    "The date's totals are those of BigQuery: the sum of each measure in Postgres, by currency and rejected"
    " records included, equals the sum that BigQuery computes. A failed result lists the measures that differ.",
    _sums_equal_bigquery,
)
_REJECTED_SHARE = DateCheck(
    "rejected_share_below_5_percent",
    "Less than 5 % of the date's records were rejected. Totals lack rejected records until they can be loaded.",
    _rejected_share,
)
_CLICKS_NOT_ABOVE_IMPRESSIONS = DateCheck(
    "clicks_not_above_impressions",
    "No row has more clicks than impressions. Only a warning, because some platforms count late clicks.",
    _clicks_not_above_impressions,
    AssetCheckSeverity.WARN,
)
_NO_DAY_COUNTED_TWICE = DateCheck(
    "no_day_counted_twice",
    "No campaign has both hourly rows and a row for the whole day: sums would count the day twice. Only a warning,"
    " because all of them are valid records.",
    _no_day_counted_twice,
    AssetCheckSeverity.WARN,
)
_SUMS_EQUAL_ROWS = DateCheck(
    "platform_days_equal_rows",
    "The sums per tenant, platform and currency that the API reads equal the sums of the rows. If they differ,"
    " rows were changed while the table's triggers were disabled.",
    _sums_equal_rows,
)
