"""The schema check, which runs before anything is read: all columns exist and have readable types."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from engarde_pipeline.bigquery.client import CALL_SECONDS, RETRY, source_errors
from engarde_pipeline.bigquery.errors import SchemaMismatch, TableMissing
from engarde_pipeline.core.metrics import CONVERSIONS, CURRENCY, METRIC_DATE, Measure, MetricTable

_SYNONYMS = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}
_FRACTIONAL = ("FLOAT64", "NUMERIC", "BIGNUMERIC")


@dataclass(frozen=True)
class SourceTable:
    """A checked source table.

    `columns` has the type of each column to read. Column names are case-insensitive in BigQuery, and
    `source_names` has them as in the table. `is_base_table` is False for a view, which the Storage Read API cannot
    read. `is_partitioned` says whether each date is a partition.

    `state` changes whenever the rows of a base table change, or when it gets currencies. It is empty for a view
    and for a table without rows (an emulator reports 0 rows for every table). `buffered_rows` estimates the rows
    in the streaming buffer.
    """

    metric_table: MetricTable
    reference: bigquery.TableReference
    columns: Mapping[str, str]
    source_names: Mapping[str, str]
    is_base_table: bool
    is_partitioned: bool = False
    state: str = ""
    buffered_rows: int = 0

    @property
    def version_suffix(self) -> str:
        """What the versions of its dates end with; it tells those with currencies from those read before."""
        return _version_suffix(self.columns)

    def __str__(self) -> str:
        return f"{self.reference.project}.{self.reference.dataset_id}.{self.reference.table_id}"


def inspect_table(
    client: bigquery.Client, dataset: bigquery.DatasetReference, metric_table: MetricTable
) -> SourceTable:
    """Return the source table of `metric_table` after checking its schema; needs one free metadata call.

    Raises:
        TableMissing: the dataset or the table does not exist.
        SchemaMismatch: columns are missing or have a wrong type; the message lists all of them.
        AccessDenied, SourceUnavailable: see `source_errors`.
    """
    reference = dataset.table(metric_table.source)
    name = f"{dataset.project}.{dataset.dataset_id}.{metric_table.source}"
    with source_errors(f"table {name}"):
        try:
            table = client.get_table(reference, retry=RETRY, timeout=CALL_SECONDS)
        except google_errors.NotFound:
            raise TableMissing(
                f"BigQuery has no table {name}. Check BIGQUERY_PROJECT_ID and BIGQUERY_DATASET_ID, or create"
                " the table."
            ) from None
    fields = {field.name.lower(): field for field in table.schema}
    expected = dict(_expected_columns(metric_table))
    faults = [
        fault
        for column, (types, required) in expected.items()
        if (fault := _fault(fields.get(column), column, types, required))
    ]
    if faults:
        raise SchemaMismatch(
            f"Table {name} cannot be read:\n  " + "\n  ".join(faults) + "\nCorrect the table in BigQuery."
        )
    return SourceTable(
        metric_table=metric_table,
        reference=reference,
        columns={column: _type(fields[column]) for column in expected if column in fields},
        source_names={column: fields[column].name for column in expected if column in fields},
        is_base_table=table.table_type == "TABLE",
        is_partitioned=_has_daily_partitions(table),
        state=_state(table, _version_suffix(fields)),
        buffered_rows=_buffered_rows(table),
    )


def _has_daily_partitions(table: bigquery.Table) -> bool:
    by = table.time_partitioning
    return by is not None and by.type_ == "DAY" and (by.field or "").lower() == METRIC_DATE


def _version_suffix(columns: Container[str]) -> str:
    return f"-{CURRENCY.name}" if CURRENCY.name in columns else ""


def _state(table: bigquery.Table, suffix: str) -> str:
    if table.table_type != "TABLE" or not (table.num_rows or _buffered_rows(table)):
        return ""
    modified = f"{table.modified:%Y%m%dT%H%M%S.%f}" if table.modified else ""
    return f"{modified}-{table.num_rows}-{table.num_bytes or 0}-{_buffered_rows(table)}{suffix}"


def _buffered_rows(table: bigquery.Table) -> int:
    buffer = table.streaming_buffer
    return int(buffer.estimated_rows or 0) if buffer else 0


def _expected_columns(metric_table: MetricTable) -> Iterator[tuple[str, tuple[tuple[str, ...], bool]]]:
    yield METRIC_DATE, (("DATE",), True)
    for key in metric_table.dimensions:
        yield key.name, ((key.bigquery_type,), key.required)
    for measure in metric_table.measures:
        yield measure.name, (_measure_types(measure), True)


def _measure_types(measure: Measure) -> tuple[str, ...]:
    if measure.kind == "count":
        return ("INT64",)
    # Whole conversions are common, but a whole amount of money could be in units or in micros.
    return (*_FRACTIONAL, "INT64") if measure is CONVERSIONS else _FRACTIONAL


def _fault(field: bigquery.SchemaField | None, column: str, types: tuple[str, ...], required: bool) -> str | None:
    if field is None:
        return f"column {column} is missing; expected {' or '.join(types)}" if required else None
    if field.mode == "REPEATED" or _type(field) not in types:
        found = f"ARRAY<{_type(field)}>" if field.mode == "REPEATED" else _type(field)
        return f"column {column} has type {found}; expected {' or '.join(types)}"
    return None


def _type(field: bigquery.SchemaField) -> str:
    return _SYNONYMS.get(field.field_type, field.field_type)
