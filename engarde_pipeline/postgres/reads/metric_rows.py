"""Rows of the metric tables, or sums of groups of them, streamed as CSV, JSON or Arrow batches.

Amounts keep their six decimals in all of these. Each row has its tenant's id and its currency: numbers of
different tenants and amounts of different currencies are never added.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, LiteralString
from uuid import UUID

import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import csv

from engarde_pipeline.core.metrics import (
    AMOUNT_DECIMALS,
    AMOUNT_DIGITS,
    ASSET_METRICS,
    CAMPAIGN_METRICS,
    CURRENCY,
    METRIC_DATE,
    METRIC_HOUR,
    Kind,
    MetricTable,
)
from engarde_pipeline.postgres.schema.tables import ratio_sql
from engarde_pipeline.postgres.sql_lists import sql_list

GroupBy = Literal["date", "campaign", "asset", "platform"]

_BATCH_BYTES = 8 * 1024**2
"""The size of the CSV text that becomes one Arrow batch."""

_JSON_ROWS = 5_000
"""The number of rows per round trip for JSON."""

_COLUMNS: dict[str, tuple[LiteralString, pa.DataType]] = {
    METRIC_DATE: ("m.metric_date", pa.date32()),
    METRIC_HOUR.name: ("m.metric_hour", pa.int16()),
    "tenant_id": ("m.tenant_id::text", pa.string()),
    "campaign_space_id": ("c.id::text", pa.string()),
    "campaign_name": ("c.name", pa.string()),
    "external_campaign_id": ("c.external_campaign_id", pa.string()),
    "campaign_asset_id": ("a.id::text", pa.string()),
    "asset_name": ("a.name", pa.string()),
    "external_asset_id": ("a.external_asset_id", pa.string()),
    "platform": ("m.platform", pa.string()),
    CURRENCY.name: ("m.currency", pa.string()),
    "bigquery_sync_id": ("m.bigquery_sync_id::text", pa.string()),
    "synced_from_bigquery_at": (
        """to_char(m.synced_from_bigquery_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
        pa.timestamp("us", "UTC"),
    ),
}
"""The expression of a column that is not a number, and its Arrow type."""

_CAMPAIGN_COLUMNS = ("campaign_space_id", "campaign_name", "external_campaign_id")
_ASSET_COLUMNS = ("campaign_asset_id", "asset_name", "external_asset_id")

_GROUP_KEYS: dict[GroupBy, tuple[str, ...]] = {
    "date": (METRIC_DATE,),
    "campaign": (*_CAMPAIGN_COLUMNS, "platform"),
    "asset": (*_ASSET_COLUMNS, "platform"),
    "platform": ("platform",),
}

# The names are read through JSON, because the application's tables may have no column `name`.
_STATEMENT = """
WITH campaigns AS MATERIALIZED (
    SELECT id, external_campaign_id::text, to_jsonb(t) ->> 'name' AS name FROM campaign_spaces t
), assets AS MATERIALIZED (
    SELECT id, campaign_space_id, external_asset_id::text, to_jsonb(t) ->> 'name' AS name FROM campaign_assets t
), metrics AS (
    SELECT {columns}
    FROM {target} m
    {joins}
    WHERE {conditions}
    {grouping}
)
SELECT {names}
FROM metrics
ORDER BY {order}
"""

_JOINS: dict[str, LiteralString] = {
    CAMPAIGN_METRICS.target: "JOIN campaigns c ON c.id = m.campaign_space_id",
    ASSET_METRICS.target: (
        "JOIN assets a ON a.id = m.campaign_asset_id JOIN campaigns c ON c.id = a.campaign_space_id"
    ),
}

_SQL_TYPES: dict[Kind, LiteralString] = {
    "count": "bigint",
    "amount": f"numeric({AMOUNT_DIGITS}, {AMOUNT_DECIMALS})",
}


class NoSuchGroups(ValueError):
    """Campaign metrics cannot be grouped by asset."""


