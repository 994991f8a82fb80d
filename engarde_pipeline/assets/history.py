"""What Dagster's history says about dates."""

from collections.abc import Iterator, Sequence
from datetime import date

from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, EventLogRecord

COUNTS = (
    "records_processed",
    "records_inserted",
    "records_updated",
    "records_unchanged",
    "records_deleted",
    "records_rejected",
)

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


def metadata_of(record: EventLogRecord) -> dict[str, object]:
    """Return a materialization's metadata as plain values."""
    materialization = record.asset_materialization
    return {name: value.value for name, value in materialization.metadata.items()} if materialization else {}


def counts_of(record: EventLogRecord) -> dict[str, int]:
    """Return a materialization's counts, by their metadata names; zero where one is absent."""
    metadata = metadata_of(record)
    return {name: int(str(metadata.get(name, 0))) for name in COUNTS}


def _newest_first(instance: DagsterInstance, asset: AssetKey, dates: Sequence[date]) -> Iterator[EventLogRecord]:
    only = AssetRecordsFilter(asset, asset_partitions=[day.isoformat() for day in dates])
    page = instance.fetch_materializations(only, limit=_PAGE)
    yield from page.records
    while page.has_more:
        page = instance.fetch_materializations(only, limit=_PAGE, cursor=page.cursor)
        yield from page.records
