"""Staging: copies Arrow batches into temporary tables with COPY, one batch in memory at a time.

`staged` has one row per source row: its date, the number of its key, its measures. `staged_keys` has each distinct
key with its currency once, so that its text is sent, resolved and compared once. Both are dropped with the
connection, so a killed process leaves nothing behind.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from engarde_pipeline.core.metrics import METRIC_DATE, MetricTable, RejectReason
from engarde_pipeline.postgres.encodings import holds_everything, unrepresentable
from engarde_pipeline.postgres.load.copy_formats import CopyFormat, as_decimals, encode
from engarde_pipeline.postgres.load.key_numbers import KeyNumbers
from engarde_pipeline.postgres.sql_lists import sql_list

_STAGED_TYPES = {"STRING": "text", "INT64": "bigint", "count": "bigint", "amount": "numeric"}


def stage(
    connection: psycopg.Connection,
    table: MetricTable,
    columns: Sequence[str],
    batches: Iterable[pa.RecordBatch],
) -> int:
    """Replace the temporary tables by the source rows in `batches`; return their number.

    `batches` have exactly `columns`, in that order; columns of `table` that the source lacks are NULL.
    FLOAT64 becomes the shortest decimal that reads back as the same float, NUMERIC and BIGNUMERIC keep all digits:
    from here on every amount is exact.
    """
    _create_tables(connection, table)
    keys = [key.name for key in table.dimensions if key.name in columns]
    measures = [measure for measure in table.measures if measure.name in columns]
    integers = [METRIC_DATE, *(measure.name for measure in measures if measure.kind == "count")]
    amounts = [measure.name for measure in measures if measure.kind == "amount"]
    numbering = KeyNumbers(len(keys))
    rows = 0

    def numbered() -> Iterator[tuple[CopyFormat, list[pa.Array]]]:
        nonlocal rows
        for batch in batches:
            rows += batch.num_rows
            key_numbers = numbering.of([batch.column(name) for name in keys]).cast(pa.int32())
            exact = [key_numbers, *(batch.column(name) for name in integers)]
            numbers = [batch.column(name) for name in amounts]
            decimals = as_decimals(numbers)
            yield ("csv", [*exact, *numbers]) if decimals is None else ("binary", [*exact, *decimals])

    staged = ["key_number", *integers, *amounts]
    with connection.cursor() as cursor:
        for copy_format, of_format in groupby(numbered(), itemgetter(0)):
            with cursor.copy(_copy_into("staged", staged, copy_format)) as copy:
                for data in encode(copy_format, (columns for _, columns in of_format)):
                    copy.write(data)
        distinct = numbering.distinct() if rows else []
        refused = _refused_characters(connection, distinct)
        of_record = [column for name, column in zip(keys, distinct, strict=False) if name in table.key_names]
        with cursor.copy(_copy_into("staged_keys", ["key_number", *keys, "key_fault"], "csv")) as copy:
            if rows:
                for data in encode("csv", [_spelled_keys(distinct, of_record, refused)]):
                    copy.write(data)
    connection.execute("ANALYZE staged (metric_date, key_number); ANALYZE staged_keys")
    return rows


def _create_tables(connection: psycopg.Connection, table: MetricTable) -> None:
    connection.execute("DROP TABLE IF EXISTS pg_temp.staged, pg_temp.staged_keys")
    measures = {measure.name: _STAGED_TYPES[measure.kind] for measure in table.measures}
    keys = {key.name: _STAGED_TYPES[key.bigquery_type] for key in table.dimensions}
    connection.execute(_create("staged", {"key_number": "integer", METRIC_DATE: "date", **measures}))
    connection.execute(_create("staged_keys", {"key_number": "integer", **keys, "key_fault": "text"}))


def _create(name: str, columns: dict[str, str]) -> sql.Composed:
    return sql.SQL("CREATE TEMPORARY TABLE {} ({})").format(
        sql.Identifier(name),
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(column_type))
            for column, column_type in columns.items()
        ),
    )


def _copy_into(name: str, columns: Iterable[str], copy_format: CopyFormat) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        sql.Identifier(name), sql_list("{name}", columns), sql.SQL(copy_format)
    )


def _refused_characters(connection: psycopg.Connection, keys: Sequence[pa.Array]) -> set[str]:
    """Return the characters of the keys that the database cannot store; no query if its encoding is UTF-8."""
    if holds_everything(connection):
        return set()
    texts = (text for column in filter(_is_text, keys) for text in column.to_pylist() if text is not None)
    return unrepresentable(connection, "".join({character for text in texts for character in text}))


def _spelled_keys(keys: Sequence[pa.Array], of_record: Sequence[pa.Array], refused: set[str]) -> list[pa.Array]:
    """Return the keys with their numbers and faults; characters that Postgres cannot store are escaped.

    Only the columns `of_record`, which identify a record, are faulty with such a character; see `records` for the
    currency.
    """
    length = len(keys[0])
    none = pa.scalar(None, pa.string())
    is_refused = _contains(of_record, refused, length)
    fault = pc.if_else(is_refused, str(RejectReason.NOT_REPRESENTABLE), none)
    fault = pc.if_else(_contains(of_record, "\x00", length), str(RejectReason.MALFORMED_KEY), fault)
    spelled = [_spelled_out(column, refused) for column in keys]
    return [pa.array(range(length)), *spelled, fault]


def _contains(keys: Iterable[pa.Array], characters: Iterable[str], length: int) -> pa.Array:
    """Mark the keys with any of `characters`."""
    found = pa.repeat(pa.scalar(False), length)
    for column in filter(_is_text, keys):
        for character in characters:
            found = pc.or_(found, pc.fill_null(pc.match_substring(column, character), False))
    return found


def _spelled_out(column: pa.Array, refused: Iterable[str]) -> pa.Array:
    if not _is_text(column):
        return column
    column = pc.replace_substring(column, "\x00", "\\u0000")
    for character in refused:
        column = pc.replace_substring(column, character, character.encode("ascii", "backslashreplace").decode())
    return column


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))
