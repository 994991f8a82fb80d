"""Records: sums the staged rows by record, and validates the sums.

This creates the temporary table `records`, with one row per record: `metric_date`, `record_key`, `source_rows`,
the measures as exact sums, `tenant_id`, `target_id`, `platform`, `metric_hour`, `currency`, and `reason`, NULL
where the record is good. `currency` and the sums of money are NULL if the source rows have several currencies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.currencies import MALFORMED, ByCurrency, by_currency
from engarde_pipeline.core.metrics import (
    AMOUNT_DECIMALS,
    CURRENCY_PATTERN,
    METRIC_HOUR,
    Measure,
    MetricTable,
    RejectReason,
)
from engarde_pipeline.postgres.load.held_dates import NOTHING, SourceSums
from engarde_pipeline.postgres.load.scope import EVERYTHING, Scope
from engarde_pipeline.postgres.load.similar_keys import create_similar_keys
from engarde_pipeline.postgres.load.source_keys import create_kept, note_source_keys
from engarde_pipeline.postgres.load.subjects import create_subjects
from engarde_pipeline.postgres.sql_lists import sql_list

# The first reason that applies is recorded: reasons about the keys come before those about the measures. Nearly
# all records are good, so few comparisons decide that: NaN is greater than every number, so out of range, too.
_RECORDS = """
CREATE TEMPORARY TABLE records AS
SELECT r.*, k.tenant_id, k.target_id, k.storage_order, k.platform, {hour} AS metric_hour,
       {currency} AS currency,
       CASE
           WHEN k.reason IS NOT NULL THEN k.reason
{currency_reasons}
           WHEN {out_of_range} THEN
               CASE
                   WHEN {not_a_number} THEN {NOT_A_NUMBER}
                   WHEN r.is_negative THEN {NEGATIVE_MEASURE}
                   ELSE {OUT_OF_RANGE}
               END
           WHEN r.is_negative THEN {NEGATIVE_MEASURE}
       END AS reason
FROM ({totals}) r
JOIN subjects k ON k.key_number = r.record_key
"""

# Sorted before they are joined, so that the records of a date are stored together. Usually they are already.
_SUMS = """
SELECT s.metric_date, k.record_key,
       count(*) AS source_rows,
       {sums},
       {currency_of_rows}
       coalesce(bool_or({negative}), false) AS is_negative
FROM staged s
JOIN subjects k USING (key_number)
GROUP BY 1, 2
ORDER BY 1
"""

# Most sources have one row per record. Then the sums, which are the most expensive part, are skipped. Usually one
# date shows that a source is not like that; that all dates are, the unique index proves without another count.
_MAY_BE_SUMMED = """
SELECT NOT EXISTS (
           SELECT FROM staged
           WHERE metric_date = (SELECT metric_date FROM staged LIMIT 1)
           GROUP BY key_number
           HAVING count(*) > 1)
   AND NOT EXISTS (SELECT FROM subjects WHERE record_key <> key_number)
"""
_INDEX = "CREATE UNIQUE INDEX ON records (metric_date, record_key)"
_SINGLE_ROWS = """
SELECT s.metric_date, s.key_number AS record_key,
       1::bigint AS source_rows,
       {numbers},
       coalesce({negative}, false) AS is_negative
FROM staged s
ORDER BY 1
"""

# Whether the source has currencies. Without them, nothing is computed for them.
_HAS_CURRENCIES = "SELECT EXISTS (SELECT FROM staged_keys WHERE currency IS NOT NULL)"

# Rows without a currency beside rows with one are several currencies, too. Bytes are compared faster than text.
_CURRENCIES_DIFFER = """
(count(k.currency) BETWEEN 1 AND count(*) - 1
 OR min(k.currency COLLATE "C") IS DISTINCT FROM max(k.currency COLLATE "C"))
"""
_CURRENCY_OF_ROWS = """
CASE WHEN {currencies_differ} THEN NULL ELSE min(k.currency COLLATE "C") END AS currency_of_rows,
{currencies_differ} AS is_mixed,
"""

_CURRENCY_REASONS = """
           WHEN {is_mixed} THEN {MIXED_CURRENCY}
           WHEN {currency} !~ {pattern} THEN {MALFORMED_CURRENCY}
