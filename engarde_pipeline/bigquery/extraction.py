"""Extraction of the source rows of some dates as a stream of Arrow batches.

A base table is read through the Storage Read API, which prunes partitions, streams Arrow and needs no query. Views
and slices, and all tables if the account lacks the permission, are read by a parameterized query. Both methods
return the same rows and columns; the rows are summed in Postgres.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from math import ceil
from uuid import UUID

import pyarrow as pa
from google.api_core import exceptions as google_errors
from google.cloud import bigquery
from google.cloud.bigquery.table import RowIterator
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1 import types as storage_types

from engarde_pipeline.bigquery.client import (
    CALL_SECONDS,
    JOB_RETRY,
    READ_SECONDS,
    RETRY,
    create_client,
    create_storage_client,
    source_errors,
)
from engarde_pipeline.bigquery.errors import TableMissing
from engarde_pipeline.bigquery.schema import SourceTable, inspect_table
from engarde_pipeline.core.metrics import METRIC_DATE, MetricTable
from engarde_pipeline.settings import Settings

logger = logging.getLogger(__name__)

STORAGE_READ_API = "storage_read_api"
QUERY = "query"

_MEGABYTE = 2**20

Parameters = list[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter]

# Errors after which a query is used: no permission, a table that the Storage Read API cannot read, no gRPC.
_STORAGE_API_UNAVAILABLE = (
    google_errors.Forbidden,
    google_errors.BadRequest,
    google_errors.NotFound,
    google_errors.MethodNotImplemented,
    google_errors.ServiceUnavailable,
    google_errors.GatewayTimeout,
    google_errors.RetryError,
)


@dataclass(frozen=True)
class Selection:
    """The part of the dates to read (rule 8); an empty field does not restrict it."""

    tenant_id: UUID | None = None
    platforms: tuple[str, ...] = ()
    campaign_ids: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        return self == Selection()


@dataclass(frozen=True)
class ReadEstimate:
    """How dates would be read, and the bytes that BigQuery would bill; None if BigQuery does not report them."""

    method: str
    bytes_billed: int | None


@dataclass
class Extraction:
    """A stream of Arrow batches, to be read once; `bytes_read`, from BigQuery, is final after the last batch."""

    batches: Iterator[pa.RecordBatch]
    method: str
    bytes_read: int = field(default=0)


class Source:
    """The configured dataset; checks its tables and reads them."""

    def __init__(self, settings: Settings, count_bytes: Callable[[int], None] | None = None) -> None:
        """`count_bytes` is called with the bytes of each read as soon as BigQuery reports them."""
        self._count_bytes = count_bytes or (lambda _: None)
        self.client = create_client(settings)
        self._settings = settings
        self._dataset = bigquery.DatasetReference(settings.bigquery_project_id, settings.bigquery_dataset_id)

    @cached_property
    def _storage(self) -> BigQueryReadClient | None:
        return create_storage_client(self._settings)

    def inspect(self, metric_table: MetricTable) -> SourceTable:
        """Return the checked source table; raises as `schema.inspect_table`."""
        return inspect_table(self.client, self._dataset, metric_table)

    def find(self, metric_table: MetricTable) -> SourceTable | None:
        """Return the checked source table, or None if it is optional and does not exist; raises as `inspect`."""
        try:
            return self.inspect(metric_table)
        except TableMissing:
            if not metric_table.optional:
                raise
            return None

    def read(self, table: SourceTable, start: date, end: date, selection: Selection = Selection()) -> Extraction:
        """Return the rows with `start <= metric_date <= end`, restricted to `selection`.

        The batches have the columns of `table.columns`, in that order, with BigQuery's Arrow types.

        Raises:
            SourceError: BigQuery cannot be read; iterating over the batches raises it, too.
        """
        with source_errors(f"table {table}"):
            if table.is_base_table and selection.is_everything:
                extraction = self._read_storage(table, start, end)
                if extraction:
                    return extraction
            return self._read_query(table, start, end, selection)

    def estimate(
        self, table: SourceTable, start: date, end: date, selection: Selection = Selection()
    ) -> ReadEstimate:
        """Return what `read` with these arguments would be billed; free of charge, because nothing is read.

        For a query, BigQuery computes the bytes in a dry run. For the Storage Read API it estimates them from the
        table's metadata; the session that is opened for this is billed only if its streams are read.

        Raises:
            SourceError: BigQuery cannot be read.
        """
        with source_errors(f"table {table}"):
            can_be_streamed = table.is_base_table and selection.is_everything
            if can_be_streamed and (session := self._open_session(table, start, end)):
                return ReadEstimate(STORAGE_READ_API, session.estimated_total_bytes_scanned)
            job = self._start_query(*_select(table, start, end, selection), table, dry_run=True)
            # An emulator reports 0 bytes whatever the query.
            if not job.total_bytes_processed and self._settings.bigquery_emulator_host:
                return ReadEstimate(QUERY, None)
            return ReadEstimate(QUERY, _billed(job.total_bytes_processed or 0))

    def _open_session(self, table: SourceTable, start: date, end: date) -> storage_types.ReadSession | None:
        """Open a session of the Storage Read API; None if the API is not available."""
        storage = self._storage
        if storage is None:
            return None
        metric_date = table.source_names[METRIC_DATE]
        request = storage_types.ReadSession(
            table=table.reference.path.lstrip("/"),
            data_format=storage_types.DataFormat.ARROW,
            read_options=storage_types.ReadSession.TableReadOptions(
                selected_fields=list(table.source_names.values()),
                row_restriction=f"{metric_date} BETWEEN '{start.isoformat()}' AND '{end.isoformat()}'",
            ),
        )
        try:
            return storage.create_read_session(
                parent=f"projects/{self.client.project}",
                read_session=request,
                max_stream_count=1,
                retry=None,
                timeout=CALL_SECONDS,
            )
        except _STORAGE_API_UNAVAILABLE as error:
            logger.warning(
                "%s is read by a query, because the Storage Read API is not available: %s", table, error
            )
            return None

    def _read_storage(self, table: SourceTable, start: date, end: date) -> Extraction | None:
        storage, session = self._storage, self._open_session(table, start, end)
        if storage is None or session is None:
            return None
        extraction = Extraction(iter(()), STORAGE_READ_API, session.estimated_total_bytes_scanned)
        self._count_bytes(extraction.bytes_read)

        schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))

        def batches() -> Iterator[pa.RecordBatch]:
            with source_errors(f"table {table}"):
                for stream in session.streams:
                    # The reader resumes an interrupted stream at the next row.
                    for message in storage.read_rows(stream.name, timeout=READ_SECONDS):
                        batch = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
                        yield _with_expected_columns(pa.ipc.read_record_batch(batch, schema), table)

        extraction.batches = batches()
        return extraction

    def _read_query(self, table: SourceTable, start: date, end: date, selection: Selection) -> Extraction:
        job = self._start_query(*_select(table, start, end, selection), table)
        extraction = Extraction(iter(()), QUERY)

        def batches() -> Iterator[pa.RecordBatch]:
            with source_errors(f"table {table}"):
                rows = _result(job)
                extraction.bytes_read = job.total_bytes_processed or 0
                self._count_bytes(job.total_bytes_billed or extraction.bytes_read)
                for batch in rows.to_arrow_iterable():
                    yield _with_expected_columns(batch, table)

        extraction.batches = batches()
        return extraction

    def query(self, query: str, parameters: Parameters, table: SourceTable) -> list[bigquery.Row]:
        """Return the rows of a query over `table` that returns few; raises as `read`."""
        with source_errors(f"table {table}"):
            job = self._start_query(query, parameters, table)
            rows = list(_result(job))
            self._count_bytes(job.total_bytes_billed or 0)
            return rows

    def _start_query(
        self, query: str, parameters: Parameters, table: SourceTable, dry_run: bool = False
    ) -> bigquery.QueryJob:
        return self.client.query(
            query,
            job_config=bigquery.QueryJobConfig(
                query_parameters=parameters,
                maximum_bytes_billed=self._settings.engarde_maximum_bytes_billed,
                labels={"application": "engarde_pipeline", "table": table.metric_table.source},
                dry_run=dry_run,
                use_query_cache=not dry_run,  # a cached result would be free, but may be gone at the sync
            ),
            retry=RETRY,
            job_retry=None,  # the default here is ten minutes of retries; see `_result`
            # An emulator responds when the query has ended, BigQuery when it has started.
            timeout=READ_SECONDS if self._settings.bigquery_emulator_host else CALL_SECONDS,
        )


def _billed(bytes_processed: int) -> int:
    """Return the bytes that a query over one table is billed: whole megabytes, at least 10, but 0 for no bytes."""
    return max(10, ceil(bytes_processed / _MEGABYTE)) * _MEGABYTE if bytes_processed else 0


def _result(job: bigquery.QueryJob) -> RowIterator:
    return job.result(retry=RETRY, job_retry=JOB_RETRY, timeout=READ_SECONDS)


def _with_expected_columns(batch: pa.RecordBatch, table: SourceTable) -> pa.RecordBatch:
    """Return a batch with exactly the columns of `table.columns`, with these names and in this order."""
    found = {name.lower(): name for name in batch.schema.names}
    return batch.select([found[column] for column in table.columns]).rename_columns(list(table.columns))


def _select(table: SourceTable, start: date, end: date, selection: Selection) -> tuple[str, Parameters]:
    name = {column: f"`{spelling}`" for column, spelling in table.source_names.items()}
    conditions = [f"{name[METRIC_DATE]} BETWEEN @start AND @end"]
    parameters: Parameters = [
        bigquery.ScalarQueryParameter("start", "DATE", start),
        bigquery.ScalarQueryParameter("end", "DATE", end),
    ]
    # Rows without a tenant or platform are read, too: the merge finds out whether they belong to the slice.
    if selection.tenant_id and "tenant_id" in table.columns:
        conditions.append(f"({name['tenant_id']} IS NULL OR LOWER({name['tenant_id']}) = @tenant)")
        parameters.append(bigquery.ScalarQueryParameter("tenant", "STRING", str(selection.tenant_id)))
    if selection.platforms:
        conditions.append(f"({name['platform']} IS NULL OR {name['platform']} IN UNNEST(@platforms))")
        parameters.append(bigquery.ArrayQueryParameter("platforms", "STRING", selection.platforms))
    if selection.campaign_ids:
        conditions.append(f"{name['campaign_id']} IN UNNEST(@campaigns)")
        parameters.append(bigquery.ArrayQueryParameter("campaigns", "STRING", selection.campaign_ids))
    columns = ", ".join(name.values())
    # Identifiers come from the checked schema; values are bound.
    return f"SELECT {columns} FROM `{table}` WHERE {' AND '.join(conditions)}", parameters  # noqa: S608
