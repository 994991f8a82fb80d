"""Change detection from BigQuery's metadata, so that unchanged dates need no query on the metric tables.

A version is a short string of a partition's modification time, rows and bytes, and of whether the table has
currencies. Any difference means that the date must be read again: BigQuery's modification times can move backwards
when data is deleted (rule 6), and a date that was read without its currencies lacks them (rule 13).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from engarde_pipeline.bigquery.client import CALL_SECONDS, RETRY, source_errors
from engarde_pipeline.bigquery.errors import SourceError, SourceUnavailable
from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.dates import dates_ahead, today

logger = logging.getLogger(__name__)

EMPTY = "none"
"""The version of a date that has no partition."""

_MOMENT = "%Y%m%dT%H%M%S.%f"

# PARTITIONS has one row per partition and storage tier. The query is billed as BigQuery's minimum of 10 MB,
# whatever the size of the table.
_PARTITIONS = """
SELECT partition_id,
       MAX(last_modified_time) AS modified,
       SUM(total_rows) AS total_rows,
       SUM(total_logical_bytes) AS total_bytes
FROM `{project}.{dataset}.INFORMATION_SCHEMA.PARTITIONS`
WHERE table_name = @table
GROUP BY partition_id
"""


@dataclass(frozen=True)
class Versions:
    """The versions of a table's dates.

    `otherwise` is the version of the dates that are not in `by_date`. `is_per_date` is False if BigQuery reports
    changes only for the table as a whole. The bytes and rows are empty if they were not read by one query.
    """

    by_date: Mapping[date, str]
    otherwise: str | None
    is_per_date: bool = True
    bytes_by_date: Mapping[date, int] = field(default_factory=dict)
    rows_by_date: Mapping[date, int] = field(default_factory=dict)

    def of(self, day: date) -> str | None:
        """Return the version of a date, or None if it was not read."""
        return self.by_date.get(day, self.otherwise)

    def among(self, dates: Iterable[date]) -> dict[date, str]:
        """Return the versions of `dates`, without the dates whose version was not read."""
        return {day: version for day in dates if (version := self.of(day)) is not None}


def read_versions(source: Source, table: SourceTable, dates: Sequence[date]) -> Versions:
    """Return the versions of `dates`, or of all dates if one query can read them.

    A view, or a table without daily partitions, has the same version for all dates: the state of the table or, if
    BigQuery reports none (as for a view), the current hour.

    Raises:
        SourceUnavailable: BigQuery does not respond.
    """
    if not table.is_partitioned:
        return Versions({}, table.state or _this_hour(), is_per_date=False)
    try:
        return _by_query(source, table)
    except SourceUnavailable:
        raise
    except SourceError as error:
        logger.warning(
            "The partitions of %s cannot be read by one query and are read one by one: %s",
            table,
            error,
        )
    return Versions(dict(_one_by_one(source, table, dates)), None)


def modified_at(version: str) -> datetime | None:
    """Return when the data of a version was modified (UTC), or None if the version does not contain it."""
    try:
        return datetime.strptime(version.partition("-")[0], _MOMENT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _by_query(source: Source, table: SourceTable) -> Versions:
    rows = source.query(
        _PARTITIONS.format(project=table.reference.project, dataset=table.reference.dataset_id),
        [bigquery.ScalarQueryParameter("table", "STRING", table.reference.table_id)],
        table,
    )
    by_date: dict[date, str] = {}
    bytes_by_date: dict[date, int] = {}
    rows_by_date: dict[date, int] = {}
    for row in rows:
        # `__UNPARTITIONED__` is the streaming buffer (see `_buffered`); rows in `__NULL__` have no date.
        if row["partition_id"].startswith("__"):
            continue
        day = datetime.strptime(row["partition_id"], "%Y%m%d").replace(tzinfo=UTC).date()
        by_date[day] = _version(table, row["modified"], row["total_rows"], row["total_bytes"])
        bytes_by_date[day] = row["total_bytes"] or 0
        rows_by_date[day] = row["total_rows"] or 0
    by_date.update(_buffered(table, {day: by_date.get(day, EMPTY) for day in _recent()}))
    return Versions(by_date, EMPTY, bytes_by_date=bytes_by_date, rows_by_date=rows_by_date)


def _one_by_one(source: Source, table: SourceTable, dates: Sequence[date]) -> Iterator[tuple[date, str]]:
    found: dict[date, str] = {}
    for day in dates:
        with source_errors(f"table {table}"):
            try:
                partition = source.client.get_table(f"{table}${day:%Y%m%d}", retry=RETRY, timeout=CALL_SECONDS)
                found[day] = _version(table, partition.modified, partition.num_rows, partition.num_bytes)
            except google_errors.NotFound:
                found[day] = EMPTY
    yield from {**found, **_buffered(table, {day: found[day] for day in _recent() if day in found})}.items()


def _buffered(table: SourceTable, versions: Mapping[date, str]) -> dict[date, str]:
    """Add the streaming buffer to the versions of the dates that its rows most likely have.

    When BigQuery moves these rows into their partitions, the versions of the partitions change.
    """
    if not table.buffered_rows:
        return {day: version for day, version in versions.items() if version != EMPTY}
    return {day: f"{version}+{table.buffered_rows}" for day, version in versions.items()}


def _recent() -> list[date]:
    return [today() - timedelta(days=1), today(), *dates_ahead()]


def _version(table: SourceTable, modified: datetime | None, rows: int | None, size: int | None) -> str:
    moment = f"{modified:{_MOMENT}}" if modified else ""
    return f"{moment}-{rows or 0}-{size or 0}{table.version_suffix}"


def _this_hour() -> str:
    return f"hour-{datetime.now(UTC):%Y%m%dT%H}"
