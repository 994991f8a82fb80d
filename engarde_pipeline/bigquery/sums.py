"""The sums that BigQuery computes, to compare with Postgres independently of extraction and merge."""

from datetime import date
from decimal import Decimal

from google.cloud import bigquery

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.bigquery.schema import SourceTable
from engarde_pipeline.core.metrics import AMOUNT_DECIMALS, AMOUNT_DIGITS, METRIC_DATE, Measure

# Column names are case-insensitive in BigQuery; the columns of the result are named as written here. Rows are
# summed first per record, because an amount is rounded once per record, and then per date. Records with a NaN, an
# infinity or an amount that is too large are left out, as in the sums of Postgres (`postgres.reads.sums`).
_SUMS = """
SELECT {date} AS {date}, {outer_sums}
FROM (
    SELECT {date} AS {date}, {inner_sums}, LOGICAL_AND({summable}) AS summable
    FROM `{table}`
    WHERE {date} BETWEEN @start AND @end
    GROUP BY {group_by}
)
WHERE IFNULL(summable, TRUE)
GROUP BY {date}
"""


def sums_by_date(source: Source, table: SourceTable, start: date, end: date) -> dict[date, dict[str, Decimal]]:
    """Return each date's exact sum of each measure; a date without rows is absent.

    Runs one query for the whole range.

    Raises:
        SourceError: BigQuery cannot be read.
    """
    measures = table.metric_table.measures
    # As in the merge, spellings of a tenant's uuid that differ only in case are the same record.
    keys = ["LOWER(tenant_id)" if name == "tenant_id" else name for name in _key_columns(table)]
    floats = [m.name for m in measures if table.columns[m.name] == "FLOAT64"]
    query = _SUMS.format(
        date=METRIC_DATE,
        table=table,
        outer_sums=", ".join(f"SUM({m.name}) AS {m.name}" for m in measures),
        inner_sums=", ".join(f"{_record_sum(m, table.columns[m.name])} AS {m.name}" for m in measures),
        summable=" AND ".join(map(_can_be_summed, floats)) or "TRUE",
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
    return {row[METRIC_DATE]: {m.name: Decimal(row[m.name] or 0) for m in measures} for row in rows}


def _key_columns(table: SourceTable) -> list[str]:
    return [name for name in table.columns if name in table.metric_table.key_names]


def _record_sum(measure: Measure, column_type: str) -> str:
    if column_type == "INT64":
        return f"SUM(CAST({measure.name} AS NUMERIC(38, 9)))"
    if column_type == "FLOAT64":
        # A float counts as the shortest decimal that converts back to it, as in Postgres.
        text = f"CAST(IF({_can_be_summed(measure.name)}, {measure.name}, NULL) AS STRING)"
        return f"ROUND(SUM(PARSE_BIGNUMERIC({text})), {AMOUNT_DECIMALS})"
    return f"ROUND(SUM({measure.name}), {AMOUNT_DECIMALS})"


def _can_be_summed(name: str) -> str:
    # False for NaN, which is not less than any number, and for an infinity. NULL, if the measure is, is ignored by
    # the aggregates.
    return f"ABS({name}) < 1e{AMOUNT_DIGITS - AMOUNT_DECIMALS}"
