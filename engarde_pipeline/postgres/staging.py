"""Staging: Arrow batches stream by COPY into a temporary table, one batch in memory at a time.

The table lives as long as the connection, so whatever is killed leaves nothing behind.
"""

from collections.abc import Iterable, Sequence

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import sql

from engarde_pipeline.metrics import METRIC_DATE, MetricTable

_CSV_OPTIONS = pyarrow.csv.WriteOptions(include_header=False)
_STAGED_TYPES = {"STRING": "text", "INT64": "bigint", "count": "bigint", "amount": "numeric"}


def stage(
    connection: psycopg.Connection,
    table: MetricTable,
    columns: Sequence[str],
    batches: Iterable[pa.RecordBatch],
) -> int:
    """Replace the temporary table `staged` by the source rows in `batches`; return their number.

    `batches` have exactly `columns`, in that order; columns of `table` the source lacks stay NULL.
    FLOAT64 arrives as the shortest decimal that reads back as the same float, NUMERIC and BIGNUMERIC
    digit by digit: from here on every amount is exact.
    """
    connection.execute("DROP TABLE IF EXISTS staged")
    connection.execute(_create_staged(table))
    copy_into = sql.SQL("COPY staged ({}, has_nul) FROM STDIN (FORMAT csv)").format(
        sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    rows = 0
    with connection.cursor() as cursor, cursor.copy(copy_into) as copy:
        for batch in batches:
            copy.write(_csv(batch))
            rows += batch.num_rows
    return rows


def _create_staged(table: MetricTable) -> sql.Composed:
    columns = {
        METRIC_DATE: "date",
        **{key.name: _STAGED_TYPES[key.bigquery_type] for key in table.keys},
        **{measure.name: _STAGED_TYPES[measure.kind] for measure in table.measures},
        "has_nul": "boolean",
    }
    return sql.SQL("CREATE TEMPORARY TABLE staged ({})").format(
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(column_type))
            for name, column_type in columns.items()
        )
    )


def _csv(batch: pa.RecordBatch) -> pa.Buffer:
    """Encode a batch, and mark in a last column the rows with a NUL, which Postgres text cannot hold."""
    columns = [_without_nul(column) for column in batch.columns]
    has_nul = pa.repeat(pa.scalar(False), batch.num_rows)
    for column in filter(_is_text, batch.columns):
        has_nul = pc.or_(has_nul, pc.fill_null(pc.match_substring(column, "\x00"), False))
    sink = pa.BufferOutputStream()
    encoded = pa.RecordBatch.from_arrays([*columns, has_nul], [*batch.schema.names, "has_nul"])
    pyarrow.csv.write_csv(encoded, sink, _CSV_OPTIONS)
    return sink.getvalue()


def _without_nul(column: pa.Array) -> pa.Array:
    return pc.replace_substring(column, "\x00", "\\u0000") if _is_text(column) else column


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))
