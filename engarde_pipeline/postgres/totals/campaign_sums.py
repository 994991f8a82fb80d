"""The exact sums of each campaign space over all dates, from which its totals are written.

The months of changed dates are summed again into `campaign_space_months`, and the differences from what these
months had before are added to `campaign_space_sums`. So the cost depends on the months that changed, not on the
history (ADR 17).

Each row has the range of its currencies, so that sums of several currencies, which mean nothing (rule 13), are
found without reading the rows. A range can be extended by a month, but not reduced by one: in this rare case the
sums are computed from all months.
"""

from calendar import monthrange
from collections.abc import Sequence
from datetime import date
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.sql_lists import sql_list

_MEASURES = CAMPAIGN_METRICS.measure_names
_COLUMNS = (*_MEASURES, "min_currency", "max_currency")

_KEYS_OF_MONTHS = ("month", "campaign_space_id")
_KEYS_OF_SUMS = ("campaign_space_id",)

_MONTHS_AT_ONCE = 12
"""How many months one statement sums, which bounds the size of temporary tables."""

# Whoever writes months without this setting empties campaign_space_sums, by a trigger (migration 0013).
_ADD_DIFFERENCES_TO_SUMS = "SELECT set_config('engarde.adds_differences', 'on', true)"

_HAS_SUMS = "SELECT EXISTS (SELECT FROM campaign_space_sums)"

# A separate statement, because Postgres does not use parallel workers in a statement that writes. With several
# months, each worker sums other months: this is faster than to combine the workers' sums of the same month. ''
# stands for no currency, and is less than every other one.
_SUM_ROWS = """
CREATE TEMPORARY TABLE new_sums AS {sums_of_each_month}
"""

_SUM_ROWS_OF_MONTH = """
SELECT {month} AS month, campaign_space_id, {sums},
       CASE WHEN count(currency) = count(*) THEN min(currency COLLATE "C") ELSE '' END AS min_currency,
       coalesce(max(currency COLLATE "C"), '') AS max_currency
FROM campaign_metrics
WHERE metric_date BETWEEN {month} AND {last_day}
GROUP BY campaign_space_id
"""

_SUM_MONTHS = """
CREATE TEMPORARY TABLE new_sums AS
SELECT campaign_space_id, {sums},
       min(min_currency COLLATE "C") AS min_currency,
       max(max_currency COLLATE "C") AS max_currency
FROM campaign_space_months
GROUP BY campaign_space_id
"""

# Equal rows are not written again.
_DELETE = """
DELETE FROM {table} t
WHERE {is_replaced}
  AND NOT EXISTS (SELECT FROM new_sums n WHERE ({n_keys}, {n_columns}) = ({t_keys}, {t_columns}))
"""

_INSERT = """
INSERT INTO {table} ({keys}, {columns})
SELECT {keys}, {columns}
FROM new_sums n
WHERE NOT EXISTS (SELECT FROM {table} t WHERE {is_replaced} AND ({t_keys}) = ({n_keys}))
ORDER BY {keys}
"""

# What was deleted from the months, as negative numbers, and what was inserted. The currencies are those of the
# month.
_CREATE_DIFFERENCES = """
CREATE TEMPORARY TABLE differences AS
SELECT campaign_space_id, false AS is_added, {columns} FROM campaign_space_sums WITH NO DATA
"""

_KEEP_DELETED = """
WITH deleted AS ({statement} RETURNING *)
INSERT INTO differences SELECT campaign_space_id, false, {minus_measures}, min_currency, max_currency FROM deleted
"""

_KEEP_INSERTED = """
WITH inserted AS ({statement} RETURNING *)
INSERT INTO differences SELECT campaign_space_id, true, {columns} FROM inserted
"""

# Whether the months that changed may have lost a currency, for any campaign space. The comparison is NULL if they
# lost all its rows.
_HAS_SMALLER_RANGE = """
SELECT EXISTS (
    SELECT FROM differences
    GROUP BY campaign_space_id
    HAVING count(*) FILTER (WHERE NOT is_added) > 0
       AND (min(min_currency COLLATE "C") FILTER (WHERE is_added)
            <= min(min_currency COLLATE "C") FILTER (WHERE NOT is_added)
            AND max(max_currency COLLATE "C") FILTER (WHERE is_added)
                >= max(max_currency COLLATE "C") FILTER (WHERE NOT is_added)) IS NOT TRUE)
"""

