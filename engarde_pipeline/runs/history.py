"""Queries on the materializations of dates in Dagster's history."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    EventLogEntry,
    EventLogRecord,
    MetadataValue,
    RunsFilter,
)

from engarde_pipeline.core.counts import Counts
from engarde_pipeline.core.currencies import from_published
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline.dagster_internals import DATA_VERSION_TAG, ROOT_RUN_ID_TAG
from engarde_pipeline.runs.run_config import DRY_RUN

BYTES_READ = "bigquery_bytes_read"
"""The metadata entry with the bytes that were read for a date."""

DID_NOT_LAND = "did_not_land"
"""The metadata entry of a date's observation with the reason why the sync did not land it."""

ALLOWED = "allowed"
"""The metadata entry of a date that was synced only because of an option: `allow_shrink`, `allow_growth`."""

SLICE = "slice"
"""The metadata entry of an observation with the slice of the date that it is about."""

WOULD_NOT_LAND = "would_not_land"
"""The metadata entry of a dry run's observation with the reason why a sync would not land the date."""

HELD = "held"
"""The metadata entry beside either of a date that is, or would be, held: the code of the reason."""

LARGEST_CHANGES = "largest_changes"
"""The metadata entry with the largest changes of a date by campaign."""

_KINDS = (DRY_RUN, SLICE)
"""The observations whose entries have names of their own, such as `slice_records_inserted`.

On the page of a date, Dagster shows the entries of later observations instead of those of the materialization that
have the same names.
"""

_PAGE = 500


def latest_materializations(
    instance: DagsterInstance, asset: AssetKey, dates: Sequence[date]
) -> dict[date, EventLogRecord]:
    """Return the latest materialization of each of `dates` that has one."""
    wanted = set(dates)
    latest: dict[date, EventLogRecord] = {}
    for record in _newest_first(instance, asset, dates):
        latest.setdefault(date.fromisoformat(record.partition_key or ""), record)
        if latest.keys() == wanted:
            break
    return latest


def recorded_versions(instance: DagsterInstance, asset: AssetKey) -> dict[date, str]:
    """Return the version of the source at which each date was last synced; "" if none was recorded.

    Needs two queries for any number of dates and materializations.
    """
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    synced = instance.get_materialized_partitions(asset)
    return {date.fromisoformat(key): tags.get(key, {}).get(DATA_VERSION_TAG, "") for key in synced}


def recorded_dates(instance: DagsterInstance, table: MetricTable) -> set[date]:
    """Return the dates of a table that were ever synced, as far as the history has them."""
    return {date.fromisoformat(key) for key in instance.get_materialized_partitions(AssetKey(table.target))}


def landed_before(instance: DagsterInstance, run: DagsterRun, asset: AssetKey) -> set[date]:
    """Return the dates of `asset` that landed in earlier attempts of a retried run."""
    root = run.tags[ROOT_RUN_ID_TAG]
    attempts = [root, *(other.run_id for other in instance.get_runs(RunsFilter(tags={ROOT_RUN_ID_TAG: root})))]
    return {
        date.fromisoformat(record.partition_key)
        for attempt in attempts
        for record in instance.get_records_for_run(attempt, of_type=DagsterEventType.ASSET_MATERIALIZATION).records
        if record.partition_key and record.asset_key == asset
    }


def metadata_of(record: EventLogRecord) -> dict[str, object]:
    """Return a materialization's metadata as plain values."""
    materialization = record.asset_materialization
    return {name: value.value for name, value in materialization.metadata.items()} if materialization else {}


def named_for(kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a date under the names for a dry run or a slice (`DRY_RUN`, `SLICE`)."""
    return {f"{kind}_{name}": value for name, value in metadata.items()}


def entries_of(event: AssetMaterialization | AssetObservation) -> dict[str, MetadataValue[Any]]:
    """Return the metadata of a date's event under the same names for a sync, a slice and a dry run."""
    entries = dict(event.metadata)
    for kind in _KINDS:
        entries |= {
            name.removeprefix(f"{kind}_"): value
            for name, value in event.metadata.items()
            if name.startswith(f"{kind}_")
        }
    return entries


def event_of_date(entry: EventLogEntry) -> AssetMaterialization | AssetObservation | None:
    """Return the event of a date that landed, whole or a slice of it, or that a dry run has done; else None."""
    event = entry.asset_materialization or entry.asset_observation
    return event if event and DID_NOT_LAND not in entries_of(event) else None


def counts_of_event(event: AssetMaterialization | AssetObservation) -> Counts:
    """Return the counts of a date that landed."""
    return Counts.from_published({name: value.value for name, value in entries_of(event).items()})


def would_not_land(event: AssetMaterialization | AssetObservation) -> str | None:
    """Return why a sync would not land the date of a dry run's observation, or None."""
    reason = event.metadata.get(WOULD_NOT_LAND)
    return str(reason.value) if reason else None


def held_code(event: AssetMaterialization | AssetObservation) -> str | None:
    """Return the code of the reason why the date of an event is, or would be, held, or None."""
    code = entries_of(event).get(HELD)
    return str(code.value) if code else None


def spend_of_event(event: AssetMaterialization | AssetObservation) -> dict[str, tuple[float, float]]:
    """Return the spend before and after by currency, of a date that landed; before its first sync it is 0."""
    values = {name: value.value for name, value in entries_of(event).items()}
    before, after = from_published("spend_before", values), from_published("spend", values)
    return {each: (before.get(each, 0), after.get(each, 0)) for each in sorted({*before, *after})}


def counts_of(record: EventLogRecord) -> Counts:
    """Return the counts of a materialized date."""
    return Counts.from_published(metadata_of(record))


def bytes_last_read(instance: DagsterInstance, asset: AssetKey, dates: Sequence[date]) -> int:
    """Return the total bytes that BigQuery read for `dates` at their last syncs."""
    latest = latest_materializations(instance, asset, dates) if dates else {}
    return sum(int(str(metadata_of(record).get(BYTES_READ, 0))) for record in latest.values())


def _newest_first(instance: DagsterInstance, asset: AssetKey, dates: Sequence[date]) -> Iterator[EventLogRecord]:
    only = AssetRecordsFilter(asset, asset_partitions=[day.isoformat() for day in dates])
    page = instance.fetch_materializations(only, limit=_PAGE)
    yield from page.records
    while page.has_more:
        page = instance.fetch_materializations(only, limit=_PAGE, cursor=page.cursor)
        yield from page.records
