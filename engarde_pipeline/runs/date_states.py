"""The states of dates, from Postgres and from Dagster's history: only the latter knows why a sync failed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date

import psycopg
from dagster import (
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    EventLogRecord,
    RunsFilter,
)

from engarde_pipeline.core.date_states import DateFacts, FailedDay
from engarde_pipeline.core.metrics import METRIC_TABLES, MetricTable
from engarde_pipeline.dagster_internals import RETRY_NUMBER_TAG, attempts_not_landed
from engarde_pipeline.postgres.reads.date_states import read_date_facts
from engarde_pipeline.runs.attempts import reason_of_step
from engarde_pipeline.runs.history import DID_NOT_LAND, SLICE, landed_before
from engarde_pipeline.runs.sync_runs import is_dry_run

Failures = Mapping[FailedDay, str]
"""The dates whose last sync failed, of all ages, with the reason."""

_PAGE = 500


def date_facts(connection: psycopg.Connection, days: Iterable[date], failures: Failures) -> list[DateFacts]:
    """Return the facts of `days`, and of all dates that are held or failed, for both tables; latest date first."""
    found = read_date_facts(connection, {*days, *(day for _, day in failures)})
    return [replace(facts, failed=failures.get((facts.table, facts.day))) for facts in found]


def read_failed_days(instance: DagsterInstance) -> frozenset[FailedDay]:
    """Return the dates whose last sync failed, of all ages."""
    return frozenset(read_failures(instance))


def read_failures(instance: DagsterInstance) -> dict[FailedDay, str]:
    """Return the dates whose last sync failed, with the reason.

    A date has failed if a sync did not land it, or failed before it came to the date, and no sync has landed it
    since. Cancelled syncs, dry runs and slices do not count.
    """
    return {
        (table, date.fromisoformat(day)): reason
        for table in METRIC_TABLES
        for day, reason in _failures_of(instance, table).items()
    }


def _failures_of(instance: DagsterInstance, table: MetricTable) -> dict[str, str]:
    asset = AssetKey(table.target)
    attempts = attempts_not_landed(instance, asset)
    if not attempts:
        return {}
    runs = {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=sorted({*attempts.values()})))}
    refusals = _refusals(instance, asset, attempts)
    landed = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, set(attempts)
    )
    failures = {}
    for run_id, run in runs.items():
        days = [day for day, attempt in attempts.items() if attempt == run_id]
        is_failed = run.status is DagsterRunStatus.FAILURE and not is_dry_run(run)
        skipped = _landed_before(instance, run, asset) if is_failed else set()
        reason = reason_of_step(instance, run, table.target) if is_failed else ""
        for day in days:
            refusal = refusals.get(day)
            if refusal and refusal.storage_id < landed.get(day, 0):
                refusal = None
            if refusal and (refusal.run_id == run_id or not is_failed):
                failures[day] = _reason(refusal)
            elif is_failed and day not in skipped:
                failures[day] = reason
    return failures


def _landed_before(instance: DagsterInstance, run: DagsterRun, asset: AssetKey) -> set[str]:
    # A retry skips the dates that landed in earlier attempts.
    is_retry = RETRY_NUMBER_TAG in run.tags
    return {day.isoformat() for day in landed_before(instance, run, asset)} if is_retry else set()


def _refusals(instance: DagsterInstance, asset: AssetKey, days: Iterable[str]) -> dict[str, EventLogRecord]:
    """Return the latest observation of each of `days` that says why the date did not land."""
    wanted = set(days)
    found: dict[str, EventLogRecord] = {}
    for record in _observations(instance, AssetRecordsFilter(asset, asset_partitions=sorted(wanted))):
        observation = record.asset_observation
        if observation and DID_NOT_LAND in observation.metadata and SLICE not in observation.metadata:
            found.setdefault(observation.partition or "", record)
            if found.keys() == wanted:
                break
    return found


def _observations(instance: DagsterInstance, only: AssetRecordsFilter) -> Iterator[EventLogRecord]:
    page = instance.fetch_observations(only, limit=_PAGE)
    yield from page.records
    while page.has_more:
        page = instance.fetch_observations(only, limit=_PAGE, cursor=page.cursor)
        yield from page.records


def _reason(record: EventLogRecord) -> str:
    observation = record.asset_observation
    assert observation is not None  # noqa: S101  `_refusals` returns only observations
    return str(observation.metadata[DID_NOT_LAND].value)