_ADD = """
INSERT INTO campaign_space_sums AS t (campaign_space_id, {columns})
SELECT campaign_space_id, {sums}, min(min_currency COLLATE "C"), max(max_currency COLLATE "C")
FROM differences
GROUP BY campaign_space_id
ON CONFLICT (campaign_space_id) DO UPDATE
SET {add_measures},
    min_currency = least(t.min_currency COLLATE "C", excluded.min_currency),
    max_currency = greatest(t.max_currency COLLATE "C", excluded.max_currency)
"""


def update(connection: psycopg.Connection, dates: Sequence[date]) -> None:
    """Bring the sums up to date with the rows of changed dates, in the caller's transaction.

    If there are no changed dates, all sums are compared with the months and corrected. The caller must be the only
    one that updates sums.
    """
    connection.execute(_ADD_DIFFERENCES_TO_SUMS)
    connection.execute(_compose(_CREATE_DIFFERENCES))
    has_sums = _is_true(connection, _HAS_SUMS)
    months = sorted({day.replace(day=1) for day in dates})
    for start in range(0, len(months), _MONTHS_AT_ONCE):
        _replace_months(connection, months[start : start + _MONTHS_AT_ONCE], keep_differences=has_sums)
    if months and has_sums and not _is_true(connection, _HAS_SMALLER_RANGE):
        connection.execute(_compose(_ADD))
    else:
        connection.execute(_compose(_SUM_MONTHS))
        _replace_sums(connection)
    connection.execute("DROP TABLE differences")


def _replace_months(connection: psycopg.Connection, months: Sequence[date], *, keep_differences: bool) -> None:
    sums_of_months = sql.SQL(" UNION ALL ").join(
        _compose(_SUM_ROWS_OF_MONTH, month=sql.Literal(month), last_day=sql.Literal(_last_day(month)))
        for month in months
    )
    connection.execute(_compose(_SUM_ROWS, sums_of_each_month=sums_of_months))
    names = {
        "table": sql.Identifier("campaign_space_months"),
        "is_replaced": sql.SQL("t.month = ANY ({})").format(sql.Literal(list(months))),
    }
    for text, kept in ((_DELETE, _KEEP_DELETED), (_INSERT, _KEEP_INSERTED)):
        statement = _compose(text, _KEYS_OF_MONTHS, **names)
        connection.execute(_compose(kept, statement=statement) if keep_differences else statement)
    connection.execute("DROP TABLE new_sums")


def _replace_sums(connection: psycopg.Connection) -> None:
    names = {"table": sql.Identifier("campaign_space_sums"), "is_replaced": sql.SQL("true")}
    for text in (_DELETE, _INSERT):
        connection.execute(_compose(text, _KEYS_OF_SUMS, **names))
    connection.execute("DROP TABLE new_sums")


def _last_day(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def _is_true(connection: psycopg.Connection, statement: LiteralString) -> bool:
    row = connection.execute(statement).fetchone()
    assert row is not None  # noqa: S101  the statement returns one row
    return bool(row[0])


def _compose(text: LiteralString, keys: Sequence[str] = (), **names: sql.Composable) -> sql.Composed:
    return sql.SQL(text).format(
        keys=sql_list("{name}", keys),
        n_keys=sql_list("n.{name}", keys),
        t_keys=sql_list("t.{name}", keys),
        columns=sql_list("{name}", _COLUMNS),
        n_columns=sql_list("n.{name}", _COLUMNS),
        t_columns=sql_list("t.{name}", _COLUMNS),
        sums=sql_list("sum({name}) AS {name}", _MEASURES),
        minus_measures=sql_list("-{name}", _MEASURES),
        add_measures=sql_list("{name} = t.{name} + excluded.{name}", _MEASURES),
        **names,
    )
