"""The sums that BigQuery computes, to compare with Postgres independently of extraction and merge."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from google.cloud import bigquery

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.currencies import MALFORMED
from engarde_pipeline.core.metrics import (
    AMOUNT_DECIMALS,
    AMOUNT_DIGITS,
    CURRENCY,
    CURRENCY_PATTERN,
    METRIC_DATE,
    Measure,
)

# Column names are case-insensitive in BigQuery; the columns of the result are named as written here. Rows are
# summed first per record, because an amount is rounded once per record, and then per date. Records with a NaN, an
# infinity or an amount that is too large are left out, as in the sums of Postgres (`postgres.reads.sums`), and so
# is the money of a record whose rows have several currencies.
_SUMS = """
SELECT {date} AS {date}, currency, {outer_sums}
FROM (
    SELECT {date} AS {date}, {currency} AS currency, {inner_sums}, {summable} AS summable
    FROM `{table}`
    WHERE {date} BETWEEN @start AND @end
    GROUP BY {group_by}
)
WHERE IFNULL(summable, TRUE)
GROUP BY {date}, currency
"""

_CURRENCY = """
CASE
    WHEN {is_mixed} OR MIN(currency) IS NULL THEN ''
    WHEN REGEXP_CONTAINS(MIN(currency), r'{pattern}') THEN MIN(currency)
    ELSE '{malformed}'
END
"""

_IS_MIXED = "(COUNT(DISTINCT currency) > 1 OR COUNT(currency) BETWEEN 1 AND COUNT(*) - 1)"


def sums_by_date(
    source: Source, table: SourceTable, start: date, end: date
) -> dict[tuple[date, str], dict[str, Decimal]]:
    """Return the exact sum of each measure by date and currency, without those that have no rows.

    The currency is "" where there is none. Malformed ones are one group, `MALFORMED`. Runs one query for the whole
    range.

    Raises:
        SourceError: BigQuery cannot be read.
    """
    measures = table.metric_table.measures
    # As in the merge, spellings of a tenant's uuid that differ only in case are the same record.
    keys = ["LOWER(tenant_id)" if name == "tenant_id" else name for name in _key_columns(table)]
    is_mixed, currency = "FALSE", "''"
    if CURRENCY.name in table.columns:
        is_mixed = _IS_MIXED
        currency = _CURRENCY.format(is_mixed=is_mixed, pattern=CURRENCY_PATTERN, malformed=MALFORMED)
    floats = [m for m in measures if table.columns[m.name] == "FLOAT64"]
    query = _SUMS.format(
        date=METRIC_DATE,
        table=table,
        outer_sums=", ".join(f"SUM({m.name}) AS {m.name}" for m in measures),
        inner_sums=", ".join(f"{_record_sum(m, table.columns[m.name], is_mixed)} AS {m.name}" for m in measures),
        currency=currency,
        summable=f"""
        {_can_all_be_summed(m.name for m in floats if not m.is_money)}
        AND ({is_mixed} OR {_can_all_be_summed(m.name for m in floats if m.is_money)})
        """,
        group_by=", ".join([METRIC_DATE, *keys]),
    )
    rows = source.query(
        query,
        [
            bigquery.ScalarQueryParameter("start", "DATE", start),
            bigquery.ScalarQueryParameter("end", "DATE", end),
        ],
        table,
    )
    return {
        (row[METRIC_DATE], row["currency"]): {m.name: Decimal(row[m.name] or 0) for m in measures} for row in rows
    }


def _key_columns(table: SourceTable) -> list[str]:
    return [name for name in table.columns if name in table.metric_table.key_names]


def _record_sum(measure: Measure, column_type: str, is_mixed: str) -> str:
    if measure.is_money:
        return f"IF({is_mixed}, NULL, {_sum(measure, column_type)})"
    return _sum(measure, column_type)


def _sum(measure: Measure, column_type: str) -> str:
    if column_type == "INT64":
        return f"SUM(CAST({measure.name} AS NUMERIC(38, 9)))"
    if column_type == "FLOAT64":
        # A float counts as the shortest decimal that converts back to it, as in Postgres.
        text = f"CAST(IF({_can_be_summed(measure.name)}, {measure.name}, NULL) AS STRING)"
        return f"ROUND(SUM(PARSE_BIGNUMERIC({text})), {AMOUNT_DECIMALS})"
    return f"ROUND(SUM({measure.name}), {AMOUNT_DECIMALS})"


def _can_all_be_summed(names: Iterable[str]) -> str:
    return f"IFNULL(LOGICAL_AND({' AND '.join(map(_can_be_summed, names)) or 'TRUE'}), TRUE)"


def _can_be_summed(name: str) -> str:
    # False for NaN, which is not less than any number, and for an infinity. NULL, if the measure is, is ignored by
    # the aggregates.
    return f"ABS({name}) < 1e{AMOUNT_DIGITS - AMOUNT_DECIMALS}"