"""

_REASONS = {reason.name: sql.Literal(str(reason)) for reason in RejectReason}


@dataclass(frozen=True)
class Records:
    """The number of bad records of one date, the money of the good ones, and what the source has."""

    rejected: int
    spend: ByCurrency
    revenue: ByCurrency
    source: SourceSums

    @property
    def processed(self) -> int:
        return self.source.records

    @property
    def source_rows(self) -> int:
        return self.source.source_rows


_NO_RECORDS = Records(0, {}, {}, NOTHING)


@dataclass(frozen=True)
class PreparedRecords:
    """The records of some dates, ready to be merged.

    `table_id` is the oid of the temporary table `records`, which no other session and no later table has.
    `noted_by` are the transactions in which the preparation itself noted dates in `removed_rows`. `is_summed` says
    that the source had one row per record.
    """

    by_date: dict[date, Records]
    table_id: int
    noted_by: list[int]
    is_summed: bool

    def of(self, day: date) -> Records:
        return self.by_date.get(day, _NO_RECORDS)


# The sums of the source leave out values that no sum can have: negative ones, NaN and infinity. Good records have
# none, so only the others are compared.
_BY_DATE = """
WITH by_currency AS (
    SELECT metric_date,
           {currency} AS currency,
           count(reason) AS rejected,
           count(*) AS records,
           sum(source_rows) AS source_rows,
           sum(spend) FILTER (WHERE reason IS NULL) AS spend,
           sum(revenue) FILTER (WHERE reason IS NULL) AS revenue,
           sum(impressions) FILTER (
               WHERE reason IS NULL OR impressions BETWEEN 0 AND {impressions_limit}
           ) AS source_impressions,
           sum(spend) FILTER (WHERE reason IS NOT NULL AND spend BETWEEN 0 AND {spend_limit}) AS rejected_spend
    FROM records
    GROUP BY 1, 2
)
SELECT metric_date,
       sum(rejected)::bigint,
       coalesce(jsonb_object_agg(currency, spend::text) FILTER (WHERE rejected < records), '{{}}'),
       coalesce(jsonb_object_agg(currency, revenue::text) FILTER (WHERE rejected < records), '{{}}'),
       sum(source_rows)::bigint,
       sum(records)::bigint,
       coalesce(sum(source_impressions), 0),
       coalesce(
           jsonb_object_agg(currency, (coalesce(spend, 0) + coalesce(rejected_spend, 0))::text)
               FILTER (WHERE spend IS NOT NULL OR rejected_spend IS NOT NULL),
           '{{}}'
       )