@dataclass(frozen=True)
class MetricRows:
    """The dates (both ends included), the filters and the grouping of the rows to read.

    Without `group_by`, there is a row per campaign space or asset, date and hour. A filter that is None is not
    applied.
    """

    start: date
    end: date
    tenant_id: UUID | None = None
    platforms: Sequence[str] | None = None
    group_by: GroupBy | None = None
    table: MetricTable = CAMPAIGN_METRICS

    def __post_init__(self) -> None:
        if self.group_by == "asset" and self.table is not ASSET_METRICS:
            raise NoSuchGroups("Only asset metrics can be grouped by asset.")

    @property
    def schema(self) -> pa.Schema:
        """The columns and their Arrow types."""
        amount = pa.decimal128(AMOUNT_DIGITS, AMOUNT_DECIMALS)
        return pa.schema(
            [
                *((name, _COLUMNS[name][1]) for name in self._keys),
                *((m.name, pa.int64() if m.kind == "count" else amount) for m in self.table.measures),
                *((ratio.name, pa.float64()) for ratio in self.table.ratios),
                *((name, _COLUMNS[name][1]) for name in self._provenance),
            ]
        )

    def count(self, connection: psycopg.Connection) -> int:
        """Return the number of rows of the table, before they are grouped."""
        statement = sql.SQL("SELECT count(*) FROM {target} m WHERE {conditions}").format(
            target=sql.Identifier(self.table.target), conditions=self._conditions
        )
        row = connection.execute(statement).fetchone()
        assert row is not None  # noqa: S101  a count always has a row
        return int(row[0])

    def csv(self, connection: psycopg.Connection) -> Iterator[bytes]:
        """Yield the header, then each row, as CSV. NULL is an empty field without quotes."""
        with _copied(connection, self._statement) as copy:
            for line in copy:
                yield bytes(line)

    def json(self, connection: psycopg.Connection) -> Iterator[str]:
        """Yield each row as a JSON object."""
        statement = sql.SQL("SELECT to_json(r)::text FROM ({}) r").format(self._statement)
        with connection.transaction(), connection.cursor("rows") as cursor:
            cursor.itersize = _JSON_ROWS
            for (text,) in cursor.execute(statement):
                yield text

    def batches(self, connection: psycopg.Connection) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow batches with `schema`."""
        with _copied(connection, self._statement) as copy:
            yield from csv.open_csv(
                io.BufferedReader(_CopiedText(copy), _BATCH_BYTES),
                csv.ReadOptions(block_size=_BATCH_BYTES),
                csv.ParseOptions(newlines_in_values=True),
                csv.ConvertOptions(
                    column_types=self.schema,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )

    @property
    def _keys(self) -> tuple[str, ...]:
        if self.group_by:
            return ("tenant_id", *_GROUP_KEYS[self.group_by], CURRENCY.name)
        hour = [METRIC_HOUR.name] if METRIC_HOUR in self.table.keys else []
        assets = _ASSET_COLUMNS if self.table is ASSET_METRICS else ()
        return (METRIC_DATE, *hour, "tenant_id", *_CAMPAIGN_COLUMNS, *assets, "platform", CURRENCY.name)

    @property
    def _provenance(self) -> tuple[str, ...]:
        return () if self.group_by else ("bigquery_sync_id", "synced_from_bigquery_at")

    @property
    def _conditions(self) -> sql.Composable:
        conditions = [
            sql.SQL("m.metric_date BETWEEN {} AND {}").format(sql.Literal(self.start), sql.Literal(self.end))
        ]
        if self.tenant_id is not None:
            conditions.append(sql.SQL("m.tenant_id = {}").format(sql.Literal(self.tenant_id)))
        if self.platforms is not None:
            conditions.append(sql.SQL("m.platform = ANY({})").format(sql.Literal(list(self.platforms))))
        return sql.SQL(" AND ").join(conditions)

    @property
    def _statement(self) -> sql.Composed:
        measures = self.table.measures
        number: LiteralString = "sum(m.{0})::{1} AS {0}" if self.group_by else "m.{0}"
        columns = [
            *(
                sql.SQL(_COLUMNS[name][0] + " AS {}").format(sql.Identifier(name))
                for name in (*self._keys, *self._provenance)
            ),
            *(
                sql.SQL(number).format(sql.Identifier(measure.name), sql.SQL(_SQL_TYPES[measure.kind]))
                for measure in measures
            ),
        ]
        names = [
            sql_list("{name}", (*self._keys, *self.table.measure_names)),
            *(
                sql.SQL(f"({ratio_sql(ratio)})::float8 AS {{}}").format(sql.Identifier(ratio.name))
                for ratio in self.table.ratios
            ),
            *map(sql.Identifier, self._provenance),
        ]
        return sql.SQL(_STATEMENT).format(
            columns=sql.SQL(", ").join(columns),
            target=sql.Identifier(self.table.target),
            joins=sql.SQL(_JOINS[self.table.target]),
            conditions=self._conditions,
            grouping=self._grouping,
            names=sql.SQL(", ").join(names),
            order=sql_list("{name}", self._keys),
        )

    @property
    def _grouping(self) -> sql.SQL:
        if not self.group_by:
            return sql.SQL("")
        # By position: the tables have columns of the same names.
        return sql.SQL("GROUP BY " + ", ".join(str(n) for n in range(1, len(self._keys) + 1)))


@contextmanager
def _copied(connection: psycopg.Connection, statement: sql.Composed) -> Iterator[psycopg.Copy]:
    copy = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(statement)
    with connection.cursor() as cursor, cursor.copy(copy) as opened:
        yield opened


class _CopiedText(io.RawIOBase):
    """The text of a COPY as a file, which pyarrow reads."""

    def __init__(self, copy: psycopg.Copy) -> None:
        self._blocks = iter(copy)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
