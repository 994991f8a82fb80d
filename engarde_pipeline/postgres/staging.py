"""Staging: Arrow batches stream by COPY into temporary tables, one batch in memory at a time.

`staged` has a row per source row: its date, the number of its key, its measures. `staged_keys` has each key
once, however many dates and rows it has, so that text is sent, resolved and compared once. Both live as long
as the connection: whatever is killed leaves nothing behind.
"""

from collections.abc import Iterable, Sequence

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import sql

from engarde_pipeline.metrics import METRIC_DATE, MetricTable
from engarde_pipeline.postgres.key_numbers import KeyNumbers

_CSV_OPTIONS = pyarrow.csv.WriteOptions(include_header=False)
_STAGED_TYPES = {"STRING": "text", "INT64": "bigint", "count": "bigint", "amount": "numeric"}

# Plenty for the rows of a month of dates, so that sums and joins of what is staged stay in memory.
_SESSION = "SET temp_buffers = '64MB'; SET work_mem = '64MB'"


def stage(
    connection: psycopg.Connection,
    table: MetricTable,
    columns: Sequence[str],
    batches: Iterable[pa.RecordBatch],
) -> int:
    """Replace the temporary tables by the source rows in `batches`; return their number.

    `batches` have exactly `columns`, in that order; columns of `table` the source lacks stay NULL.
    FLOAT64 arrives as the shortest decimal that reads back as the same float, NUMERIC and BIGNUMERIC
    digit by digit: from here on every amount is exact.
    """
    _create_tables(connection, table)
    keys = [name for name in table.key_names if name in columns]
    numbers = [METRIC_DATE, *(name for name in table.measure_names if name in columns)]
    numbering = KeyNumbers(len(keys))
    rows = 0
    with connection.cursor() as cursor:
        with cursor.copy(_copy_into("staged", ["key_number", *numbers])) as copy:
            for batch in batches:
                key_numbers = numbering.of([batch.column(name) for name in keys])
                copy.write(_csv([key_numbers, *(batch.column(name) for name in numbers)]))
                rows += batch.num_rows
        with cursor.copy(_copy_into("staged_keys", ["key_number", *keys, "has_nul"])) as copy:
            if rows:
                copy.write(_keys_csv(numbering.distinct()))
    connection.execute("ANALYZE staged (metric_date, key_number); ANALYZE staged_keys")
    return rows


def _create_tables(connection: psycopg.Connection, table: MetricTable) -> None:
    connection.execute(_SESSION)
    connection.execute("DROP TABLE IF EXISTS staged, staged_keys")
    measures = {measure.name: _STAGED_TYPES[measure.kind] for measure in table.measures}
    keys = {key.name: _STAGED_TYPES[key.bigquery_type] for key in table.keys}
    connection.execute(_create("staged", {"key_number": "integer", METRIC_DATE: "date", **measures}))
    connection.execute(_create("staged_keys", {"key_number": "integer", **keys, "has_nul": "boolean"}))


def _create(name: str, columns: dict[str, str]) -> sql.Composed:
    return sql.SQL("CREATE TEMPORARY TABLE {} ({})").format(
        sql.Identifier(name),
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(column_type))
            for column, column_type in columns.items()
        ),
    )


def _copy_into(name: str, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )


def _csv(columns: Sequence[pa.Array]) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    encoded = pa.RecordBatch.from_arrays(columns, [str(number) for number in range(len(columns))])
    pyarrow.csv.write_csv(encoded, sink, _CSV_OPTIONS)
    return sink.getvalue()


def _keys_csv(keys: Sequence[pa.Array]) -> pa.Buffer:
    length = len(keys[0])
    return _csv([pa.array(range(length)), *map(_without_nul, keys), _has_nul(keys, length)])


def _has_nul(keys: Iterable[pa.Array], length: int) -> pa.Array:
    """Mark the keys with a NUL, which Postgres text cannot hold."""
    has_nul = pa.repeat(pa.scalar(False), length)
    for column in filter(_is_text, keys):
        has_nul = pc.or_(has_nul, pc.fill_null(pc.match_substring(column, "\x00"), False))
    return has_nul


def _without_nul(column: pa.Array) -> pa.Array:
    return pc.replace_substring(column, "\x00", "\\u0000") if _is_text(column) else column


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))