FROM by_currency
GROUP BY metric_date
"""


def create_records(connection: psycopg.Connection, table: MetricTable, scope: Scope) -> PreparedRecords:
    """Create the temporary table `records` from the staged rows, within `scope`.

    Also creates `subjects`, `kept` (see `source_keys.create_kept`) and, if any record is bad, `similar_keys`.
    """
    connection.execute("DROP TABLE IF EXISTS pg_temp.records, pg_temp.kept")
    create_subjects(connection, table)
    has_currencies = connection.execute(_HAS_CURRENCIES).fetchone() == (True,)
    is_summed = _created_from_single_rows(connection, table, has_currencies)
    if not is_summed:
        connection.execute(_records(table, is_summed, has_currencies))
        connection.execute(_INDEX)
    noted_by = note_source_keys(connection, table)
    create_kept(connection, table)
    if scope != EVERYTHING:
        out_of_scope = sql.SQL("SELECT key_number FROM subjects r WHERE ({}) IS NOT TRUE").format(
            scope.of_records()
        )
        connection.execute(
            sql.SQL("DELETE FROM records WHERE record_key IN ({})").format(out_of_scope), scope.parameters
        )
    by_date = {
        day: Records(
            rejected,
            by_currency(spend),
            by_currency(revenue),
            SourceSums(rows, records, impressions, by_currency(source_spend)),
        )
        for day, rejected, spend, revenue, rows, records, impressions, source_spend in connection.execute(
            _by_date(table, has_currencies)
        )
    }
    if any(records.rejected for records in by_date.values()):
        create_similar_keys(connection, table)
    row = connection.execute("SELECT 'pg_temp.records'::regclass::oid").fetchone()
    assert row is not None  # noqa: S101  a SELECT of scalars has one row
    return PreparedRecords(by_date, int(row[0]), noted_by, is_summed)


def _created_from_single_rows(connection: psycopg.Connection, table: MetricTable, has_currencies: bool) -> bool:
    """Create `records` if the source has one row per record; return whether it has."""
    if connection.execute(_MAY_BE_SUMMED).fetchone() != (True,):
        return False
    try:
        with connection.transaction():
            connection.execute(_records(table, True, has_currencies))
            connection.execute(_INDEX)
    except psycopg.errors.UniqueViolation:
        return False
    return True


def currency_group() -> sql.Composed:
    """Return the expression for the currency of a record in sums: "" for none, `MALFORMED` for malformed ones."""
    return sql.SQL("CASE WHEN currency !~ {} THEN {} ELSE coalesce(currency, '') END").format(
        sql.Literal(CURRENCY_PATTERN), sql.Literal(MALFORMED)
    )


def matches(table: MetricTable, alias: LiteralString) -> sql.Composed:
    """Return the condition that a row of `records` or `kept` matches the row t of the target."""
    match = sql.SQL(f"{alias}.target_id = t.{{}}").format(sql.Identifier(table.target_id))
    if METRIC_HOUR not in table.keys:
        return match
    # An equality, so that a hash join is possible; -1 stands for no hour, because NULL is not equal to NULL.
    return sql.SQL(f"{{}} AND coalesce({alias}.metric_hour, -1) = coalesce(t.metric_hour, -1)").format(match)


def has_no_good_record(table: MetricTable) -> sql.Composed:
    """Return the condition that no good record of %(date)s matches the row t of the target."""
    return sql.SQL(
        "NOT EXISTS (SELECT FROM records g WHERE g.metric_date = %(date)s AND g.reason IS NULL AND {})"
    ).format(matches(table, "g"))


def _records(table: MetricTable, is_summed: bool, has_currencies: bool) -> sql.Composed:
    amounts = [measure.name for measure in table.measures if measure.kind == "amount"]
    currency, currency_reasons = sql.SQL("NULL::text"), sql.Composed([])
    if has_currencies:
        # A record of one source row has the currency of its key.
        currency = sql.SQL("k.currency" if is_summed else "r.currency_of_rows")
        currency_reasons = sql.SQL(_CURRENCY_REASONS).format(
            is_mixed=sql.SQL("false" if is_summed else "r.is_mixed"),
            currency=currency,
            pattern=sql.Literal(CURRENCY_PATTERN),
            **_REASONS,
        )
    return sql.SQL(_RECORDS).format(
        hour=_hour(table),
        currency=currency,
        currency_reasons=currency_reasons,
        totals=_single_rows(table) if is_summed else _sums(table, has_currencies),
        not_a_number=sql_list("r.{name} = 'NaN'", amounts, " OR "),
        out_of_range=sql.SQL(" OR ").join(_out_of_range(table, is_summed)),
        **_REASONS,
    )


def _single_rows(table: MetricTable) -> sql.Composed:
    return sql.SQL(_SINGLE_ROWS).format(
        numbers=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(_total("s.{}", measure), sql.Identifier(measure.name))
            for measure in table.measures
        ),
        negative=_is_negative(table),
    )


def _sums(table: MetricTable, has_currencies: bool) -> sql.Composed:
    differ = sql.SQL(_CURRENCIES_DIFFER)
    sums = []
    for measure in table.measures:
        total = _total("sum(s.{})", measure)
        if has_currencies and measure.is_money:
            total = sql.SQL("CASE WHEN {} THEN NULL ELSE {} END").format(differ, total)
        sums.append(sql.SQL("{} AS {}").format(total, sql.Identifier(measure.name)))
    return sql.SQL(_SUMS).format(
        sums=sql.SQL(", ").join(sums),
        currency_of_rows=sql.SQL(_CURRENCY_OF_ROWS if has_currencies else "").format(currencies_differ=differ),
        negative=_is_negative(table),
    )


def _is_negative(table: MetricTable) -> sql.Composed:
    return sql_list("s.{name} < 0", table.measure_names, " OR ")


def _by_date(table: MetricTable, has_currencies: bool) -> sql.Composed:
    limits = {f"{measure.name}_limit": sql.Literal(measure.limit) for measure in table.measures}
    currency = currency_group() if has_currencies else sql.Literal("")
    return sql.SQL(_BY_DATE).format(currency=currency, **limits)


def _hour(table: MetricTable) -> sql.SQL:
    return sql.SQL("k.metric_hour" if METRIC_HOUR in table.keys else "NULL::bigint")


def _total(template: LiteralString, measure: Measure) -> sql.Composed:
    total = sql.SQL("coalesce({}, 0)").format(sql.SQL(template).format(sql.Identifier(measure.name)))
    if measure.kind == "amount":
        total = sql.SQL("round({}, {})").format(total, sql.Literal(AMOUNT_DECIMALS))
    return total


def _out_of_range(table: MetricTable, is_summed: bool) -> Iterator[sql.Composed]:
    for measure in table.measures:
        if is_summed and measure.kind == "count":
            continue  # a single int64
        yield sql.SQL("r.{} >= {}").format(sql.Identifier(measure.name), sql.Literal(measure.limit))
    if METRIC_HOUR in table.keys:
        yield sql.SQL("k.metric_hour NOT BETWEEN 0 AND 23").format()
