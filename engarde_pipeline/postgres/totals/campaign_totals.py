"""The totals on `campaign_spaces`: sums of the campaign's rows, and ratios of those sums.

A merge notes each date that it changes. An update of the totals brings the exact sums of all campaign spaces up to
date with these dates (`campaign_sums`), compares each total with them, and writes those that differ. So a total
that something else has overwritten is corrected by the next update, whatever changed.

The rows of a campaign space can have several currencies, or only some of them have one. Its totals of money are
then NULL (rule 13).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, CTR, ROAS
from engarde_pipeline.postgres.advisory_locks import DEFAULT_WAIT, AdvisoryLock, LockWait, acquire
from engarde_pipeline.postgres.schema import application_schema
from engarde_pipeline.postgres.schema.application_schema import LAST_UPDATED, Column, Table, writable_totals
from engarde_pipeline.postgres.schema.tables import ratio_sql
from engarde_pipeline.postgres.sql_lists import sql_list
from engarde_pipeline.postgres.totals import campaign_sums
from engarde_pipeline.postgres.totals.changed_dates import collect_changed

_MEASURES = CAMPAIGN_METRICS.measure_names
_MONEY = [measure.name for measure in CAMPAIGN_METRICS.measures if measure.is_money]

# The upper and lower halves of the number are in pg_locks, as classid and objid.
_LOCK = AdvisoryLock(
    "the totals of campaign_spaces",
    "hashtext(%(name)s)",
    "l.classid = (hashtext(%(name)s)::bigint >> 32 & 4294967295)::oid"
    " AND l.objid = (hashtext(%(name)s)::bigint & 4294967295)::oid AND l.objsubid = 1",
    {"name": "campaign_spaces totals"},
    is_transactional=True,
)

# Campaigns without rows have totals of zero, and those with several currencies no totals of money. Each number is
# cast to the type of its column, which may be narrower in the application's table; NULL if it does not fit, which
# only absurd input causes. Columns that cannot be written are skipped; an undefined ratio is 0 if its column is
# NOT NULL.
#
# The rows are summed before they are joined, so that parallel workers share them.
_TOTALS = """
WITH of_rows AS (
    SELECT campaign_space_id, {sums}, {has_several_currencies} AS has_several_currencies
    FROM {table}
    GROUP BY campaign_space_id
), sums AS (
    SELECT c.id, {sums_or_zero}, coalesce(r.has_several_currencies, false) AS has_several_currencies
    FROM campaign_spaces c
    LEFT JOIN of_rows r ON r.campaign_space_id = c.id
), exact AS (
    SELECT *, {ctr} AS ctr, {roas} AS roas FROM sums
), totals AS (
    SELECT id, has_several_currencies, {fitted} FROM exact
)
"""

# Whether the rows of a campaign space have several currencies, from its sums and from its rows.
_SEVERAL_IN_SUMS: LiteralString = 'min(min_currency COLLATE "C") <> max(max_currency COLLATE "C")'
_SEVERAL_IN_ROWS: LiteralString = """
count(currency) BETWEEN 1 AND count(*) - 1 OR min(currency COLLATE "C") <> max(currency COLLATE "C")
"""

# Campaigns with equal totals are not updated, nor those whose sums do not fit or must not be NULL, so that the
# others are updated.
_UPDATE = """
, updated AS (
    UPDATE campaign_spaces c
    SET {set_totals}
    FROM totals s
    WHERE s.id = c.id
      AND {fits}
      AND ({columns}) IS DISTINCT FROM ({s_columns})
    RETURNING 1
)
SELECT (SELECT count(*) FROM totals), (SELECT count(*) FROM updated)
"""

_WRONG = """
SELECT count(*), count(*) FILTER (WHERE ({columns}) IS DISTINCT FROM ({s_columns}))
FROM campaign_spaces c
JOIN totals s USING (id)
"""

# The name is read through JSON, because the application's table may have no column `name`.
_WITH_SEVERAL_CURRENCIES = """
WITH several AS MATERIALIZED (
    SELECT campaign_space_id FROM campaign_space_sums WHERE min_currency <> max_currency
), found AS (
    SELECT c.id, to_jsonb(c) ->> 'name' AS name, count(*) OVER () AS campaigns
    FROM campaign_spaces c
    WHERE c.id IN (SELECT campaign_space_id FROM several)
    ORDER BY name, id
    LIMIT %s
)
SELECT f.campaigns, concat_ws(' ', f.name, f.id), string_agg(r.currency, ', ' ORDER BY r.currency)
FROM found f
CROSS JOIN LATERAL (
    SELECT DISTINCT coalesce(m.currency, 'none') AS currency
    FROM campaign_metrics m
    WHERE m.campaign_space_id = f.id
) r
GROUP BY f.campaigns, f.name, f.id
ORDER BY f.name, f.id
"""

_WHOLE_NUMBERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


class TotalsRefused(EngardeError):
    """A constraint or trigger of the application rejects the totals."""


@dataclass(frozen=True)
class Totals:
    """The number of campaign spaces, and of those that were updated or are wrong."""

    campaign_spaces: int
    affected: int


def update_totals(connection: psycopg.Connection, wait: LockWait = DEFAULT_WAIT) -> Totals:
    """Bring the totals of every campaign space up to date in one transaction; `affected` were changed.

    Raises:
        StillLocked: another run has been updating them for too long.
        WaitStopped: this run was asked to end while it waited for another one.
        ApplicationUnfit: `campaign_spaces` has no column that a total could be written to.
        TotalsRefused: a constraint or trigger of the application rejects the totals.
    """
    campaign_spaces = _campaign_spaces(connection)
    with connection.transaction():
        # Two updates of many rows in different orders would deadlock; the second one waits instead.
        acquire(connection, _LOCK, wait)
        campaign_sums.update(connection, collect_changed(connection))
        return _update(connection, _totals_statement(campaign_spaces, _TOTALS + _UPDATE, "campaign_space_sums"))


def wrong_totals(connection: psycopg.Connection) -> Totals:
    """Compare the totals with the sums of all rows; `affected` campaign spaces differ."""
    campaign_spaces = _campaign_spaces(connection)
    statement = _totals_statement(campaign_spaces, _TOTALS + _WRONG, CAMPAIGN_METRICS.target)
    row = connection.execute(statement).fetchone()
    assert row is not None  # noqa: S101  an aggregate has one row
    return Totals(*row)


def campaigns_with_several_currencies(connection: psycopg.Connection, limit: int) -> tuple[int, dict[str, str]]:
    """Return how many campaign spaces have rows in several currencies, and the currencies of up to `limit`.

    The keys are their names and ids. "none" stands for rows without a currency.
    """
    rows = connection.execute(_WITH_SEVERAL_CURRENCIES, [limit]).fetchall()
    return (rows[0][0] if rows else 0), {campaign: currencies for _, campaign, currencies in rows}


def update_triggers(connection: psycopg.Connection) -> list[str]:
    """Return the triggers that can change or drop what is written to `campaign_spaces`."""
    return [
        name
        for (name,) in connection.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'campaign_spaces'::regclass AND NOT tgisinternal"
            " AND tgenabled <> 'D' AND tgtype & 19 = 19 ORDER BY tgname"  # BEFORE UPDATE FOR EACH ROW
        )
    ]


def _campaign_spaces(connection: psycopg.Connection) -> Table:
    return application_schema.check(connection)["campaign_spaces"]


def _update(connection: psycopg.Connection, statement: sql.Composed) -> Totals:
    try:
        row = connection.execute(statement).fetchone()
    except psycopg.DatabaseError as error:
        if isinstance(error, psycopg.OperationalError):
            raise  # transient, or a fault of the server
        raise TotalsRefused(
            f"Postgres rejects the totals of campaign_spaces: {error.diag.message_primary}. Change the constraint,"
            " domain or trigger of the application so that it accepts them, or drop it. The next sync updates the"
            " totals."
        ) from None
    assert row is not None  # noqa: S101  the statement returns one row
    return Totals(*row)


def _totals_statement(campaign_spaces: Table, text: LiteralString, table: str) -> sql.Composed:
    columns, written = campaign_spaces.columns, writable_totals(campaign_spaces)
    several = sql.SQL(_SEVERAL_IN_ROWS if table == CAMPAIGN_METRICS.target else _SEVERAL_IN_SUMS)
    nullable = [total for column, total in written.items() if total in _MONEY and not columns[column].is_not_null]
    sums = [total for total in written.values() if total in _MEASURES]
    assignments = [
        sql.SQL("{} = s.{}").format(sql.Identifier(column), sql.Identifier(total))
        for column, total in written.items()
    ]
    if LAST_UPDATED in columns and columns[LAST_UPDATED].accepts_times:
        assignments.append(sql.SQL("{} = now()").format(sql.Identifier(LAST_UPDATED)))
    return sql.SQL(text).format(
        table=sql.Identifier(table),
        sums=sql_list("sum({name}) AS {name}", _MEASURES),
        sums_or_zero=sql.SQL(", ").join(map(_sum_or_zero, _MEASURES)),
        has_several_currencies=several,
        ctr=sql.SQL(ratio_sql(CTR)),
        roas=sql.SQL(ratio_sql(ROAS)),
        fitted=sql.SQL(", ").join(_fitted(total, columns[column]) for column, total in written.items()),
        set_totals=sql.SQL(", ").join(assignments),
        columns=sql_list("c.{name}", written.keys()),
        s_columns=sql_list("s.{name}", written.values()),
        fits=sql.SQL(" AND ").join([sql.SQL("true"), *(_fits(total, nullable) for total in sums)]),
    )


def _sum_or_zero(name: str) -> sql.Composed:
    total = sql.SQL("coalesce(r.{}, 0)").format(sql.Identifier(name))
    if name in _MONEY:
        total = sql.SQL("CASE WHEN r.has_several_currencies THEN NULL ELSE {} END").format(total)
    return sql.SQL("{} AS {}").format(total, sql.Identifier(name))


def _fits(total: str, nullable: Sequence[str]) -> sql.Composed:
    fits = sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(total))
    return sql.SQL("({} OR s.has_several_currencies)").format(fits) if total in nullable else fits


def _fitted(total: str, column: Column) -> sql.Composed:
    fitted = sql.SQL("CASE WHEN {name} < {limit} THEN {name}::{type} END").format(
        name=sql.Identifier(total), limit=sql.Literal(_limit(column.type)), type=sql.SQL(column.type)
    )
    if column.is_not_null and total not in _MEASURES:
        fitted = sql.SQL("coalesce({}, 0::{})").format(fitted, sql.SQL(column.type))
    return sql.SQL("{} AS {}").format(fitted, sql.Identifier(total))


def _limit(column_type: str) -> int:
    """Return the smallest number that may be too large for a column."""
    if match := re.fullmatch(r"numeric\((\d+),(\d+)\)", column_type):
        precision, scale = map(int, match.groups())
        return int(10 ** (precision - scale)) - 1  # it may be rounded up
    return _WHOLE_NUMBERS.get(column_type, 10**300)
